import {type Caps, parseCaps} from '../media/caps.js'

/** What a template's header says of the frames that its pipeline gives. */
export interface DeclaredOutput {
	/** Caps as in its `@output` line; image/jpeg where there is none. */
	output: string
	/** Whether there is such a line. */
	declaresOutput: boolean
}

/** What coded video counts as where its caps say nothing. */
const assumed: Caps = {'stream-format': 'byte-stream', alignment: 'au'}
/** A camera may choose what its caps hold. */
const maxShown = 300

/** Whether both are the same kind of frames: `image/jpeg` of `image/jpeg,width=640`. */
export function hasSameType(one: DeclaredOutput, other: DeclaredOutput): boolean {
	return parseCaps(one.output)['name'] === parseCaps(other.output)['name']
}

/**
 * Holds what a template declares against what its pipeline gives.
 *
 * @param given the sink's caps
 * @param made what the server makes of them for viewers: MP4 of H.264 for one. Either may be declared.
 * @param remedy what to do, where nothing can be made of such frames whatever is declared
 * @returns what is wrong, for people; undefined where each field that is declared has such a value
 */
export function mismatchOf(
	declared: DeclaredOutput,
	given: Caps,
	made: Caps,
	remedy?: string
): string | undefined {
	const allowed = declared.output.split(';').map(parseCaps)
	const [expected = {}] = allowed
	const real = String(given['name']).startsWith('video/x-h26') ? {...assumed, ...given} : given
	if (allowed.some(one => fits(one, real) || fits(one, made))) return undefined
	const says = declared.declaresOutput
		? `says "@output ${declared.output}"`
		: 'has no @output line, which means image/jpeg'
	const right = made['name'] === 'video/mp4' ? 'video/mp4' : textOf(real, expected)
	const missing = Object.keys(expected).filter(
		field => real['name'] === expected['name'] && !Object.hasOwn(real, field)
	)
	const without = missing.length > 0 ? ` without ${missing.join(', ')}` : ''
	return `its header ${says}, but its pipeline gives ${textOf(real, expected)}${without}: ${remedy ?? `write "# @output ${right}", or change the pipeline`}`
}

function fits(expected: Caps, real: Caps): boolean {
	return Object.entries(expected).every(
		([field, value]) => Object.hasOwn(real, field) && allows(String(value), real[field])
	)
}

/**
 * What cannot be compared is allowed, because a template that is right must never be refused.
 * @param expected a value, `{one,other}` or a range of numbers, `[1,640]`, in any form that gst-launch takes
 */
function allows(expected: string, real: unknown): boolean {
	const members = expected.slice(1, -1).split(',')
	if (expected.startsWith('{')) return members.some(member => equals(member, real))
	if (!expected.startsWith('[')) return equals(expected, real)
	const [lowest = NaN, highest = NaN] = members.map(numberOf)
	const value = numberOf(String(real))
	return !(value < lowest || value > highest)
}

function equals(expected: string, real: unknown): boolean {
	if (typeof real === 'boolean') return /^(?:true|yes|t|1)$/i.test(plain(expected)) === real
	return plain(expected) === String(real) || numberOf(expected) === numberOf(String(real))
}

/** Without its type and its quotes: `(string)"au"` is `au`. */
function plain(text: string): string {
	return text
		.trim()
		.replace(/^\([\w:/-]+\)/, '')
		.replaceAll('"', '')
}

/** Of fractions too; NaN of what is no number. */
function numberOf(text: string): number {
	const word = plain(text)
	if (word === 'MIN') return -Infinity
	if (word === 'MAX') return Infinity
	const [, over, under] = /^(-?\d+)\/(\d+)$/.exec(word) ?? []
	return over === undefined ? Number(word || NaN) : Number(over) / Number(under)
}

/** The type, and what of it matters here: how coded video is cut, and what is declared. */
function textOf(real: Caps, expected: Caps): string {
	const fields = [...Object.keys(assumed), ...Object.keys(expected)].filter(
		field => field !== 'name' && Object.hasOwn(real, field)
	)
	return [
		String(real['name']),
		...[...new Set(fields)].map(field => `${field}=${String(real[field])}`)
	]
		.join(',')
		.slice(0, maxShown)
}
