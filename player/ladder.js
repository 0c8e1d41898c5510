import {isOfModeAlone} from './reasons.js'

/** @typedef {'webrtc' | 'webcodecs' | 'mse' | 'jpeg'} ModeName */

/** From the one with the least delay to the one that plays whatever the camera sends. @type {readonly ModeName[]} */
export const modeNames = ['webrtc', 'webcodecs', 'mse', 'jpeg']

/** Why a mode may fail this once, though the network and the camera allow it. */
const passing = new Set([
	'no_first_picture',
	'over_capacity',
	'pipeline_failed',
	'internal_error',
	'webrtc_failed'
])

const storageKey = 'sluice.modes'
/** A network or a camera may have been changed since, so what worked is remembered for a day. */
const rememberedForMs = 24 * 3_600_000
const mostRemembered = 64

/**
 * What worked and what did not, on this visit and earlier ones: the mode of a camera, and of a server whether the
 * network lets WebRTC through to it. Cameras are named by a number made of their address, for the address is nobody's business.
 */
class Memory {
	/** @param {string} key @returns {string | undefined} */
	get(key) {
		const [value, at] = this.#read()[key] ?? []
		return at > Date.now() - rememberedForMs ? value : undefined
	}

	/** @param {string} key @param {string | undefined} value */
	set(key, value) {
		const newest = Object.entries(this.#read())
			.filter(([other]) => other !== key)
			.slice(1 - mostRemembered)
		if (value !== undefined) newest.push([key, [value, Date.now()]])
		try {
			localStorage.setItem(storageKey, JSON.stringify(Object.fromEntries(newest)))
		} catch {
			// A private window may refuse; then the next visit tries each mode again.
		}
	}

	/** @returns {Record<string, [string, number]>} */
	#read() {
		try {
			return Object(JSON.parse(localStorage.getItem(storageKey) ?? '{}'))
		} catch {
			return {}
		}
	}
}

const memory = new Memory()

/** A short number for a text, as FNV-1a makes it. @param {string} text */
function numberOf(text) {
	let hash = 0x811c9dc5
	for (let index = 0; index < text.length; index++)
		hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
	return (hash >>> 0).toString(36)
}

/** Which mode is tried, and which next. One that is pinned is a ladder of one rung. */
export class Ladder {
	/** @type {ModeName[]} */
	#rungs
	#index = 0
	/** @type {ModeName | null} the mode that has shown a picture since the ladder was made */
	#proved = null
	/** Whether a mode was left for a reason that may not hold the next time. */
	#doubtful = false
	#pinned
	#serverKey
	#cameraKey

	/**
	 * @param {object} options
	 * @param {ModeName | 'auto'} options.wish
	 * @param {(mode: ModeName) => boolean} options.supported whether this browser has what a mode needs
	 * @param {string} options.server its address
	 * @param {string} options.camera its name or URL
	 */
	constructor({wish, supported, server, camera}) {
		this.#pinned = wish !== 'auto'
		this.#rungs = wish === 'auto' ? modeNames.filter(mode => supported(mode)) : [wish]
		this.#serverKey = `${numberOf(server)}`
		this.#cameraKey = `${numberOf(server)}/${numberOf(camera)}`
		this.restart()
	}

	/** @returns {ModeName} */
	get mode() {
		return this.#rungs[this.#index]
	}

	get isLast() {
		return this.#index === this.#rungs.length - 1
	}

	/** Whether this mode has shown a picture before. */
	get isProved() {
		return this.mode === this.#proved
	}

	/** Begins again where it is most likely to work. */
	restart() {
		this.#doubtful = false
		const known = this.#proved ?? (this.#pinned ? undefined : memory.get(this.#cameraKey))
		this.#index = Math.max(0, this.#rungs.indexOf(known))
		// Where the network held WebRTC back it does so for each camera of the server: a wall must not wait for each of its tiles.
		if (
			this.#index === 0 &&
			!this.#pinned &&
			memory.get(this.#serverKey) === 'blocked' &&
			this.mode === 'webrtc' &&
			!this.isLast
		)
			this.#index = 1
	}

	/** Leaves a mode that failed for this reason. @param {import('./reasons.js').Reason} reason @returns {boolean} whether there is another */
	drop(reason) {
		if (!isOfModeAlone(reason)) return false
		if (reason.code === 'media_blocked' && !this.#pinned) memory.set(this.#serverKey, 'blocked')
		if (passing.has(reason.code)) this.#doubtful = true
		if (this.isLast) {
			// None of them: what once worked does not any more.
			this.#proved = null
			if (!this.#pinned) memory.set(this.#cameraKey, undefined)
			return false
		}
		this.#index++
		return true
	}

	/** The mode has shown a picture. */
	prove() {
		this.#proved = this.mode
		if (this.mode === 'webrtc') memory.set(this.#serverKey, undefined)
		if (this.#pinned) return
		// A camera that was slow this once must not be held to a lesser mode.
		if (!this.#doubtful) memory.set(this.#cameraKey, this.mode)
	}
}
