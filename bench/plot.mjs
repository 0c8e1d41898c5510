/** Lines over an axis, as SVG: all that the report needs of a plotting library. */

const WIDTH = 720
const HEIGHT = 360
const MARGIN = {left: 56, right: 16, top: 40, bottom: 44}
/** Colours that stay apart for those who do not see red and green as two, and on white as on black. */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#8c6d00']
const TICKS = 6

/**
 * @typedef {object} Plot
 * @property {string} name of its file, without .svg
 * @property {string} title
 * @property {string} x what the axis shows
 * @property {string} y
 * @property {{title: string, points: [number, number][]}[]} lines
 */

/**
 * @param {Plot} plot
 * @returns {string}
 */
export function plot({title, x, y, lines}) {
	const points = lines.flatMap(line => line.points)
	const [xTicks, yTicks] = [
		ticks(Math.max(...points.map(([value]) => value))),
		ticks(Math.max(...points.map(([, value]) => value)))
	]
	const toX = value => MARGIN.left + (value / xTicks.at(-1)) * (WIDTH - MARGIN.left - MARGIN.right)
	const toY = value =>
		HEIGHT - MARGIN.bottom - (value / yTicks.at(-1)) * (HEIGHT - MARGIN.top - MARGIN.bottom)
	return [
		`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
		`<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
		`<text x="${WIDTH / 2}" y="20" text-anchor="middle" font-size="14">${escaped(title)}</text>`,
		...yTicks.map(
			value =>
				`<path d="M${MARGIN.left} ${round(toY(value))}H${WIDTH - MARGIN.right}" stroke="#ddd"/><text x="${MARGIN.left - 6}" y="${round(toY(value) + 4)}" text-anchor="end">${value}</text>`
		),
		...xTicks.map(
			value =>
				`<text x="${round(toX(value))}" y="${HEIGHT - MARGIN.bottom + 18}" text-anchor="middle">${value}</text>`
		),
		`<text x="${(WIDTH + MARGIN.left) / 2}" y="${HEIGHT - 8}" text-anchor="middle">${escaped(x)}</text>`,
		`<text transform="translate(14 ${(HEIGHT - MARGIN.bottom + MARGIN.top) / 2}) rotate(-90)" text-anchor="middle">${escaped(y)}</text>`,
		...lines.flatMap((line, index) => drawn(line, index, toX, toY)),
		'</svg>\n'
	].join('\n')
}

/** A line with its name; few points are marked, for between them nothing was measured. */
function drawn({title, points}, index, toX, toY) {
	const colour = COLOURS[index % COLOURS.length]
	const path = points.map(([x, y]) => `${round(toX(x))} ${round(toY(y))}`).join('L')
	const top = MARGIN.top + 16 + index * 18
	return [
		`<path d="M${path}" fill="none" stroke="${colour}" stroke-width="2"/>`,
		...(points.length < 20
			? points.map(
					([x, y]) => `<circle cx="${round(toX(x))}" cy="${round(toY(y))}" r="3" fill="${colour}"/>`
				)
			: []),
		`<path d="M${MARGIN.left + 14} ${top - 4}h20" stroke="${colour}" stroke-width="3"/><text x="${MARGIN.left + 40}" y="${top}">${escaped(title)}</text>`
	]
}

/** Round values from 0 to at least `most`. */
function ticks(most) {
	const rough = (most > 0 ? most : 1) / TICKS
	const power = 10 ** Math.floor(Math.log10(rough))
	const step = [1, 2, 5, 10].map(factor => factor * power).find(candidate => candidate >= rough)
	const count = Math.ceil(most / step)
	return Array.from({length: Math.max(1, count) + 1}, (_, index) =>
		Number((index * step).toPrecision(6))
	)
}

const round = value => Number(value.toFixed(1))
const escaped = text =>
	text.replace(/[&<>]/g, sign => ({'&': '&amp;', '<': '&lt;', '>': '&gt;'})[sign])
