import {readdirSync, readFileSync} from 'node:fs'
import path from 'node:path'

/**
 * A fenced block of a document. Behind its language it says what is to be done with it:
 *
 * - `run`: it is run as printed. A template, or the part of one, plays a camera.
 * - `check`: it is parsed.
 * - `manual: WHY`: neither, and WHY not.
 *
 * What is only a part of a template has `behind WORDS` or `for WORDS` behind that: behind, or in the place of, the line of
 * `pipelines/jpeg.gst` that begins with WORDS. Blocks without a line between them are one edit; header lines need no place.
 */
export interface Fence {
	/** `README.md:12` */
	at: string
	file: string
	language: string
	tag: 'run' | 'check' | 'manual'
	/** Why it is manual, or where a part of a template belongs. */
	rest: string
	text: string
	/** Whether it stands right behind the block before it. */
	goesOn: boolean
}

const notOurs = new Set(['node_modules', 'dist', 'dist-test', 'shared'])
/** Written by the benchmark. */
const made = 'bench/results/'

/** The project's documents. */
export function documents(): string[] {
	const isDocument = (name: string) => name.endsWith('.md') && !name.startsWith(made)
	return readdirSync('.', {withFileTypes: true})
		.flatMap(entry => {
			if (entry.name.startsWith('.') || notOurs.has(entry.name)) return []
			if (!entry.isDirectory()) return [entry.name]
			return readdirSync(entry.name, {recursive: true, encoding: 'utf8'}).map(name =>
				path.join(entry.name, name)
			)
		})
		.filter(isDocument)
		.sort()
}

export interface Found {
	fences: Fence[]
	/** What is wrong with the fences themselves, as `README.md:12: no tag`. */
	problems: string[]
}

/** The fenced blocks of a document, and what is wrong with their first lines. */
export function fencesOf(file: string, document = readFileSync(file, 'utf8')): Found {
	const found: Found = {fences: [], problems: []}
	let open: {indent: string; mark: string; info: string; line: number; text: string[]} | undefined
	let lastEnd = -1
	for (const [index, line] of document.split('\n').entries()) {
		const [, indent = '', mark = '', info = ''] = /^( *)(`{3,}|~{3,})(.*)$/.exec(line) ?? []
		if (!open) {
			if (mark !== '') open = {indent, mark, info: info.trim(), line: index, text: []}
			continue
		}
		if (mark.startsWith(open.mark) && info.trim() === '') {
			const at = `${file}:${open.line + 1}`
			const [, language = '', tag, rest = ''] = /^(\S*)(?: +(\w+)(.*))?$/.exec(open.info) ?? []
			const problem = problemOf(language, tag, rest)
			if (problem !== undefined) found.problems.push(`${at}: ${problem}`)
			else
				found.fences.push({
					at,
					file,
					language,
					tag: tag as Fence['tag'],
					rest: rest.replace(/^:/, '').trim(),
					text: open.text.join('\n'),
					goesOn: open.line === lastEnd + 1
				})
			lastEnd = index
			open = undefined
		} else {
			open.text.push(
				line.startsWith(open.indent) ? line.slice(open.indent.length) : line.trimStart()
			)
		}
	}
	if (open) found.problems.push(`${file}:${open.line + 1}: it does not end`)
	return found
}

function problemOf(language: string, tag: string | undefined, rest: string): string | undefined {
	if (language === '' || tag === undefined)
		return 'behind ``` there must be a language, and run, check or manual: WHY'
	if (tag === 'manual')
		return /^: *\S/.test(rest) ? undefined : 'manual needs its reason, as in manual: needs a Jetson'
	if (tag !== 'run' && tag !== 'check')
		return `${tag} is unknown; known are run, check and manual: WHY`
	if (rest.trim() === '') return undefined
	return language === 'gst' && /^ (behind|for) \S/.test(rest) ? undefined : `what does${rest} mean?`
}

export const allFences = () => documents().flatMap(file => fencesOf(file).fences)

/** The fences that make one template, where they are of templates: blocks that go on with the one before them. */
export function edits(fences: readonly Fence[]): Fence[][] {
	const groups: Fence[][] = []
	for (const fence of fences.filter(({language, tag}) => language === 'gst' && tag !== 'manual')) {
		const last = groups.at(-1)
		if (fence.goesOn && last?.at(-1)?.file === fence.file) last.push(fence)
		else groups.push([fence])
	}
	return groups
}

/** The template that an edit makes: a whole one, or `plain` with its parts in their places. Undefined where a part has no place. */
export function edited(edit: readonly Fence[], plain: string): string | undefined {
	const [first] = edit
	if (first?.text.includes('name=src') && first.text.includes('name=sink')) return first.text
	let lines = plain.split('\n')
	for (const {text, rest} of edit) {
		const [, how, words = ''] = /^(behind|for) (.+)$/.exec(rest) ?? []
		if (how === undefined) {
			const header = text.split('\n')
			if (!header.every(line => line.startsWith('# @'))) return undefined
			for (const line of header) {
				const name = /^# @param \{[^}]*\} (\w+)=/.exec(line)?.[1]
				const at = lines.findIndex(
					old => name !== undefined && old.startsWith('# @param ') && old.includes(`} ${name}=`)
				)
				lines = at === -1 ? [line, ...lines] : lines.with(at, line)
			}
		} else {
			const at = lines.findIndex(line => line.replace(/^! /, '').startsWith(words))
			if (at === -1) return undefined
			lines.splice(how === 'for' ? at : at + 1, how === 'for' ? 1 : 0, ...text.split('\n'))
		}
	}
	return lines.join('\n')
}

/** The commands of a block for a shell: those of `sh`, or those behind `$` of a `console`, each with the output that is printed for it. */
export function commandsOf({language, text}: Fence): {command: string; output: string[]}[] {
	const commands: {command: string; output: string[]}[] = []
	let goesOn = false
	for (const line of text.split('\n')) {
		const last = commands.at(-1)
		if (goesOn && last) last.command += `\n${line}`
		else if (language === 'console' && !line.startsWith('$ ')) {
			last?.output.push(line)
			continue
		} else if (line.trim() !== '' && !line.trimStart().startsWith('#'))
			commands.push({command: line.replace(/^\$ /, ''), output: []})
		goesOn = /[|\\]\s*$/.test(line)
	}
	return commands
}
