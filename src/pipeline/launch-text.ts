/** A place in a text; both count from 1. */
export interface Position {
	line: number
	column: number
}

/** Something that is wrong with a template, and where. */
export interface Finding extends Position {
	message: string
}

/** A property as a launch text sets it, `max-rate={max_fps}` say. */
export interface PropertyText extends Position {
	name: string
	/** Without the quotes around it. */
	value: string
	/** As it stands there. */
	text: string
}

/** An element as a launch text names it. */
export interface ElementText extends Position {
	name: string
	/** Offsets in the launch text, of its name's first letter and behind its last property. */
	start: number
	end: number
	properties: PropertyText[]
}

/**
 * What a launch text is made of, as GStreamer's own scanner (grammar/parse.l) reads it: properties, a link with the caps
 * behind it, a link alone, and words, which are elements or references.
 */
const tokenPattern =
	/([\w][\w%:-]*)\s*=\s*("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:\\.|\S)+)|!\s*[\w-]+\/[\w-]+[^!]*|!|[^\s!]+/gs
/** Brackets may stand before it, with the name of their bin's kind. */
const elementPattern = /^(?:[\w-]*\.?\()*([a-z\d][\w-]*)$/i

/** The elements of a launch text, in their order. What it cannot tell, as a plug-in's caps features, it leaves out. */
export function elementsOf(launch: string): ElementText[] {
	const elements: ElementText[] = []
	const lines = new LineCounter(launch)
	let current: ElementText | undefined
	for (const {0: text, 1: property, 2: value = '', index} of launch.matchAll(tokenPattern)) {
		if (property !== undefined) {
			if (!current) continue
			current.properties.push({
				name: property,
				value: value.replace(/^(["'])(.*)\1$/s, '$2'),
				text,
				...lines.at(index)
			})
			current.end = index + text.length
			continue
		}
		const name = elementPattern.exec(text)?.[1]
		const end = index + text.length
		current =
			name === undefined
				? undefined
				: {name, start: end - name.length, end, properties: [], ...lines.at(end - name.length)}
		if (current) elements.push(current)
	}
	return elements
}

/** The name that a launch text gives an element. */
export function nameOf({properties}: ElementText): string | undefined {
	return properties.findLast(({name}) => name === 'name')?.value
}

/** Where a value begins with a quote that has no second one: GStreamer takes such a quote for a part of the value. */
export function unfinishedQuotes(launch: string): Finding[] {
	const lines = new LineCounter(launch)
	return [...launch.matchAll(tokenPattern)].flatMap(({0: text, 2: value = '', index}) => {
		const [quote = ''] = value
		const start = index + text.length - value.length
		return /["']/.test(quote) && !launch.includes(quote, start + 1)
			? {...lines.at(start), message: `the quote ${quote} that begins here does not end`}
			: []
	})
}

/**
 * Where in a launch text GStreamer's parser found what it complains of: it names elements and properties, most of them in
 * quotes, and no position. Where that does not help, the first line with anything in it.
 */
export function locate(launch: string, message: string): Position {
	const lines = launch.split('\n')
	const words = [...message.matchAll(/"([^"]+)"|\bto ([\w-]+)/g)].map(
		([, quoted, linked]) => quoted ?? linked ?? ''
	)
	// "no property "x" in element "y"": the first word is the narrower one. Elements may be named with their number, identity0.
	for (const word of words
		.flatMap(candidate => [candidate, candidate.replace(/\d+$/, '')])
		.filter(candidate => candidate !== '')) {
		const line = lines.findIndex(text => text.includes(word))
		if (line !== -1) return {line: line + 1, column: (lines[line] ?? '').indexOf(word) + 1}
	}
	const first = lines.findIndex(text => text.trim() !== '')
	return {line: Math.max(first, 0) + 1, column: 1}
}

/** By their places, as a reader of the file meets them. */
export function inOrder<T extends Position>(findings: readonly T[]): T[] {
	return findings.toSorted((a, b) => a.line - b.line || a.column - b.column)
}

/** Lines and columns of offsets that only grow, so a long text is read once. */
class LineCounter {
	#text: string
	#line = 1
	#lineStart = 0

	constructor(text: string) {
		this.#text = text
	}

	at(offset: number): Position {
		for (
			let end = this.#text.indexOf('\n', this.#lineStart);
			end !== -1 && end < offset;
			end = this.#text.indexOf('\n', this.#lineStart)
		) {
			this.#line++
			this.#lineStart = end + 1
		}
		return {line: this.#line, column: offset - this.#lineStart + 1}
	}
}
