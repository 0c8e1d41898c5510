import type {AdaptiveProperty} from '../streams/stream-request.js'

/** The time after the first frame that tells nothing of a link: TCP starts slowly, and a decoder at its start comes in bursts. */
const startupMs = 2000
/** A window ends after so long; where frames are rare, when it has enough of them to tell a share, or at last after the longest. */
const windowMs = 1000
const longestWindowMs = 4000
const leastOffered = 10
/** Frames made before a change are still under way for so long: the next window begins behind them. */
const settleMs = 500
/** With fewer of its frames sent than this a link is too slow, and with this many it is not. */
const shortBelow = 0.9
const cleanFrom = 0.98
/**
 * The share of the time in which a frame waited for the link. On one that is too slow there is nearly always one that waits; a
 * camera whose frames come in a burst, and push each other out, leaves the link idle before and after.
 */
const shortWaits = 0.25
const cleanWaits = 0.1
/** One step down is by the share that was sent, within these bounds; one up by a tenth. */
const greatestStepDown = 0.5
const leastStepDown = 0.8
const stepUp = 1.1
/** How long everything must have been sent before a step up; doubled by each that has to be taken back, halved by each that holds. */
const shortestPauseMs = 4000
const longestPauseMs = 60_000
/**
 * Fewer frames sent so soon after a step up are so because of it, unless so many fewer that it cannot be. The bound is a stricter
 * one, for a step up must not cost frames.
 */
const takenBackWithinMs = 8000
const takenBackBelow = 0.95
const takenBackFrom = 0.7

/** What a viewer has counted so far. */
export interface LinkCounts {
	/** Frames that there were. */
	readonly offered: number
	/** Those of them that the link could not take. */
	readonly dropped: number
	/** For how long a frame waited for the link, in all. */
	readonly waitedMs: number
}

export interface AdaptiveChange {
	direction: 'up' | 'down'
	element: string
	property: string
	value: number
}

interface Level extends AdaptiveProperty {
	value: number
	/** The value from which on there is nothing to gain: of a rate, what the source itself has. */
	ceiling: number
}

/**
 * Finds the quality that a link can carry at the full frame rate.
 *
 * It goes down at once, in the order in which the template names its properties, and up again slowly, in the reverse one. A
 * step up that the link cannot carry is taken back, and the next try comes later and later, so that it does not oscillate. It
 * has no clock and no timer of its own.
 */
export class Adaptive {
	#levels: Level[]
	/** When the next window may begin; undefined before the first frame. */
	#beginMs: number | undefined
	#window: {atMs: number; offered: number; dropped: number; waitedMs: number} | undefined
	#cleanSinceMs = 0
	#pauseMs = shortestPauseMs
	#lastUp: {level: Level; from: number; atMs: number} | undefined

	/** @param properties in the order in which they are lowered */
	constructor(properties: readonly AdaptiveProperty[]) {
		this.#levels = properties.map(property => ({
			...property,
			value: property.greatest,
			ceiling: property.greatest
		}))
	}

	/** How much of the range between its lowest and its greatest quality is in use, from 0 to 1. */
	get level(): number {
		const shares = this.#levels.map(({value, lowest, ceiling}) =>
			ceiling > lowest ? Math.min(1, (value - lowest) / (ceiling - lowest)) : 1
		)
		return shares.reduce((sum, share) => sum + share, 0) / shares.length
	}

	/** To be called with each frame that was offered. @returns what is to be set now */
	update(nowMs: number, {offered, dropped, waitedMs}: LinkCounts): AdaptiveChange | undefined {
		this.#beginMs ??= nowMs + startupMs
		if (nowMs < this.#beginMs) return undefined
		const window = this.#window
		const here = {atMs: nowMs, offered, dropped, waitedMs}
		if (!window) {
			this.#window = here
			return undefined
		}
		const elapsedMs = nowMs - window.atMs
		const frames = offered - window.offered
		if (elapsedMs < windowMs || (frames < leastOffered && elapsedMs < longestWindowMs))
			return undefined
		this.#window = here
		const kept = 1 - (dropped - window.dropped) / frames
		const waits = (waitedMs - window.waitedMs) / elapsedMs
		const last = this.#lastUp
		if (
			last &&
			nowMs - last.atMs < takenBackWithinMs &&
			kept < takenBackBelow &&
			kept >= takenBackFrom &&
			waits > cleanWaits
		)
			return this.#takeBack(nowMs, last)
		if (kept < shortBelow && waits > shortWaits)
			return this.#down(nowMs, kept, (frames / elapsedMs) * 1000)
		if (kept < cleanFrom && waits > cleanWaits) this.#cleanSinceMs = nowMs
		return nowMs - this.#cleanSinceMs < this.#pauseMs ? undefined : this.#up(nowMs)
	}

	#takeBack(nowMs: number, {level, from}: {level: Level; from: number}): AdaptiveChange {
		this.#pauseMs = Math.min(longestPauseMs, this.#pauseMs * 2)
		return this.#set(nowMs, level, from)
	}

	#down(nowMs: number, kept: number, framesPerSecond: number): AdaptiveChange | undefined {
		const level = this.#levels.find(({value, lowest}) => value > lowest)
		if (!level) return undefined
		let from = level.value
		// A greatest rate above the source's own changes nothing: what there is to lower is the source's.
		if (level.property === 'max-rate') {
			if (level.value === level.greatest)
				level.ceiling = Math.max(level.lowest, Math.min(level.greatest, framesPerSecond))
			from = Math.min(from, framesPerSecond)
		}
		return this.#set(
			nowMs,
			level,
			Math.max(
				level.lowest,
				Math.floor(from * Math.min(leastStepDown, Math.max(greatestStepDown, kept)))
			)
		)
	}

	#up(nowMs: number): AdaptiveChange | undefined {
		const level = this.#levels.findLast(({value, greatest}) => value < greatest)
		if (!level) return undefined
		if (this.#lastUp) this.#pauseMs = Math.max(shortestPauseMs, this.#pauseMs / 2)
		const up = {level, from: level.value, atMs: nowMs}
		const next = Math.max(level.value + 1, Math.round(level.value * stepUp))
		const change = this.#set(nowMs, level, next >= level.ceiling ? level.greatest : next)
		this.#lastUp = up
		return change
	}

	#set(nowMs: number, level: Level, value: number): AdaptiveChange {
		const direction = value > level.value ? 'up' : 'down'
		level.value = value
		this.#lastUp = undefined
		this.#cleanSinceMs = nowMs
		this.#beginMs = nowMs + settleMs
		this.#window = undefined
		return {direction, element: level.element, property: level.property, value}
	}
}
