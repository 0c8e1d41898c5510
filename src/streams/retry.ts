/** Pause before the first retry; each further one doubles it, up to the longest. */
const firstPauseMs = 500
const longestPauseMs = 5000
/** A retry that played for so long counts as sound: the next loss starts with the shortest pause again. */
const soundAfterMs = 10_000

export interface Retry {
	/** 1 is the first since the camera was lost. */
	number: number
	pauseMs: number
	/** Until the camera is given up. */
	leftMs: number
}

/** When a lost camera is tried again: after pauses that grow, with jitter, for as long as it is allowed. */
export class Retries {
	#forMs: number
	#now: () => number
	#random: () => number
	/** When the loss began that is being retried; undefined while the camera is sound. */
	#lostMs: number | undefined
	#playingSinceMs = 0
	#count = 0

	/** @param forMs for how long a camera is tried again after a loss */
	constructor(forMs: number, now = () => performance.now(), random = Math.random) {
		this.#forMs = forMs
		this.#now = now
		this.#random = random
	}

	/** A picture has come; `first` of an attempt. */
	onPicture(first: boolean): void {
		const now = this.#now()
		if (first) this.#playingSinceMs = now
		else if (this.#lostMs !== undefined && now - this.#playingSinceMs > soundAfterMs) {
			this.#lostMs = undefined
			this.#count = 0
		}
	}

	/** An attempt has failed. @returns the retry that follows; undefined where the time for it is over */
	next(): Retry | undefined {
		const now = this.#now()
		this.#lostMs ??= now
		const leftMs = this.#lostMs + this.#forMs - now
		if (leftMs < Math.min(firstPauseMs, this.#forMs / 2)) return undefined
		const longestMs = Math.min(longestPauseMs, firstPauseMs * 2 ** this.#count++)
		// Towards the end pauses become shorter, for the last try to come close to it.
		const pauseMs = Math.min(leftMs / 2, longestMs * (0.75 + this.#random() / 2))
		return {number: this.#count, pauseMs, leftMs}
	}
}
