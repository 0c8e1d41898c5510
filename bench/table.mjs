/** Figures as text, and rows of them as a table in Markdown. */

export const NONE = '–'

/** @param {number | undefined} value */
export const number = (value, digits = 0) =>
	value === undefined || value === null ? NONE : value.toFixed(digits)

/** A median with the least and the most. */
export function range(spread, digits) {
	if (!spread) return NONE
	const [median, min, max] = [spread.median, spread.min, spread.max].map(value =>
		value.toFixed(digits)
	)
	return min === max ? median : `${median} (${min} – ${max})`
}

/**
 * @param {string[]} head
 * @param {string[][]} rows
 */
export function table(head, rows) {
	const line = cells => `| ${cells.join(' | ')} |`
	return [
		line(head),
		line(head.map((_, index) => (index === 0 ? '---' : '---:'))),
		...rows.map(line)
	].join('\n')
}
