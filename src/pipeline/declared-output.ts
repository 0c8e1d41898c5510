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
	const expected = parseCaps(declared.output)
	const real = String(given['name']).startsWith('video/x-h26') ? {...assumed, ...given} : given
	if (fits(expected, real) || fits(expected, made)) return undefined
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
		([field, value]) => Object.hasOwn(real, field) && allows(String(value), String(real[field]))
	)
}

/** @param expected a value, `{one,other}`, or a range of numbers, `[1,640]` */
function allows(expected: string, real: string): boolean {
	const values = expected
		.slice(1, -1)
		.split(',')
		.map(value => value.trim())
	if (expected.startsWith('{')) return values.includes(real)
	const [lowest, highest] = values
	if (expected.startsWith('['))
		return Number(lowest) <= Number(real) && Number(real) <= Number(highest)
	return expected === real
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
