import {constants} from 'node:fs'
import {open, readdir, realpath} from 'node:fs/promises'
import path from 'node:path'
import {SluiceError} from './errors.js'

/** A parameter that a template declares in its header. */
export type Parameter =
	| {name: string; type: 'integer' | 'number'; minimum: number; maximum: number; default: number; text: string}
	| {name: string; type: 'choice'; choices: readonly string[]; default: string; text: string}

/** A property of an element that may be lowered while a template plays, where a viewer's link is too slow. */
export interface AdaptiveRule {
	/** The declared parameter whose value is the greatest. */
	parameter: string
	/** By its name in the launch text. */
	element: string
	property: string
	lowest: number
}

/** A file `pipelines/<name>.gst`, read and checked. */
export interface Template {
	name: string
	title: string
	/** When to choose it, and what to know. */
	description: string
	/** What it needs beyond GStreamer's software elements; empty where nothing. */
	needs: string
	/** On what it was really run, or "not yet run on hardware". */
	tested: string
	/** Caps of what the appsink gives, `image/jpeg` for one. */
	output: string
	/** The camera codecs that it takes, by their names in RTP: H264, H265, JPEG. Undefined where it takes any. */
	codecs: readonly string[] | undefined
	/** Of the variants of a family that can run, the one with the highest rank is taken. */
	rank: number
	/** False where it makes its own picture: then no rtsp_url is needed. */
	camera: boolean
	parameters: readonly Parameter[]
	/** What may be lowered for a slow link, in this order; none where nothing. */
	adaptive: readonly AdaptiveRule[]
	/** The launch text, without comments, with a `{placeholder}` for each parameter. */
	launch: string
}

/** The tags of a template's header beside @param, with what their text must look like. Each is given once at most. */
const textTags: ReadonlyMap<string, {pattern: RegExp; expected: string}> = new Map([
	...['title', 'description', 'needs', 'tested'].map(tag => [tag, {pattern: /\S/, expected: 'a text'}] as const),
	['output', {pattern: /^[a-z]+\/\S+$/, expected: 'caps, as image/jpeg'}],
	['codecs', {pattern: /^[A-Z\d-]+( [A-Z\d-]+)*$/, expected: 'names of codecs in RTP, as H264 H265 JPEG'}],
	['camera', {pattern: /^none$/, expected: '"none", for a template that makes its own picture'}],
	['rank', {pattern: /^\d{1,4}$/, expected: 'a whole number from 0 to 9999'}]
])

/** What the server itself takes from the query; a template cannot declare these. */
export const reservedParameters: readonly string[] = ['rtsp_url', 'camera', 'pipeline', 'token', 'adaptive', 'max_age_ms', 'timeout_ms']

/** The template of whoever names none. */
export const defaultTemplate = 'jpeg'
export const maxTemplateBytes = 64 * 1024
const extension = '.gst'
const namePattern = /^[a-z\d][a-z\d._-]{0,63}$/i
// GStreamer's own lists, format={I420,NV12}, are left alone: a placeholder is a lower-case word.
const placeholderPattern = /\{([a-z][a-z\d_]*)\}/g
const parameterPattern = /^\{([^}]*)\}\s+([a-z][a-z\d_]*)=(\S+)\s+(\S.*)$/
const rangePattern = /^(integer|number) (-?[\d.]+)\.\.(-?[\d.]+)$/
const choicePattern = /^[\w.+-]+(?:\|[\w.+-]+)+$/
const adaptivePattern = /^([a-z][a-z\d_]*)=([\w-]+)\.([\w-]+)\s+(-?\d{1,7})$/
const numberPattern = /^-?\d{1,10}(?:\.\d{1,6})?$/

/**
 * Reads a template afresh, so that an edit serves the next connection.
 * @throws SluiceError `bad_request`, `not_found`, `template_invalid`
 */
export async function readTemplate(directory: string, name: string): Promise<Template> {
	return parseTemplate(name, await readText(templateFile(directory, name), name))
}

/** @throws SluiceError `bad_request` where it is no name; no name can leave the folder */
export function templateFile(directory: string, name: string): string {
	if (!namePattern.test(name)) throw new SluiceError('bad_request', 'pipeline must be the name of a template: letters, digits, ".", "_" and "-"')
	return path.join(directory, name + extension)
}

/** @throws SluiceError `not_found`, `template_invalid` */
export async function readText(file: string, name: string): Promise<string> {
	let handle
	try {
		// Without O_NONBLOCK, opening a FIFO would wait for ever for somebody to write to it.
		handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK)
		const stat = await handle.stat()
		// Links inside the folder are fine: Kubernetes mounts its files as such.
		const folder = await realpath(path.dirname(file))
		if (!(await realpath(file)).startsWith(folder + path.sep)) throw invalid(name, 'it is a symbolic link out of the folder')
		if (!stat.isFile()) throw invalid(name, 'it is not a file')
		if (stat.size > maxTemplateBytes) throw invalid(name, `the file has ${stat.size} bytes; at most ${maxTemplateBytes} are taken`)
		return decodeUtf8(await handle.readFile(), name)
	} catch (error) {
		if (error instanceof SluiceError) throw error
		const {code = String(error)} = error as NodeJS.ErrnoException
		if (code === 'ENOENT') throw new SluiceError('not_found', `no template is named ${name}`)
		throw invalid(name, `the file cannot be read: ${code}`)
	} finally {
		await handle?.close()
	}
}

function decodeUtf8(bytes: Buffer, name: string): string {
	try {
		// A mark of byte order at the start, as some editors write it, is left out.
		return new TextDecoder('utf-8', {fatal: true}).decode(bytes)
	} catch {
		throw invalid(name, 'the file is not UTF-8')
	}
}

/** The names of all templates of a folder, sorted. */
export async function listTemplates(directory: string): Promise<string[]> {
	const files = await readdir(directory)
	// A name that no query can ask for is listed all the same: reading it says what is wrong with it.
	return files.filter(file => file.endsWith(extension)).map(file => file.slice(0, -extension.length)).sort()
}

/** `jpeg.va` is a variant of the family `jpeg`; `jpeg` is both the family and its plain variant. */
export function familyOf(name: string): string {
	return name.split('.', 1)[0] ?? name
}

/** @throws SluiceError `template_invalid`, naming file and line */
export function parseTemplate(name: string, text: string): Template {
	const parameters: Parameter[] = []
	const launchLines: string[] = []
	const tags = new Map<string, string>()
	const adaptive: {rule: AdaptiveRule; refuse: (why: string) => SluiceError}[] = []
	for (const [index, line] of text.split(/\r?\n/).entries()) {
		if (!/^\s*#/.test(line)) {
			launchLines.push(line)
			continue
		}
		const [, tag, value = ''] = /^\s*#\s*@(\S+)\s*(.*)$/.exec(line) ?? []
		if (tag === undefined) continue
		const refuse = (why: string) => invalid(name, why, index + 1)
		if (tag === 'param') {
			const parameter = parseParameter(value, refuse)
			if (parameters.some(other => other.name === parameter.name)) throw refuse(`the parameter ${parameter.name} is declared twice`)
			parameters.push(parameter)
			continue
		}
		if (tag === 'adaptive') {
			adaptive.push({rule: parseAdaptive(value, refuse), refuse})
			continue
		}
		const rule = textTags.get(tag)
		if (!rule) throw refuse(`@${tag} is unknown; known are @param, @adaptive, ${[...textTags.keys()].map(known => `@${known}`).join(', ')}`)
		if (tags.has(tag)) throw refuse(`@${tag} is given twice`)
		if (!rule.pattern.test(value.trim())) throw refuse(`@${tag} expects ${rule.expected}, not ${JSON.stringify(value.slice(0, 64))}`)
		tags.set(tag, value.trim())
	}
	for (const [index, line] of text.split(/\r?\n/).entries()) {
		if (/^\s*#/.test(line)) continue
		for (const [placeholder, parameter] of line.matchAll(placeholderPattern)) {
			if (!parameters.some(known => known.name === parameter)) throw invalid(name, `${placeholder} has no @param line`, index + 1)
		}
	}
	const launch = launchLines.join('\n').trim()
	// Last, for a parameter may be declared below.
	for (const [index, {rule, refuse}] of adaptive.entries()) {
		checkAdaptive(rule, adaptive.slice(0, index).map(({rule: other}) => other), parameters, launch, refuse)
	}
	return {
		name,
		title: tags.get('title') ?? name,
		description: tags.get('description') ?? '',
		needs: tags.get('needs') ?? '',
		tested: tags.get('tested') ?? '',
		output: tags.get('output') ?? 'image/jpeg',
		codecs: tags.get('codecs')?.split(' '),
		rank: Number(tags.get('rank') ?? 0),
		camera: tags.get('camera') !== 'none',
		parameters,
		adaptive: adaptive.map(({rule}) => rule),
		launch
	}
}

function parseParameter(value: string, refuse: (why: string) => SluiceError): Parameter {
	const [, type = '', name = '', initial = '', text = ''] = parameterPattern.exec(value) ?? []
	if (name === '') throw refuse('expected "@param {integer 1..100} name=default What it does"')
	if (reservedParameters.includes(name)) throw refuse(`${name} belongs to the server; name the parameter otherwise`)
	const [, kind, low, high] = rangePattern.exec(type) ?? []
	const parameter: Parameter | undefined =
		kind === 'integer' || kind === 'number'
			? {name, type: kind, minimum: Number(low), maximum: Number(high), default: Number(initial), text}
			: choicePattern.test(type)
				? {name, type: 'choice', choices: type.split('|'), default: initial, text}
				: undefined
	if (!parameter || (parameter.type !== 'choice' && !(parameter.minimum <= parameter.maximum))) throw refuse(`{${type}} is no type; write {integer 1..100}, {number 0.5..60} or {one|other}`)
	if (readValue(parameter, initial) === undefined) throw refuse(`the default of ${name}, ${initial}, is none of its values: ${expectation(parameter)}`)
	return parameter
}

function parseAdaptive(value: string, refuse: (why: string) => SluiceError): AdaptiveRule {
	const [, parameter, element, property, lowest] = adaptivePattern.exec(value.trim()) ?? []
	if (parameter === undefined || element === undefined || property === undefined) throw refuse('expected "@adaptive parameter=element.property lowest", as "@adaptive quality=encoder.quality 25"')
	return {parameter, element, property, lowest: Number(lowest)}
}

function checkAdaptive({parameter, element, property, lowest}: AdaptiveRule, others: readonly AdaptiveRule[], parameters: readonly Parameter[], launch: string, refuse: (why: string) => SluiceError): void {
	const declared = parameters.find(({name}) => name === parameter)
	if (declared?.type !== 'integer') throw refuse(`@adaptive needs a parameter {integer …}, and ${parameter} is ${declared ? `{${declared.type}}` : 'not declared'}`)
	if (lowest < declared.minimum || lowest > declared.maximum) throw refuse(`the lowest of ${parameter} must be ${expectation(declared)}, not ${lowest}`)
	if (!launch.split(/\s+/).includes(`name=${element}`)) throw refuse(`no element is named "${element}": write name=${element} behind the one whose ${property} is meant`)
	if (others.some(other => other.parameter === parameter || (other.element === element && other.property === property))) throw refuse(`@adaptive ${parameter}=${element}.${property} is given twice`)
}

/**
 * The launch text with the query's values in their places. Values are numbers or one of a declared list, never free
 * text, so a query cannot add to the pipeline.
 * @throws SluiceError `bad_request`, naming the parameter and what it expects
 */
export function fillTemplate(template: Template, query: ReadonlyMap<string, string>): string {
	for (const name of query.keys()) {
		if (template.parameters.some(parameter => parameter.name === name)) continue
		const known = template.parameters.map(parameter => parameter.name).join(', ')
		throw new SluiceError('bad_request', `${JSON.stringify(name.slice(0, 64))} is no parameter of the template ${template.name}; it has ${known === '' ? 'none' : known}`)
	}
	const values = new Map<string, string>()
	for (const parameter of template.parameters) {
		const given = query.get(parameter.name)
		const value = given === undefined ? String(parameter.default) : readValue(parameter, given)
		if (value === undefined) throw new SluiceError('bad_request', `${parameter.name} must be ${expectation(parameter)}, not ${JSON.stringify((given ?? '').slice(0, 64))}`)
		values.set(parameter.name, value)
	}
	return template.launch.replace(placeholderPattern, (placeholder, name: string) => values.get(name) ?? placeholder)
}

/** The value as it goes into the launch text; undefined where it is none that the parameter takes. */
export function readValue(parameter: Parameter, text: string): string | undefined {
	if (parameter.type === 'choice') return parameter.choices.includes(text) ? text : undefined
	const value = Number(text)
	const wellFormed = numberPattern.test(text) && (parameter.type === 'number' || Number.isInteger(value))
	return wellFormed && value >= parameter.minimum && value <= parameter.maximum ? String(value) : undefined
}

/** In words, what values it takes. */
export function expectation(parameter: Parameter): string {
	if (parameter.type === 'choice') return `one of ${parameter.choices.join(', ')}`
	return `${parameter.type === 'integer' ? 'a whole number' : 'a number'} from ${parameter.minimum} to ${parameter.maximum}`
}

/**
 * The elements that a launch text names, each once. What it cannot tell, as a plug-in's caps features, it leaves out.
 * @param launch filled: without placeholders
 */
export function elementsOf(launch: string): string[] {
	const tokens = launch.match(/!|(?:[^\s"'!]|"(?:\\.|[^"\\])*"|'[^']*')+/g) ?? []
	return [...new Set(tokens.filter(token => /^[a-z][\w-]*$/i.test(token)))]
}

/**
 * Where in a template's file GStreamer's parser found what it complains of: it names elements and properties in quotes,
 * and no position. Where that does not help, the first line that is no comment.
 */
export function locate(text: string, message: string): {line: number; column: number} {
	const lines = text.split(/\r?\n/)
	const launchLines = lines.flatMap((line, index) => (/^\s*(#|$)/.test(line) ? [] : [{line, number: index + 1}]))
	const words = [...message.matchAll(/"([^"]+)"/g)].map(([, word = '']) => word)
	// "no property "x" in element "y"": the first word is the narrower one. Elements may be named with their number, identity0.
	for (const word of words.flatMap(candidate => [candidate, candidate.replace(/\d+$/, '')])) {
		for (const {line, number} of launchLines) {
			const column = line.indexOf(word)
			if (column !== -1) return {line: number, column: column + 1}
		}
	}
	return {line: launchLines[0]?.number ?? 1, column: 1}
}

function invalid(name: string, why: string, line?: number): SluiceError {
	return new SluiceError('template_invalid', `${name}${extension}${line === undefined ? '' : `:${line}`}: ${why}`)
}
