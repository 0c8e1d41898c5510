/** Text of SDP, hostile or not: its lines, its sections and what may stand in them. */
import {SluiceError} from '../base/errors.js'

/** An offer has as many lines as its sender likes; no real one has more. */
const maxLines = 2000

export const ufragPattern = /^[a-z\d+/]{4,256}$/i
export const passwordPattern = /^[a-z\d+/]{22,256}$/i
export const candidatePattern =
	/^candidate:[\w+/]{1,32} [12] (?:udp|tcp) \d{1,10} [\w.:-]{1,255} \d{1,5} typ [a-z]{1,8}(?: [\w.:/+-]{1,64}){0,32}$/i

/** What stands before the first `m=` line, or from one to the next. */
export interface Block {
	/** The `m=` line without its `m=`; undefined for what stands before the first. */
	media: string | undefined
	/** Without their `a=`. */
	attributes: string[]
}

/** @throws SluiceError `bad_request` */
export function readBlocks(text: string): [Block, ...Block[]] {
	const blocks: [Block, ...Block[]] = [{media: undefined, attributes: []}]
	// Not by a pattern that is tied to the end: of 65,000 line breaks it is tried at each anew.
	const all = text.split(/\r?\n/)
	while (all.length > 1 && all.at(-1) === '') all.pop()
	if (all.length > maxLines) throw refuse(`has ${all.length} lines; at most ${maxLines} are taken`)
	for (const [index, line] of all.entries()) {
		// eslint-disable-next-line no-control-regex -- control characters are what is looked for
		if (!/^[a-z]=/.test(line) || /[\u0000-\u001F\u007F]/.test(line))
			throw refuse(`is malformed in line ${index + 1}`)
		const content = line.slice(2)
		if (line.startsWith('m=')) blocks.push({media: content, attributes: []})
		else if (line.startsWith('a=')) blocks.at(-1)?.attributes.push(content)
	}
	return blocks
}

export function attribute(
	{attributes}: Pick<Block, 'attributes'>,
	name: string
): string | undefined {
	return attributes.find(line => line.startsWith(`${name}:`))?.slice(name.length + 1)
}

export function lines(all: readonly string[]): string {
	return all.map(line => `${line}\r\n`).join('')
}

export function refuse(what: string): SluiceError {
	return new SluiceError('bad_request', `the SDP ${what}`)
}
