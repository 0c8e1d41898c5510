import {timescale} from './mp4-boxes.js'

/** How long each picture is shown after it is decoded, about: one that is coded out of order is decoded later than others. */
const lead = timescale
/** A camera whose clock jumps by more goes on right behind its newest picture. */
const longestJump = 5 * timescale
/** Of a camera that does not tell: 25 frames a second. */
const commonInterval = timescale / 25
const longestInterval = timescale
/** How many frames the average interval and the drift are spread over. */
const smoothing = 16

/** Times of one sample, in ticks. */
export interface SampleTime {
	decodeTime: number
	duration: number
	compositionOffset: number
}

/**
 * Gives each picture its times at once, while when the next one comes is not known yet: one that waited for that would be
 * late by a whole interval.
 *
 * When a picture is shown is what the camera says. When it is decoded is made up: each follows the one before it after
 * exactly that one's duration, which is the average interval. For a media source drops all up to the next key frame
 * where the time to decode jumps by more than twice a duration, as it would when a camera slows down in the dark.
 */
export class Mp4Timeline {
	/** What turns the camera's time into ours. */
	#offset: number | undefined
	/** When the latest picture is shown. */
	#newest: number
	#decodeTime: number
	#interval = commonInterval

	/** @param startMs when the first picture is decoded. The system's own clock lets a restarted pipeline go on behind the one before it. */
	constructor(startMs: number) {
		this.#decodeTime = ticks(startMs * 1e6)
		this.#newest = this.#decodeTime + lead
	}

	/** @param ptsNs undefined where it is not known: then right behind the newest */
	next(ptsNs: number | undefined, durationNs: number | undefined): SampleTime {
		const shown = this.#shownAt(ptsNs === undefined ? undefined : ticks(ptsNs), durationNs)
		const advance = Math.max(0, shown - this.#newest)
		this.#newest += advance
		const decodeTime = this.#decodeTime
		// Follows the camera's rate, and its clock, without a jump.
		const duration = Math.max(
			1,
			Math.round(this.#interval + (this.#newest - lead - decodeTime) / smoothing)
		)
		this.#decodeTime += duration
		return {decodeTime, duration, compositionOffset: shown - decodeTime}
	}

	#shownAt(pts: number | undefined, durationNs: number | undefined): number {
		if (this.#offset === undefined) {
			const told = durationNs === undefined ? 0 : ticks(durationNs)
			if (told > 0 && told <= longestInterval) this.#interval = told
			this.#offset = this.#newest - (pts ?? 0)
			return this.#newest
		}
		const behind = Math.round(this.#newest + this.#interval)
		if (pts === undefined) return behind
		if (Math.abs(pts + this.#offset - this.#newest) > longestJump) this.#offset = behind - pts
		const shown = pts + this.#offset
		// Of pictures out of order some come early and the others do not move the newest: on the average it is the same.
		this.#interval += (Math.max(0, shown - this.#newest) - this.#interval) / smoothing
		return shown
	}
}

function ticks(ns: number): number {
	return Math.round((ns * timescale) / 1e9)
}
