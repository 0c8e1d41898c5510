import {BFrameFinder} from '../media/b-frames.js'
import {SluiceError} from '../base/errors.js'
import type {Frame} from '../streams/frame.js'
import type {OnWebRtcPipe} from './frame-pipe.js'

/** Whether a camera sends B-frames is known after so many frames, or so long after the first. Two B-frames come third and fourth. */
const decisiveFrames = 5
const decisiveMs = 200
/** An encoder may begin to use B-frames later; it is watched for so many frames. */
const watchedFrames = 300
/** However many viewers lost their picture: a camera that sends key frames only would choke its link. */
const keyFrameEveryMs = 1000

export interface WebRtcSourceOptions {
	id: number
	/** @returns false where the pipe to the worker is full */
	send: (frame: Extract<OnWebRtcPipe, {type: 'frame'}>) => boolean
	/** Asks the stream's encoder for a key frame. */
	requestKeyFrame: () => void
	/** So many frames never reach a viewer. */
	onDropped: (frames: number) => void
	/** Called when nobody holds the source any more. */
	onUnused: () => void
}

/**
 * A stream's coded video on its way into the WebRTC worker: once, however many sessions watch. Each session offers it what
 * it receives itself, so that it matters to none of them who was first and who leaves. When the pipe is full, frames are
 * dropped up to the next key frame, and counted.
 */
export class WebRtcSource {
	readonly id: number
	/** Resolves when it is known whether a browser can show the camera's pictures; rejects with a SluiceError where they are no H.264. */
	readonly verdict: Promise<'plays' | 'b-frames'>
	/** Told of B-frames that came after the verdict. */
	readonly onBFrames = new Set<() => void>()
	#options: WebRtcSourceOptions
	#holders = 0
	#requestedMs = -Infinity
	#finder = new BFrameFinder('H264')
	#frames = 0
	#decided = false
	#resolveVerdict: (verdict: 'plays' | 'b-frames') => void = () => undefined
	#rejectVerdict: (error: SluiceError) => void = () => undefined
	#timer: NodeJS.Timeout | undefined
	#lastSequence = -1
	#lastCaps: Frame['caps'] | undefined
	#needsKeyFrame = true

	constructor(options: WebRtcSourceOptions) {
		this.id = options.id
		this.#options = options
		this.verdict = new Promise((resolve, reject) => {
			this.#resolveVerdict = resolve
			this.#rejectVerdict = reject
		})
		// Whoever waits for it hears of its failure.
		this.verdict.catch(() => undefined)
	}

	hold(): void {
		this.#holders++
	}

	release(): void {
		if (--this.#holders > 0) return
		clearTimeout(this.#timer)
		this.#options.onUnused()
	}

	/** A viewer has lost its picture. */
	requestKeyFrame(): void {
		const now = performance.now()
		if (now - this.#requestedMs < keyFrameEveryMs) return
		this.#requestedMs = now
		this.#options.requestKeyFrame()
	}

	/** Never waits, never throws. A frame that was offered already is passed over. */
	offer(frame: Frame): void {
		if (frame.sequence <= this.#lastSequence) return
		this.#lastSequence = frame.sequence
		// Another pipeline has other caps: it may begin in the middle of a group of pictures.
		if (frame.caps !== this.#lastCaps) {
			this.#lastCaps = frame.caps
			this.#needsKeyFrame = true
			this.#judgeAnew()
		}
		this.#judge(frame)
		if (this.#needsKeyFrame && !frame.keyFrame) {
			this.#options.onDropped(this.#holders)
			return
		}
		const {timeMs, keyFrame, data} = frame
		const taken = this.#options.send({type: 'frame', source: this.id, timeMs, keyFrame, data})
		this.#needsKeyFrame = !taken
		if (!taken) this.#options.onDropped(this.#holders)
	}

	/** The camera may have been set to another profile meanwhile. */
	#judgeAnew(): void {
		if (!this.#decided) return
		this.#finder = new BFrameFinder('H264')
		// The first one of a source is looked at more closely.
		this.#frames = 1
	}

	#judge({caps, data}: Frame): void {
		if (this.#frames >= watchedFrames) return
		if (this.#frames++ === 0) {
			if (caps['name'] !== 'video/x-h264' || caps['stream-format'] !== 'byte-stream') {
				this.#rejectVerdict(
					new SluiceError(
						'bad_request',
						'the template gives no H.264 as a byte stream, and this address sends nothing else'
					)
				)
				return
			}
			this.#timer = setTimeout(() => {
				this.#decide()
			}, decisiveMs)
		}
		const before = this.#finder.found
		this.#finder.add(data)
		if (this.#finder.found && this.#decided && !before) for (const tell of this.onBFrames) tell()
		if (this.#finder.found || this.#finder.ruledOut || this.#frames >= decisiveFrames)
			this.#decide()
	}

	#decide(): void {
		clearTimeout(this.#timer)
		this.#decided = true
		this.#resolveVerdict(this.#finder.found ? 'b-frames' : 'plays')
	}
}
