/** Rates are means over so long: one second shows 29, 31, 29 where a camera sends 30. */
const overMs = 3000
/** Less than this is no mean of anything. */
const leastMs = 900

/** Makes rates of counts that only grow. */
export class Rates {
	/** The counts at the last few samples, the oldest first. @type {{at: number, drawn: number, bytes: number}[]} */
	#samples = []

	/** To be called a few times a second. @param {import('./modes/mode.js').Counts} counts */
	sample({drawn, bytes}) {
		const now = performance.now()
		this.#samples.push({at: now, drawn, bytes})
		while (this.#samples.length > 2 && this.#samples[1].at <= now - overMs) this.#samples.shift()
	}

	/** Forgets what was before, as after a pause. */
	clear() {
		this.#samples = []
	}

	/** @returns {{fps: number, bitsPerSecond: number} | null} null where it is too early to tell */
	get mean() {
		const [oldest] = this.#samples
		const newest = this.#samples.at(-1)
		if (!oldest || !newest || newest.at - oldest.at < leastMs) return null
		const seconds = (newest.at - oldest.at) / 1000
		return {
			fps: (newest.drawn - oldest.drawn) / seconds,
			bitsPerSecond: ((newest.bytes - oldest.bytes) * 8) / seconds
		}
	}
}
