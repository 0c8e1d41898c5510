/** Caps of a frame: the structure's name, as `video/x-h264`, and its fields. */
export type Caps = Readonly<Record<string, unknown>>

/**
 * `, name=(type)value`; lists, arrays and ranges have their brackets, texts with anything unusual in them have quotes. One that
 * does not end takes the rest, so each letter is read once.
 */
const fieldPattern =
	/,\s*([\w-]+)=(?:\(([\w:/-]+)\))?("(?:\\.|[^"\\])*\\?(?:"|$)|<[^>]*>?|\{[^}]*\}?|\[[^\]]*\]?|[^,;]*)/gs
/** What a hostile camera makes longer is not read further. */
const maxLength = 16 * 1024
const numbers = new Set(['int', 'uint', 'float', 'double'])

/**
 * Reads caps as GStreamer writes them, `video/x-h264, level=(string)4, width=(int)640, parsed=(boolean)true`: numbers,
 * truth values and texts as such, all else, as `30/1`, as the text that GStreamer writes for it. Takes any text.
 */
export function parseCaps(text: string): Caps {
	const fields = [...text.slice(0, maxLength).matchAll(fieldPattern)].map(
		([, name = '', type, value = '']): [string, unknown] => [name, valueOf(type, value.trim())]
	)
	return Object.fromEntries([
		['name', /^[^,;(\s]*/.exec(text)?.[0] ?? ''],
		...fields.filter(([name]) => name !== 'name')
	])
}

function valueOf(type: string | undefined, value: string): unknown {
	if (type !== undefined && numbers.has(type) && Number.isFinite(Number(value)))
		return Number(value)
	if (type === 'boolean') return value === 'true'
	return value.startsWith('"') ? unescape(value.replaceAll(/^"|"$/g, '')) : value
}

/** GStreamer writes bytes that are no plain letters as a backslash and three octal digits, and others behind a backslash. */
function unescape(text: string): string {
	const bytes = text.replaceAll(/\\([0-3][0-7]{2}|.)/gs, (_, escaped: string) =>
		escaped.length === 3 ? String.fromCharCode(Number.parseInt(escaped, 8)) : escaped
	)
	return Buffer.from(bytes, 'latin1').toString()
}
