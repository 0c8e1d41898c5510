/** Something that is used up in any amounts, and comes back at a steady rate: the most that may be taken at once, and so much a second. */
export class Budget {
	#left: number
	#atMs = performance.now()

	constructor(
		readonly most: number,
		readonly perSecond: number
	) {
		this.#left = most
	}

	/** @returns false where there is less left */
	take(amount: number): boolean {
		const now = performance.now()
		this.#left =
			Math.min(this.most, this.#left + ((now - this.#atMs) / 1000) * this.perSecond) - amount
		this.#atMs = now
		return this.#left >= 0
	}
}

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
