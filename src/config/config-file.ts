import {closeSync, fstatSync, openSync, readSync} from 'node:fs'
import {
	isAlias,
	isMap,
	isScalar,
	isSeq,
	LineCounter,
	type Node,
	parseDocument,
	type YAMLMap
} from 'yaml'

/** Holds some thousand cameras; one that is larger is another file, given by mistake. */
const maxBytes = 256 * 1024
const maxSyntaxProblems = 10
/** Finding what an alias stands for takes a walk through the document. */
const maxAliases = 100

const variablePattern = /\$\$\{|\$\{([^}]*)(\}?)/g
const readableKey = /^[\w.-]{1,64}$/

/** A value of the file, with its variables filled in. */
export interface Setting {
	/** The way to it, as `cameras.door.url`. */
	key: string
	line: number
	text: string
	/** Whether it may be repeated: what came out of a variable may be a secret, and so may what looks like a URL. */
	open: boolean
}

/** An entry of `cameras`, as it was written. A value that could not be read is undefined, and was refused. */
export interface CameraEntry {
	name: string
	key: string
	line: number
	url: Setting | undefined
	pipeline: Setting | undefined
	parameters: ReadonlyMap<string, Setting | undefined>
	/** Whether every value could be read. */
	sound: boolean
}

export interface KnownOptions {
	/** The names of the options that the file may hold. */
	options: readonly string[]
	/** Those of them that may be lists. */
	lists: readonly string[]
}

interface Pair {
	name: string
	key: string
	line: number
	value: Node | null
}

/**
 * A YAML file of server options and cameras, and what is wrong with it. It knows where each value stands; what the values
 * mean is for config.ts and cameras.ts.
 *
 * Every value is a text: `8000` and `"8000"` are the same. Variables are filled in behind the parser, so that what they
 * hold cannot add keys.
 */
export class ConfigFile {
	readonly path: string
	/** The server's options, by their names. */
	readonly options = new Map<string, Setting>()
	readonly cameras: CameraEntry[] = []
	/** The variables that the file names, in comments too. */
	readonly variables = new Set<string>()
	#known: KnownOptions
	#environment: NodeJS.ProcessEnv
	#problems: {line: number; text: string}[] = []
	#lines = new LineCounter()
	#resolve: (node: Node | null) => Node | null = node => node

	constructor(path: string, known: KnownOptions, environment: NodeJS.ProcessEnv) {
		this.path = path
		this.#known = known
		this.#environment = environment
		const text = this.#readText()
		if (text !== undefined) this.#parse(text)
	}

	/** In the order of their lines, each as `sluice.yaml:12: …`. */
	get problems(): string[] {
		return this.#problems
			.toSorted((a, b) => a.line - b.line)
			.map(({line, text}) => `${this.path}:${line === 0 ? '' : `${line}:`} ${text}`)
	}

	refuse({line}: {line: number}, text: string): void {
		this.#problems.push({line, text})
	}

	/** For a value that is none of those expected. */
	refuseValue(setting: Setting, expected: string): void {
		this.refuse(
			setting,
			`${setting.key} must be ${expected}${setting.open ? `, not ${JSON.stringify(setting.text.slice(0, 64))}` : ''}`
		)
	}

	#readText(): string | undefined {
		const file = {line: 0}
		let descriptor: number | undefined
		try {
			descriptor = openSync(this.path, 'r')
			if (fstatSync(descriptor).isDirectory()) {
				this.refuse(file, 'is a folder, not a file')
				return undefined
			}
			// Whatever it is, a pipe or a device too, no more than this is read.
			const bytes = Buffer.alloc(maxBytes + 1)
			let length = 0
			for (let count = 1; count > 0 && length < bytes.length; length += count)
				count = readSync(descriptor, bytes, length, bytes.length - length, null)
			if (length > maxBytes) {
				this.refuse(file, `is larger than ${maxBytes / 1024} KiB`)
				return undefined
			}
			return new TextDecoder('utf-8', {fatal: true}).decode(bytes.subarray(0, length))
		} catch (error) {
			const {code = String(error)} = error as NodeJS.ErrnoException
			const words: Record<string, string> = {
				ENOENT: 'there is no such file',
				EACCES: 'this user may not read it',
				ERR_ENCODING_INVALID_ENCODED_DATA: 'is not UTF-8'
			}
			this.refuse(file, words[code] ?? `cannot be read: ${code}`)
			return undefined
		} finally {
			if (descriptor !== undefined) closeSync(descriptor)
		}
	}

	#parse(text: string): void {
		for (const [, name = ''] of text.matchAll(/\$\{([a-z_]\w*)/gi)) this.variables.add(name)
		// The failsafe schema leaves every value the text that it is. Repeated keys are told by us, with their names.
		const document = parseDocument(text, {
			schema: 'failsafe',
			resolveKnownTags: false,
			uniqueKeys: false,
			prettyErrors: false,
			lineCounter: this.#lines
		})
		const syntax = [...document.errors, ...document.warnings]
		for (const {code, message, pos} of syntax.slice(0, maxSyntaxProblems))
			this.refuse(this.#at(pos[0]), `is no YAML here: ${syntaxWords(code, message)}`)
		if (syntax.length > 0) return
		let aliases = 0
		this.#resolve = node => {
			if (!isAlias(node)) return node
			return aliases++ < maxAliases ? (node.resolve(document) ?? node) : node
		}
		const root = document.contents
		if (isEmpty(root)) return
		if (!isMap(root)) {
			this.refuse(
				this.#at(root?.range[0]),
				'the file must be a map of options, as port: 8000, and cameras'
			)
			return
		}
		for (const pair of this.#pairs(root, '')) {
			if (pair.name === 'cameras') for (const camera of this.#mapOf(pair)) this.#readCamera(camera)
			else if (this.#known.options.includes(pair.name)) {
				const setting = this.#readOption(pair)
				if (setting) this.options.set(pair.name, setting)
			} else
				this.refuse(
					pair,
					`${pair.key} is unknown; known are cameras, ${this.#known.options.join(', ')}`
				)
		}
	}

	#readCamera(pair: Pair): void {
		const {name, key, line} = pair
		if (!readableKey.test(name)) {
			this.refuse(
				pair,
				'a camera\'s name must be letters, digits, "_", "-" and ".", at most 64 of them'
			)
			return
		}
		const before = this.#problems.length
		let url: Setting | undefined
		let pipeline: Setting | undefined
		const parameters = new Map<string, Setting | undefined>()
		const pairs = this.#mapOf(pair)
		for (const part of pairs) {
			if (part.name === 'url') url = this.#readSetting(part)
			else if (part.name === 'pipeline') pipeline = this.#readSetting(part)
			else if (part.name === 'params')
				for (const parameter of this.#mapOf(part))
					parameters.set(parameter.name, this.#readSetting(parameter))
			else this.refuse(part, `${part.key} is unknown; known are url, pipeline, params`)
		}
		const isMapping = this.#problems.length === before || pairs.length > 0
		if (isMapping && !pairs.some(part => part.name === 'url'))
			this.refuse(pair, `${key}.url is missing`)
		this.cameras.push({
			name,
			key,
			line,
			url,
			pipeline,
			parameters,
			sound: this.#problems.length === before
		})
	}

	/** The pairs of a map; none, and a problem, where the value is another thing. An empty value is an empty map. */
	#mapOf({key, line, value}: Pair): Pair[] {
		const node = this.#resolve(value)
		if (isMap(node)) return this.#pairs(node, `${key}.`)
		if (!isEmpty(node)) this.refuse({line}, `${key} must be a map, not ${kindOf(node)}`)
		return []
	}

	#pairs({items}: YAMLMap, prefix: string): Pair[] {
		const lines = new Map<string, number>()
		const pairs: Pair[] = []
		for (const {key, value} of items as Iterable<{key: unknown; value: Node | null}>) {
			const {line} = this.#at((key as Node | null)?.range?.[0])
			if (!isScalar(key) || typeof key.value !== 'string') {
				this.refuse({line}, 'a key must be a plain text')
				continue
			}
			const name = key.value
			// What is no proper key may be a URL in the wrong place.
			const shown = prefix + (readableKey.test(name) ? name : '…')
			const first = lines.get(name)
			if (first !== undefined) {
				this.refuse({line}, `${shown} is there twice, first in line ${first}`)
				continue
			}
			lines.set(name, line)
			pairs.push({name, key: shown, line, value})
		}
		return pairs
	}

	/** An option that may be repeated as a flag may be a list. */
	#readOption(pair: Pair): Setting | undefined {
		const list = this.#resolve(pair.value)
		if (!isSeq(list) || !this.#known.lists.includes(pair.name)) return this.#readSetting(pair)
		const settings = list.items.map(value => this.#readSetting({...pair, value: value as Node}))
		if (settings.length === 0) return {key: pair.key, line: pair.line, text: 'none', open: true}
		return settings.reduce(
			(all, next) =>
				all && next && {...all, text: `${all.text} ${next.text}`, open: all.open && next.open}
		)
	}

	#readSetting({key, line, value}: Pair): Setting | undefined {
		const node = this.#resolve(value)
		if (!isScalar(node) || typeof node.value !== 'string') {
			this.refuse({line}, `${key} must be a single value, not ${kindOf(node)}`)
			return undefined
		}
		const before = this.#problems.length
		const written = node.value
		const text = written.replace(
			variablePattern,
			(whole, inside: string | undefined, end: string | undefined) => {
				if (whole === '$${') return '${'
				const filled = this.#variable(inside ?? '', end === '}')
				if ('value' in filled) return filled.value
				this.refuse({line}, `${key} ${filled.problem}`)
				return ''
			}
		)
		if (this.#problems.length > before) return undefined
		return {key, line, text, open: !written.includes('${') && !/:\/\/|@/.test(text)}
	}

	#variable(inside: string, ended: boolean): {value: string} | {problem: string} {
		const [, name, initial] = /^([a-z_]\w*)(?::(.*))?$/is.exec(inside) ?? []
		if (name === undefined || !ended)
			return {
				problem:
					'has a "${" that begins no variable, as ${NAME} or ${NAME:default} would; for the signs themselves write "$${"'
			}
		if (initial?.startsWith('-'))
			return {
				problem: `gives ${name} a default that begins with "-", as in a shell; here it is \${${name}:default}`
			}
		const value = Object.hasOwn(this.#environment, name) ? this.#environment[name] : initial
		return value === undefined
			? {problem: `needs the variable ${name}, which is not set in the environment`}
			: {value}
	}

	#at(offset = 0): {line: number} {
		return {line: Math.max(1, this.#lines.linePos(offset).line)}
	}
}

function isEmpty(node: Node | null): boolean {
	return node === null || (isScalar(node) && node.value === '' && node.type === 'PLAIN')
}

function kindOf(node: Node | null): string {
	if (isAlias(node)) return 'an alias of nothing, or one too many'
	return isMap(node) ? 'a map' : isScalar(node) ? 'a single value' : 'a list'
}

/** The parser's words, but for those that repeat the file, which may be a part of a password. */
function syntaxWords(code: string, message: string): string {
	const words: Record<string, string> = {
		TAB_AS_INDENT: 'tabs cannot indent',
		MULTIPLE_DOCS: 'a second document begins',
		BAD_DQ_ESCAPE: 'a backslash in double quotes begins an escape that is none; take single quotes',
		TAG_RESOLVE_FAILED: 'tags, as !name, are not taken',
		BAD_DIRECTIVE: 'a directive is not known',
		BAD_ALIAS: 'an anchor or an alias has no proper name',
		BLOCK_AS_IMPLICIT_KEY: 'a value that holds ": " needs quotes',
		UNEXPECTED_TOKEN: 'something stands where it cannot; does a value need quotes?'
	}
	return words[code] ?? message.split(':', 1)[0] ?? code
}
