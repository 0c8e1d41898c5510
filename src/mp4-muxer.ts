import {codecStringOf} from './codec-string.js'
import {readGdp} from './gdp.js'
import {fragment, initSegment, type TrackFormat} from './mp4.js'
import {Mp4Timeline} from './mp4-timeline.js'
import type {Caps} from './worker-messages.js'

/** What is cut into fragments: H.264 with lengths before its NAL units, and its parameter sets in the caps. */
const lengthBytes = 4
const idrType = 5

/** A fragment with one picture in it. */
export interface Fragment {
	data: Uint8Array
	keyFrame: boolean
	/** With the first fragment, and with one behind changed caps: what has to be told before it. */
	start?: {caps: Caps; init: Uint8Array}
}

/**
 * Makes fragmented MP4 of what `gdppay` writes: each access unit is a fragment at once. GStreamer's own mp4mux gives a
 * picture away when the one after the next has come, and needs decoding times, which a live camera with B-frames does not have.
 */
export class Mp4Muxer {
	#timeline: Mp4Timeline
	#start: Fragment['start']
	#ready = false
	#sequence = 0

	/** @param startMs see `Mp4Timeline` */
	constructor(startMs: number) {
		this.#timeline = new Mp4Timeline(startMs)
	}

	/**
	 * @param packet one of gdppay's
	 * @returns undefined where it holds no picture
	 * @throws Error where it holds no H.264 that fits
	 */
	add(packet: Uint8Array): Fragment | undefined {
		const read = readGdp(packet)
		if (read?.type === 'caps') {
			const format = readFormat(read.text)
			const {width, height, avcC} = format
			this.#start = {caps: {name: 'video/mp4', width, height, codec: codecStringOf(avcC)}, init: initSegment(format)}
			this.#ready = true
		}
		if (read?.type !== 'buffer') return undefined
		if (!this.#ready) throw new Error('H.264 without caps')
		const {ptsNs, durationNs, data} = read
		const keyFrame = hasIdr(data)
		const start = this.#start
		this.#start = undefined
		return {data: fragment(++this.#sequence, {...this.#timeline.next(ptsNs, durationNs), keyFrame, data}), keyFrame, ...(start && {start})}
	}
}

/** @throws Error where these are not the caps of H.264 as MP4 holds it */
function readFormat(caps: string): TrackFormat {
	const number = (field: string) => Number(new RegExp(` ${field}=\\(int\\)(\\d{1,5})(?:[,;]|$)`).exec(caps)?.[1])
	const width = number('width')
	const height = number('height')
	const avcC = Buffer.from(/ codec_data=\(buffer\)([\da-f]+)/.exec(caps)?.[1] ?? '', 'hex')
	const fits = caps.startsWith('video/x-h264,') && caps.includes(' alignment=(string)au') && width > 0 && height > 0
	// The length of a NAL unit's length, less one, is in the lowest bits of the fifth byte.
	if (!fits || avcC.byteLength < 7 || ((avcC[4] ?? 0) & 3) + 1 !== lengthBytes) {
		throw new Error(`gdppay needs video/x-h264,stream-format=avc,alignment=au before it, not ${caps.slice(0, 200)}`)
	}
	const [, horizontal = '1', vertical = '1'] = / pixel-aspect-ratio=\(fraction\)(\d{1,9})\/(\d{1,9})/.exec(caps) ?? []
	return {width, height, pixelAspect: [Number(horizontal), Number(vertical)], avcC}
}

/** Whether the first slice is of an IDR picture, see `isKeyFrame` in h264.ts. */
function hasIdr(data: Uint8Array): boolean {
	const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
	for (let at = 0; at + lengthBytes < data.byteLength; at += lengthBytes + view.getUint32(at)) {
		const type = view.getUint8(at + lengthBytes) & 0x1F
		if (type >= 1 && type <= 5) return type === idrType
	}
	return false
}
