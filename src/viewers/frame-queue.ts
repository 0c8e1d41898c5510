import type {Credit} from './credit.js'
import type {Frame} from '../streams/frame.js'

/** How long coded video may wait in a viewer's place; then it is dropped up to the next key frame. */
const maxCodedWaitMs = 1000
const maxCodedWaitBytes = 8 * 1024 * 1024

/** Writes a frame to a viewer's transport, and calls back when the transport has taken it, or cannot. */
export type SendFrame = (frame: Frame, done: (error?: Error | null) => void) => void

export interface FrameMeter {
	/** The transport has taken a frame of so many bytes. */
	sent: (bytes: number) => void
	/** So many frames never will be sent. */
	dropped: (frames: number) => void
}

export interface ViewerOptions {
	send: SendFrame
	/** True for images: the newest takes the place of the one that waits. Else coded video: dropped up to the next key frame. */
	images: boolean
	/** Tells when the link can take another frame; without it the transport's own buffer does. */
	credit?: Credit
	/** Counts along, over all viewers. */
	meter?: FrameMeter
}

/**
 * The pace and the drop policy of one viewer. One frame is on its way into the transport; others wait in a bounded place.
 *
 * Images: one has a place, and a newer one takes it. Coded video: a second of it has a place; when that is full it is
 * emptied, and frames are dropped up to the next key frame, for a hole would tear the pictures behind it.
 */
export class Viewer {
	/** Frames that were offered. */
	offered = 0
	/** Frames that the transport has taken. */
	sent = 0
	/** Frames that never will be sent. */
	dropped = 0
	#options: ViewerOptions
	/** Sum of the times in which a frame waited, without the one that goes on. */
	#waitedMs = 0
	#waitingSinceMs: number | undefined
	#waiting: {frame: Frame; sinceMs: number}[] = []
	#waitingBytes = 0
	#needsKeyFrame: boolean
	#busy = false
	#busySinceMs = 0
	/** What `waitedMs` was when the transport last took a frame. */
	#waitedBeforeMs = 0
	#closed = false

	constructor(options: ViewerOptions) {
		this.#options = options
		this.#needsKeyFrame = !options.images
	}

	/** For how long there was a frame on its way, or one that waited for the link, and none was taken. */
	get stalledMs(): number {
		const waitedMs = this.waitedMs - this.#waitedBeforeMs
		return this.#busy ? Math.max(waitedMs, performance.now() - this.#busySinceMs) : waitedMs
	}

	/** For how long there was a frame that waited for the link, in all. */
	get waitedMs(): number {
		return (
			this.#waitedMs +
			(this.#waitingSinceMs === undefined ? 0 : performance.now() - this.#waitingSinceMs)
		)
	}

	/** Never waits, never throws. */
	offer(frame: Frame): void {
		if (this.#closed) return
		this.offered++
		this.#options.credit?.onOffer()
		if (this.#options.images) this.#dropWaiting()
		else if (!this.#takesCoded(frame)) {
			this.#drop(1)
			return
		}
		this.#waiting.push({frame, sinceMs: performance.now()})
		this.#waitingBytes += frame.data.byteLength
		this.#waitingSinceMs ??= performance.now()
		this.drain()
	}

	/** Sends what waits, as far as the transport and the credit allow. */
	drain(): void {
		const {send, credit} = this.#options
		if (this.#busy || this.#closed || this.#waiting.length === 0) return
		if (credit && !credit.allows()) return
		const next = this.#waiting.shift()
		if (!next) return
		this.#waitingBytes -= next.frame.data.byteLength
		if (this.#waiting.length === 0) this.#endWait()
		this.#busy = true
		this.#busySinceMs = performance.now()
		send(next.frame, error => {
			this.#busy = false
			// A transport that fails says so by closing, which is its output's affair.
			if (error) {
				this.close()
				return
			}
			this.sent++
			this.#waitedBeforeMs = this.waitedMs
			this.#options.meter?.sent(next.frame.data.byteLength)
			this.drain()
		})
		credit?.onSent()
	}

	close(): void {
		this.#closed = true
		this.#waiting = []
	}

	#takesCoded(frame: Frame): boolean {
		const [oldest] = this.#waiting
		const late = oldest !== undefined && performance.now() - oldest.sinceMs > maxCodedWaitMs
		if (late || this.#waitingBytes > maxCodedWaitBytes) {
			this.#dropWaiting()
			this.#needsKeyFrame = true
		}
		if (this.#needsKeyFrame && frame.keyFrame) this.#needsKeyFrame = false
		return !this.#needsKeyFrame
	}

	#dropWaiting(): void {
		if (this.#waiting.length === 0) return
		this.#drop(this.#waiting.length)
		this.#waiting = []
		this.#waitingBytes = 0
		this.#endWait()
	}

	#drop(frames: number): void {
		this.dropped += frames
		this.#options.meter?.dropped(frames)
	}

	#endWait(): void {
		this.#waitedMs = this.waitedMs
		this.#waitingSinceMs = undefined
	}
}
