/** Pause before the first try after a loss; it doubles with each loss in a row. */
const firstPauseMs = 1000
const longestPauseMs = 30_000
/** A stream that was live for so long counts as sound: the next loss starts with the shortest pause again. */
const soundAfterMs = 10_000

/** @param {number} losses how many in a row, this one included @returns {number} the pause before the next try, in ms */
function pauseAfter(losses) {
	const full = Math.min(longestPauseMs, firstPauseMs * 2 ** (losses - 1))
	// The jitter keeps many pages from coming back to a restarted server in the same instant.
	return full * (0.7 + Math.random() * 0.3)
}

/** The pauses between tries: growing, jittered, and short again after a stream that was sound. */
export class Retry {
	#act
	#timer = 0
	#losses = 0
	/** @type {number | null} */
	#at = null

	/** @param {() => void} act starts the next try */
	constructor(act) {
		this.#act = act
	}

	/** @returns {number | null} when the next try starts, in ms of `performance.now()`; null outside a pause */
	get at() {
		return this.#at
	}

	/** Begins the pause after a loss. @param {number} liveMs for how long pictures had come */
	pause(liveMs) {
		this.cancel()
		this.#losses = liveMs >= soundAfterMs ? 1 : this.#losses + 1
		const pauseMs = pauseAfter(this.#losses)
		this.#at = performance.now() + pauseMs
		this.#timer = setTimeout(() => {
			this.now()
		}, pauseMs)
	}

	/** Ends the pause, if there is one. */
	now() {
		if (this.#at === null) return
		this.cancel()
		this.#act()
	}

	/** Forgets the next try. */
	cancel() {
		clearTimeout(this.#timer)
		this.#at = null
	}

	/** Forgets the losses as well: something else is wanted now. */
	reset() {
		this.cancel()
		this.#losses = 0
	}
}
