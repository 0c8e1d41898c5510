import type {CameraSource} from './camera-address.js'

/** A camera's owner may change what it sends; then what was found out is believed no longer than this. */
export const rememberMs = 10 * 60 * 1000
const maxCameras = 1000

/** What was found out of each camera: which codec it was last seen to send, for one. */
export class CameraMemory<Fact extends string = string> {
	#facts = new Map<string, {fact: Fact; untilMs: number}>()
	#forMs: number

	/** @param forMs how long a fact is believed: without end where a wrong one costs little and is put right at once */
	constructor(forMs = rememberMs) {
		this.#forMs = forMs
	}

	recall({location}: CameraSource): Fact | undefined {
		const known = this.#facts.get(location)
		return known && known.untilMs > performance.now() ? known.fact : undefined
	}

	learn({location}: CameraSource, fact: Fact): void {
		// A Map keeps the order of insertion: the camera that was learnt of longest ago is forgotten first.
		this.#facts.delete(location)
		this.#facts.set(location, {fact, untilMs: performance.now() + this.#forMs})
		const [oldest] = this.#facts.keys()
		if (this.#facts.size > maxCameras && oldest !== undefined) this.#facts.delete(oldest)
	}

	forget({location}: CameraSource): void {
		this.#facts.delete(location)
	}
}
