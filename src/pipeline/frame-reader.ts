import {Buffer} from 'node:buffer'
import {type Caps, parseCaps} from '../media/caps.js'
import {monotonicMs} from '../base/clock.js'
import {compileSooner} from '../base/compile-sooner.js'
import {type DeclaredOutput, mismatchOf} from './declared-output.js'
import {wordsOf} from '../base/errors.js'
import {type GdpBuffer, gdpReader} from './gdp.js'
import {isKeyFrame} from '../media/nal-units.js'
import {Mp4Muxer} from '../media/mp4-muxer.js'
import {RateLimit} from '../base/rate-limit.js'

/** What a pipeline gives for one picture. */
export interface Sample {
	/** When it had come, on the system's monotonic clock, in milliseconds. */
	timeMs: number
	/** Whether it can be decoded without the frames before it. Every image can. */
	keyFrame: boolean
	data: Uint8Array
	/** The same object for as long as they are the same. */
	caps: Caps
	/** Of MP4, the initialization segment, which a viewer needs before its first fragment and whenever the caps are others. */
	init: Uint8Array | undefined
	/** Of an image that was made before its picture's range was known: white is grey. A better one follows. */
	pale: boolean
}

/** Told why nothing can be made of what the template gives, or why that is not what its header says. */
type OnUnusable = (words: string, code: 'pipeline_failed' | 'template_invalid') => void

/** A camera's do not change: beyond it the worker itself is broken. */
const maxCapsPerSecond = 30
/** Coded video whose key frames GStreamer tells. */
const flagged: ReadonlySet<unknown> = new Set(['video/x-vp8', 'video/x-vp9', 'video/x-av1'])
const endOfImage = Buffer.from([0xff, 0xd9])

/** Makes samples of the bytes that a worker's pipeline writes: as they are, or, where they are what MP4 holds, as its fragments. */
export class FrameReader {
	#onSample: (sample: Sample) => void
	#onUnusable: OnUnusable
	#declared: DeclaredOutput | undefined
	#changes = new RateLimit(maxCapsPerSecond)
	#gdp = gdpReader(packet => {
		if (packet.type === 'caps') this.#onCaps(packet.text)
		else this.#onBuffer(packet)
	})
	#capsText: string | undefined
	#caps: Caps = {name: ''}
	#init: Uint8Array | undefined
	#muxer: Mp4Muxer | undefined

	/** @param options `declared` is what the caps are held against, whenever they are others */
	constructor({
		onSample,
		onUnusable,
		declared
	}: {
		onSample: (sample: Sample) => void
		onUnusable: OnUnusable
		declared?: DeclaredOutput | undefined
	}) {
		compileSooner()
		this.#onSample = onSample
		this.#onUnusable = onUnusable
		this.#declared = declared
	}

	/**
	 * @param chunk of which nothing is kept
	 * @throws Error where these are not what a pipeline of ours writes
	 */
	read(chunk: Buffer): void {
		this.#gdp.read(chunk)
	}

	/** A pipeline repeats its caps. */
	#onCaps(text: string): void {
		if (text === this.#capsText) return
		if (!this.#changes.take())
			throw new Error(`the caps changed more than ${maxCapsPerSecond} times in a second`)
		this.#capsText = text
		const given = parseCaps(text)
		const fault = faultOf(given)
		const failure = this.#begin(given) ?? (fault && `${fault.why}: ${fault.remedy}`)
		const mismatch = this.#declared && mismatchOf(this.#declared, given, this.#caps, fault?.remedy)
		if (mismatch !== undefined) this.#onUnusable(mismatch, 'template_invalid')
		else if (failure !== undefined) this.#onUnusable(failure, 'pipeline_failed')
	}

	/** Sets what viewers get; returns why that is nothing. */
	#begin(given: Caps): string | undefined {
		this.#init = undefined
		this.#caps = given
		if (given['name'] !== 'video/x-h264' || given['stream-format'] !== 'avc') {
			this.#muxer = undefined
			return undefined
		}
		this.#caps = {name: 'video/mp4'}
		this.#muxer ??= new Mp4Muxer(monotonicMs())
		try {
			;({caps: this.#caps, init: this.#init} = this.#muxer.begin(given))
			return undefined
		} catch (error) {
			return wordsOf(error)
		}
	}

	#onBuffer(buffer: GdpBuffer): void {
		const timeMs = monotonicMs()
		const {keyFrame, data} = this.#muxer?.add(buffer) ?? {
			keyFrame: isWhole(buffer, this.#caps),
			data: withEnd(buffer.data, this.#caps)
		}
		this.#onSample({timeMs, keyFrame, data, caps: this.#caps, init: this.#init, pale: false})
	}
}

/**
 * Why nothing can be made of frames with these caps, and what to do: key frames are found by start
 * codes, and of a part of a picture nobody knows where it ends.
 */
function faultOf({
	name,
	alignment = 'au',
	'stream-format': format = 'byte-stream'
}: Caps): {why: string; remedy: string} | undefined {
	if (name === 'application/x-gdp')
		return {
			why: 'gdppay stands before the sink',
			remedy: 'leave it out, the server writes times itself'
		}
	const parser = new Map<unknown, string>([
		['video/x-h264', 'h264parse'],
		['video/x-h265', 'h265parse']
	]).get(name)
	if (
		parser === undefined ||
		(alignment === 'au' &&
			(format === 'byte-stream' || (format === 'avc' && parser === 'h264parse')))
	)
		return undefined
	return {
		why: `coded video must be stream-format=byte-stream,alignment=au, not ${String(format)} and ${String(alignment)}`,
		remedy: `put "${parser} ! ${String(name)},stream-format=byte-stream,alignment=au" before the sink`
	}
}

/**
 * A camera may leave the last marker of its images out. rtpjpegdepay adds it, but for images whose last data byte is
 * like one of the marker's two: GStreamer 1.22 takes that for the marker.
 */
function withEnd(data: Buffer, {name}: Caps): Buffer {
	if (name !== 'image/jpeg' || (data.at(-2) === 0xff && data.at(-1) === 0xd9)) return data
	return Buffer.concat([data, endOfImage])
}

/**
 * GStreamer counts H.264's I pictures that are no IDR pictures among the key frames; browsers do not. Its flags count for few:
 * of pngenc's images, and of the heads of containers, they say that they need what was before.
 */
function isWhole({data, delta}: GdpBuffer, {name}: Caps): boolean {
	if (name === 'video/x-h264') return isKeyFrame(data, 'H264')
	if (name === 'video/x-h265') return isKeyFrame(data, 'H265')
	return !delta || !flagged.has(name)
}
