import type {Caps} from './caps.js'
import {codecStringOf} from './codec-string.js'
import {fragment, initSegment, type TrackFormat} from './mp4-boxes.js'
import {Mp4Timeline} from './mp4-timeline.js'

/** One picture, as the pipeline gives it. */
export interface AccessUnit {
	/** Times in nanoseconds; undefined where GStreamer knows none. */
	ptsNs: number | undefined
	durationNs: number | undefined
	data: Buffer
}

/** What is cut into fragments: H.264 with lengths before its NAL units, and its parameter sets in the caps. */
const lengthBytes = 4
const idrType = 5

/**
 * Makes fragmented MP4 of H.264: each access unit is a fragment at once. GStreamer's own mp4mux gives a picture away when the
 * one after the next has come, and needs decoding times, which a live camera with B-frames does not have.
 */
export class Mp4Muxer {
	#timeline: Mp4Timeline
	#sequence = 0

	/** @param startMs see `Mp4Timeline` */
	constructor(startMs: number) {
		this.#timeline = new Mp4Timeline(startMs)
	}

	/**
	 * @param caps of the access units that follow
	 * @returns the caps of the fragments, and what has to be told before the first of them
	 * @throws Error where these are not the caps of H.264 as MP4 holds it
	 */
	begin(caps: Caps): {caps: Caps; init: Uint8Array} {
		const format = readFormat(caps)
		const {width, height, avcC} = format
		return {
			caps: {name: 'video/mp4', width, height, codec: codecStringOf(avcC)},
			init: initSegment(format)
		}
	}

	/** A fragment with one picture in it. */
	add({ptsNs, durationNs, data}: AccessUnit): {data: Uint8Array; keyFrame: boolean} {
		const keyFrame = hasIdr(data)
		return {
			data: fragment(++this.#sequence, {...this.#timeline.next(ptsNs, durationNs), keyFrame, data}),
			keyFrame
		}
	}
}

function readFormat(caps: Caps): TrackFormat {
	const width = sizeOf(caps['width'])
	const height = sizeOf(caps['height'])
	const avcC = Buffer.from(String(caps['codec_data']), 'hex')
	const fits =
		caps['name'] === 'video/x-h264' &&
		caps['alignment'] === 'au' &&
		width !== undefined &&
		height !== undefined
	// The length of a NAL unit's length, less one, is in the lowest bits of the fifth byte.
	if (!fits || avcC.byteLength < 7 || ((avcC[4] ?? 0) & 3) + 1 !== lengthBytes) {
		const shown = JSON.stringify({...caps, codec_data: `${avcC.byteLength} bytes`}).slice(0, 300)
		throw new Error(
			`MP4 needs video/x-h264,stream-format=avc,alignment=au with width, height and codec_data, as h264parse makes it; all else needs stream-format=byte-stream; this is ${shown}`
		)
	}
	const [, horizontal = '1', vertical = '1'] =
		/^(\d{1,9})\/(\d{1,9})$/.exec(String(caps['pixel-aspect-ratio'])) ?? []
	return {width, height, pixelAspect: [Number(horizontal), Number(vertical)], avcC}
}

/** MP4 has 16 bits for it. */
function sizeOf(value: unknown): number | undefined {
	return typeof value === 'number' && Number.isInteger(value) && value > 0 && value < 2 ** 16
		? value
		: undefined
}

/** Whether the first slice is of an IDR picture, see `isKeyFrame` in h264.ts. */
function hasIdr(data: Uint8Array): boolean {
	const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
	for (let at = 0; at + lengthBytes < data.byteLength; at += lengthBytes + view.getUint32(at)) {
		const type = view.getUint8(at + lengthBytes) & 0x1f
		if (type >= 1 && type <= 5) return type === idrType
	}
	return false
}
