import {constants} from 'node:fs'
import {open, readdir, realpath} from 'node:fs/promises'
import path from 'node:path'
import type {DeclaredOutput} from '../pipeline/declared-output.js'
import {SluiceError, wordsOf} from '../base/errors.js'
import {type Finding, inOrder, type Position} from '../pipeline/launch-text.js'
import {maxMessageBytes} from '../workers/channel.js'

/** A parameter that a template declares in its header. */
export type Parameter =
	| {
			name: string
			type: 'integer' | 'number'
			minimum: number
			maximum: number
			default: number
			text: string
	  }
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
export interface Template extends DeclaredOutput {
	name: string
	title: string
	/** When to choose it, and what to know. */
	description: string
	/** What it needs beyond GStreamer's software elements; empty where nothing. */
	needs: string
	/** On what it was really run, or "not yet run on hardware". */
	tested: string
	/** The camera codecs that it takes, by their names in RTP: H264, H265, JPEG. Undefined where it takes any. */
	codecs: readonly string[] | undefined
	/** Of the variants of a family that can run, the one with the highest rank is taken. */
	rank: number
	/** False where it makes its own picture: then no rtsp_url is needed. */
	camera: boolean
	parameters: readonly Parameter[]
	/** What may be lowered for a slow link, in this order; none where nothing. */
	adaptive: readonly AdaptiveRule[]
	/** Where each of `adaptive` stands in the file. */
	adaptiveAt: readonly Position[]
	/** The launch text with a `{placeholder}` for each parameter. Comments are empty lines, so that its lines are the file's. */
	launch: string
}

/** The tags of a template's header beside @param, with what their text must look like. Each is given once at most. */
const textTags: ReadonlyMap<string, {pattern: RegExp; expected: string}> = new Map([
	...['title', 'description', 'needs', 'tested'].map(
		tag => [tag, {pattern: /\S/, expected: 'a text'}] as const
	),
	['output', {pattern: /^[a-z]+\/\S+$/, expected: 'caps, as image/jpeg'}],
	[
		'codecs',
		{pattern: /^[A-Z\d-]+( [A-Z\d-]+)*$/, expected: 'names of codecs in RTP, as H264 H265 JPEG'}
	],
	['camera', {pattern: /^none$/, expected: '"none", for a template that makes its own picture'}],
	['rank', {pattern: /^\d{1,4}$/, expected: 'a whole number from 0 to 9999'}]
])

/** What the server itself takes from the query; a template cannot declare these. */
export const reservedParameters: readonly string[] = [
	'rtsp_url',
	'camera',
	'pipeline',
	'token',
	'adaptive',
	'max_age_ms',
	'timeout_ms'
]

/** The template of whoever names none. */
export const defaultTemplate = 'jpeg'
export const maxTemplateBytes = 64 * 1024
/** Of a filled launch text, as JSON: it goes to a worker in one message, with a camera's address of up to 2048 characters. */
const maxLaunchBytes = maxMessageBytes - 5 * 1024
/** A finding is one line, however long the word is that it quotes. */
const maxMessageLength = 300
const extension = '.gst'
const namePattern = /^[a-z\d][a-z\d._-]{0,63}$/i
// GStreamer's own lists, format={I420,NV12}, are left alone: a placeholder is a lower-case word.
const placeholderPattern = /\{([a-z][a-z\d_]*)\}/g
const tagPattern = /^\s*#\s*@(\S+)\s*(.*)$/d
const parameterPattern = /^(\{([^}]*)\})\s+([a-z][a-z\d_]*)=(\S+)\s+(\S.*)$/d
const rangePattern = /^(integer|number) (-?[\d.]+)\.\.(-?[\d.]+)$/
const choicePattern = /^[\w.+-]+(?:\|[\w.+-]+)+$/
const adaptivePattern = /^([a-z][a-z\d_]*)=([\w-]+)\.([\w-]+)\s+(-?\d{1,7})\s*$/d
const numberPattern = /^-?\d{1,10}(?:\.\d{1,6})?$/

/**
 * Reads a template afresh. The server's viewers get theirs from the library, which keeps the last good version.
 * @throws SluiceError `bad_request`, `not_found`, `template_invalid`
 */
export async function readTemplate(directory: string, name: string): Promise<Template> {
	return parseTemplate(name, await readText(templateFile(directory, name), name))
}

/** @throws SluiceError `bad_request` where it is no name; no name can leave the folder */
export function templateFile(directory: string, name: string): string {
	if (!namePattern.test(name))
		throw new SluiceError(
			'bad_request',
			'pipeline must be the name of a template: letters, digits, ".", "_" and "-"'
		)
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
		if (!(await realpath(file)).startsWith(folder + path.sep))
			throw invalid(name, 'it is a symbolic link out of the folder')
		if (!stat.isFile()) throw invalid(name, 'it is not a file')
		if (stat.size > maxTemplateBytes)
			throw invalid(name, `the file has ${stat.size} bytes; at most ${maxTemplateBytes} are taken`)
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
	const files = await readdir(directory).catch((error: unknown) => {
		throw new SluiceError(
			'template_invalid',
			`the folder of the templates cannot be read: ${wordsOf(error)}`
		)
	})
	// A name that no query can ask for is listed all the same: reading it says what is wrong with it.
	return files
		.filter(file => file.endsWith(extension))
		.map(file => file.slice(0, -extension.length))
		.sort()
}

/** `jpeg.va` is a variant of the family `jpeg`, `webrtc.transcode.va` one of `webrtc.transcode`; each of these is both the family and its plain variant. */
export function isVariant(name: string, family: string): boolean {
	return name.startsWith(`${family}.`)
}

/** @throws SluiceError `template_invalid`, naming file, line and column of what is wrong first */
export function parseTemplate(name: string, text: string): Template {
	const {
		template,
		findings: [first]
	} = examineTemplate(name, text)
	if (first) throw new SluiceError('template_invalid', findingText(name, first))
	return template
}

/**
 * Reads a template however much is wrong with it, and tells all of that. What was wrong is left out of the template.
 * GStreamer is not asked.
 */
export function examineTemplate(
	name: string,
	text: string
): {template: Template; findings: Finding[]} {
	const findings: Finding[] = []
	const lines = text.split(/\r?\n/)
	const header = readHeader(lines, findings)
	const launch = lines.map(line => (isComment(line) ? '' : line)).join('\n')
	// Last, for a parameter may be declared below.
	for (const [index, line] of launch.split('\n').entries()) {
		for (const match of line.matchAll(placeholderPattern)) {
			if (!header.declared.has(match[1] ?? ''))
				findings.push({
					line: index + 1,
					column: match.index + 1,
					message: `${match[0]} has no @param line`
				})
		}
	}
	checkAdaptive(header, launch, findings)
	const {tags, parameters, adaptive} = header
	const template = {
		name,
		title: tags.get('title') ?? name,
		description: tags.get('description') ?? '',
		needs: tags.get('needs') ?? '',
		tested: tags.get('tested') ?? '',
		output: tags.get('output') ?? 'image/jpeg',
		declaresOutput: tags.has('output'),
		codecs: tags.get('codecs')?.split(' '),
		rank: Number(tags.get('rank') ?? 0),
		camera: tags.get('camera') !== 'none',
		parameters,
		adaptive: adaptive.map(({rule}) => rule),
		adaptiveAt: adaptive.map(({at}) => at.property),
		launch
	}
	return {template, findings: inOrder(findings)}
}

interface Header {
	tags: Map<string, string>
	parameters: Parameter[]
	/** Names of parameters, those included whose line is wrong: their placeholders are not wrong as well. */
	declared: Set<string>
	adaptive: AdaptiveLine[]
}

interface AdaptiveLine {
	rule: AdaptiveRule
	at: Record<'parameter' | 'element' | 'property' | 'lowest', Position>
}

/** Tells what is wrong in a line, and in which column. */
type Refuse = (column: number, message: string) => void

function isComment(line: string): boolean {
	return /^\s*#/.test(line)
}

function readHeader(lines: readonly string[], findings: Finding[]): Header {
	const header: Header = {tags: new Map(), parameters: [], declared: new Set(), adaptive: []}
	for (const [index, text] of lines.entries()) {
		const found = tagPattern.exec(text)
		if (!found) continue
		const line = index + 1
		const [, tag = '', value = ''] = found
		const refuse: Refuse = (column, message) => {
			findings.push({line, column, message})
		}
		// Of the "@", and of what stands behind the tag.
		const [column, valueColumn] = [columnOf(found, 1) - 1, columnOf(found, 2)]
		if (tag === 'param') readParameter(value, column, valueColumn, header, refuse)
		else if (tag === 'adaptive')
			readAdaptive(value, column, {line, column: valueColumn}, header, refuse)
		else readTag(tag, value, column, valueColumn, header, refuse)
	}
	return header
}

/** From 1; 0 is added for a group that took no part. */
function columnOf({indices}: RegExpExecArray, group: number): number {
	return (indices?.[group]?.[0] ?? 0) + 1
}

function readTag(
	tag: string,
	value: string,
	column: number,
	valueColumn: number,
	{tags}: Header,
	refuse: Refuse
): void {
	const rule = textTags.get(tag)
	if (!rule)
		refuse(
			column,
			`@${tag.slice(0, 64)} is unknown; known are @param, @adaptive, ${[...textTags.keys()].map(known => `@${known}`).join(', ')}`
		)
	else if (tags.has(tag)) refuse(column, `@${tag} is given twice`)
	else if (!rule.pattern.test(value.trim()))
		refuse(
			value === '' ? column : valueColumn,
			`@${tag} expects ${rule.expected}, not ${JSON.stringify(value.slice(0, 64))}`
		)
	else tags.set(tag, value.trim())
}

function readParameter(
	value: string,
	column: number,
	valueColumn: number,
	{parameters, declared}: Header,
	refuse: Refuse
): void {
	const found = parameterPattern.exec(value)
	const [, , type = '', name = /([a-z][a-z\d_]*)=/.exec(value)?.[1] ?? '', initial = ''] =
		found ?? []
	const at = (group: number) => (found ? valueColumn - 1 + columnOf(found, group) : column)
	const parameter = found ? parameterOf(name, found) : undefined
	if (!found) refuse(column, 'expected "@param {integer 1..100} name=default What it does"')
	else if (reservedParameters.includes(name))
		refuse(at(3), `${name} belongs to the server; name the parameter otherwise`)
	else if (declared.has(name)) refuse(at(3), `the parameter ${name} is declared twice`)
	else if (!parameter)
		refuse(at(1), `{${type}} is no type; write {integer 1..100}, {number 0.5..60} or {one|other}`)
	else if (readValue(parameter, initial) === undefined)
		refuse(
			at(4),
			`the default of ${name}, ${initial}, is none of its values: ${expectation(parameter)}`
		)
	else parameters.push(parameter)
	declared.add(name)
}

/** Undefined where its type is none. */
function parameterOf(
	name: string,
	[, , type = '', , initial = '', text = '']: readonly string[]
): Parameter | undefined {
	const [, kind, low, high] = rangePattern.exec(type) ?? []
	if (kind === 'integer' || kind === 'number') {
		const [minimum, maximum] = [Number(low), Number(high)]
		return minimum <= maximum
			? {name, type: kind, minimum, maximum, default: Number(initial), text}
			: undefined
	}
	return choicePattern.test(type)
		? {name, type: 'choice', choices: type.split('|'), default: initial, text}
		: undefined
}

function readAdaptive(
	value: string,
	column: number,
	{line, column: valueColumn}: Position,
	{adaptive}: Header,
	refuse: Refuse
): void {
	const found = adaptivePattern.exec(value)
	if (!found) {
		refuse(
			column,
			'expected "@adaptive parameter=element.property lowest", as "@adaptive quality=encoder.quality 25"'
		)
		return
	}
	const [, parameter = '', element = '', property = '', lowest] = found
	const at = (group: number) => ({line, column: valueColumn - 1 + columnOf(found, group)})
	adaptive.push({
		rule: {parameter, element, property, lowest: Number(lowest)},
		at: {parameter: at(1), element: at(2), property: at(3), lowest: at(4)}
	})
}

function checkAdaptive(
	{adaptive, parameters, declared}: Header,
	launch: string,
	findings: Finding[]
): void {
	for (const [
		index,
		{
			rule: {parameter, element, property, lowest},
			at
		}
	] of adaptive.entries()) {
		const refuse = (place: Position, message: string) => {
			findings.push({...place, message})
		}
		const found = parameters.find(({name}) => name === parameter)
		// One whose own line is wrong is told there.
		if (!found && declared.has(parameter)) continue
		if (found?.type !== 'integer')
			refuse(
				at.parameter,
				`@adaptive needs a parameter {integer …}, and ${parameter} is ${found ? `{${found.type}}` : 'not declared'}`
			)
		else if (lowest < found.minimum || lowest > found.maximum)
			refuse(at.lowest, `the lowest of ${parameter} must be ${expectation(found)}, not ${lowest}`)
		if (!launch.split(/\s+/).includes(`name=${element}`))
			refuse(
				at.element,
				`no element is named "${element}": write name=${element} behind the one whose ${property} is meant`
			)
		const others = adaptive.slice(0, index).map(({rule}) => rule)
		if (
			others.some(
				other =>
					other.parameter === parameter ||
					(other.element === element && other.property === property)
			)
		)
			refuse(at.parameter, `@adaptive ${parameter}=${element}.${property} is given twice`)
	}
}

/**
 * The launch text with the query's values in their places. Values are numbers or one of a declared list, never free
 * text, so a query cannot add to the pipeline.
 * @throws SluiceError `bad_request`, naming the parameter and what it expects, and `template_invalid` where the text is too long
 */
export function fillTemplate(template: Template, query: ReadonlyMap<string, string>): string {
	for (const name of query.keys()) {
		if (template.parameters.some(parameter => parameter.name === name)) continue
		const known = template.parameters.map(parameter => parameter.name).join(', ')
		throw new SluiceError(
			'bad_request',
			`${JSON.stringify(name.slice(0, 64))} is no parameter of the template ${template.name}; it has ${known === '' ? 'none' : known}`
		)
	}
	const values = new Map<string, string>()
	for (const parameter of template.parameters) {
		const given = query.get(parameter.name)
		const value = given === undefined ? String(parameter.default) : readValue(parameter, given)
		if (value === undefined)
			throw new SluiceError(
				'bad_request',
				`${parameter.name} must be ${expectation(parameter)}, not ${JSON.stringify((given ?? '').slice(0, 64))}`
			)
		values.set(parameter.name, value)
	}
	const launch = fill(template.launch, values)
	const fault = launchFault(launch)
	if (fault !== undefined) throw invalid(template.name, fault)
	return launch
}

/** What keeps a filled launch text from reaching a worker. */
export function launchFault(launch: string): string | undefined {
	const bytes = Buffer.byteLength(JSON.stringify(launch))
	return bytes > maxLaunchBytes
		? `the launch text has ${bytes} bytes as JSON; at most ${maxLaunchBytes} are taken`
		: undefined
}

/** A part of the launch text with the defaults in their places; undefined where a placeholder has none. */
export function fillWithDefaults({parameters}: Template, text: string): string | undefined {
	const filled = fill(
		text,
		new Map(parameters.map(parameter => [parameter.name, String(parameter.default)]))
	)
	return filled.search(placeholderPattern) === -1 ? filled : undefined
}

function fill(text: string, values: ReadonlyMap<string, string>): string {
	return text.replace(
		placeholderPattern,
		(placeholder, name: string) => values.get(name) ?? placeholder
	)
}

/** The value as it goes into the launch text; undefined where it is none that the parameter takes. */
export function readValue(parameter: Parameter, text: string): string | undefined {
	if (parameter.type === 'choice') return parameter.choices.includes(text) ? text : undefined
	const value = Number(text)
	const wellFormed =
		numberPattern.test(text) && (parameter.type === 'number' || Number.isInteger(value))
	return wellFormed && value >= parameter.minimum && value <= parameter.maximum
		? String(value)
		: undefined
}

/** In words, what values it takes. */
export function expectation(parameter: Parameter): string {
	if (parameter.type === 'choice') return `one of ${parameter.choices.join(', ')}`
	return `${parameter.type === 'integer' ? 'a whole number' : 'a number'} from ${parameter.minimum} to ${parameter.maximum}`
}

/** `jpeg.gst:12:10: no property "x" in element "y"`, always one line. */
export function findingText(name: string, {line, column, message}: Finding): string {
	const words = message.replace(/\s+/g, ' ')
	return `${name}${extension}:${line}:${column}: ${words.length > maxMessageLength ? `${words.slice(0, maxMessageLength)}…` : words}`
}

function invalid(name: string, why: string): SluiceError {
	return new SluiceError('template_invalid', `${name}${extension}: ${why}`)
}

/** What a worker says of a template names no file: "syntax error" alone would not say whose. */
export function withTemplate(error: SluiceError, name: string): SluiceError {
	return error.code === 'template_invalid' ? invalid(name, error.detail) : error
}
