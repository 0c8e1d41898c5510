/** What a viewer saw of the camera in a stretch of time, as figures. */
import {latencyMs} from './clock.mjs'
import {mean, percentile} from './statistics.mjs'

/**
 * @typedef {object} Frame
 * @property {number} arrivalMs when the whole message was there, by the monotonic clock
 * @property {number} bytes
 * @property {boolean} kept whether its image was kept for reading the clock
 */

/**
 * @param {Frame[]} frames all that the viewer received
 * @param {(number | null)[]} clocks of the kept ones, in order; null where unreadable
 * @param {{fromMs: number, toMs: number, fps: number}} window by the monotonic clock, and the camera's rate
 */
export function sightOf(frames, clocks, {fromMs, toMs, fps}) {
	const seen = dates(frames, clocks).filter(
		({arrivalMs}) => arrivalMs >= fromMs && arrivalMs < toMs
	)
	const dated = seen.filter(({clockMs}) => clockMs !== undefined)
	const latencies = dated.map(({arrivalMs, clockMs}) => latencyMs(arrivalMs, clockMs))
	const repeated = dated.filter(({clockMs}, index) => clockMs === dated[index - 1]?.clockMs).length
	return {
		frames: seen.length,
		fps: (seen.length / (toMs - fromMs)) * 1000,
		bytesPerFrame: mean(seen.map(({bytes}) => bytes)),
		latencyMs: {
			p50: percentile(latencies, 0.5),
			p95: percentile(latencies, 0.95),
			p99: percentile(latencies, 0.99),
			max: percentile(latencies, 1)
		},
		lost: lostBetween(dated.at(0), dated.at(-1), repeated, fps),
		repeated,
		unreadable: seen.filter(frame => frame.kept).length - dated.length,
		longestGapMs: percentile(
			seen.slice(1).map(({arrivalMs}, index) => arrivalMs - seen[index].arrivalMs),
			1
		)
	}
}

/**
 * How old each picture was when it was whole.
 *
 * @param {{frames: Frame[], clocks: (number | null)[]}} seen
 * @param {number} fromMs what times count from
 * @returns {{atMs: number, ageMs: number}[]} of those whose clock can be read
 */
export function agesOf({frames, clocks}, fromMs) {
	return dates(frames, clocks)
		.filter(({clockMs}) => clockMs !== undefined)
		.map(({arrivalMs, clockMs}) => ({
			atMs: arrivalMs - fromMs,
			ageMs: latencyMs(arrivalMs, clockMs)
		}))
}

/** Frames that a viewer got between two times, per second. */
export function rateOf(frames, {fromMs, toMs}) {
	return (
		(frames.filter(({arrivalMs}) => arrivalMs >= fromMs && arrivalMs < toMs).length /
			(toMs - fromMs)) *
		1000
	)
}

function dates(frames, clocks) {
	let kept = 0
	return frames.map((frame, index) => ({
		...frame,
		index,
		clockMs: frame.kept ? (clocks[kept++] ?? undefined) : undefined
	}))
}

/**
 * Frames that the camera took between two pictures and the viewer did not get. The whole stretch counts,
 * not each gap, for a camera that is late with one picture is early with the next; so it may be off by 1.
 */
function lostBetween(first, last, repeated, fps) {
	if (!first) return undefined
	const taken = Math.round(((last.clockMs - first.clockMs) * fps) / 1000)
	return Math.max(0, taken - (last.index - first.index - repeated))
}
