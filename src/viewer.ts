import type {Frame} from './pipeline.js'

/** Writes a frame to a viewer's transport, and calls back when the transport has taken it, or cannot. */
export type SendFrame = (frame: Frame, done: (error?: Error | null) => void) => void

/**
 * The pace of one viewer of images. One frame is on its way; meanwhile one more has a place to wait, and a newer frame
 * takes that place: the older is dropped and counted. So a slow viewer misses frames, and holds no memory but two.
 */
export class Viewer {
	/** Frames that the transport has taken. */
	sent = 0
	/** Frames that a newer one replaced. */
	dropped = 0
	#send: SendFrame
	#waiting: Frame | undefined
	#busy = false
	#busySinceMs = 0
	#closed = false

	constructor(send: SendFrame) {
		this.#send = send
	}

	/** For how long the frame on its way has not been taken. */
	get stalledMs(): number {
		return this.#busy ? performance.now() - this.#busySinceMs : 0
	}

	/** Never waits, never throws. */
	offer(frame: Frame): void {
		if (this.#closed) return
		if (this.#waiting) this.dropped++
		this.#waiting = frame
		this.#drain()
	}

	close(): void {
		this.#closed = true
		this.#waiting = undefined
	}

	#drain(): void {
		const frame = this.#waiting
		if (!frame || this.#busy) return
		this.#waiting = undefined
		this.#busy = true
		this.#busySinceMs = performance.now()
		this.#send(frame, error => {
			this.#busy = false
			// A transport that fails says so by closing, which is its output's affair.
			if (error) {
				this.close()
				return
			}
			this.sent++
			this.#drain()
		})
	}
}
