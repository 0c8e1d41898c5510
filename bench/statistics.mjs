/** Time and arithmetic that several files share. */

/** The monotonic clock in ms: Linux' CLOCK_MONOTONIC, which the camera shows too. */
export const nowMs = () => Number(process.hrtime.bigint()) / 1e6

/**
 * @param {number[]} values
 * @param {number} share 0.5 for the median, 0.95 for p95
 * @returns {number | undefined} the value that this share of all does not exceed; undefined of none
 */
export function percentile(values, share) {
	const sorted = values.toSorted((a, b) => a - b)
	return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)]
}

/**
 * @param {(number | undefined)[]} values of which the undefined do not count
 * @returns {{median: number, min: number, max: number, samples: number} | undefined}
 */
export function spread(values) {
	const sorted = values.filter(value => value !== undefined).toSorted((a, b) => a - b)
	if (sorted.length === 0) return undefined
	const middle = (sorted.length - 1) / 2
	return {
		median: (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2,
		min: sorted[0],
		max: sorted.at(-1),
		samples: sorted.length
	}
}

/**
 * @param {number[]} values
 */
export function mean(values) {
	return values.reduce((sum, value) => sum + value, 0) / values.length
}
