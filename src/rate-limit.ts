/** So many events a second, counted in whole seconds. */
export class RateLimit {
	#second = 0
	#taken = 0

	constructor(readonly perSecond: number) {}

	/** @returns false where this second's events are used up */
	take(): boolean {
		const second = Math.floor(performance.now() / 1000)
		if (second !== this.#second) {
			this.#second = second
			this.#taken = 0
		}
		return ++this.#taken <= this.perSecond
	}
}
