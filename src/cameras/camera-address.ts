import {SluiceError} from '../base/errors.js'

/** The longest `rtsp_url` that is taken, in characters. */
export const maxUrlLength = 2048

/** How to reach a camera, and how to speak of it without its secrets. */
export interface CameraSource {
	/** The URL as the viewer sent it. Holds the password: only for the viewer who sent it. */
	url: string
	/** What rtspsrc's property `location` gets: the URL without user name and password. */
	location: string
	user?: string
	password?: string
	/** Without brackets where it is an IPv6 address. */
	host: string
	port: number
	/** Over TLS. */
	secure: boolean
	/** The transport that the URL's scheme asks for (`rtspt://`, `rtspsu://`, …), if it asks. */
	transport?: 'tcp' | 'udp'
	/** Of a camera of the configuration. Its viewers did not send the URL, and learn no part of it. */
	name?: string
	/** For logs: no user name, no password, not in the query either. Of a named camera, its name. */
	label: string
	/** Takes every secret of this camera out of a text; of a named camera, the address too. */
	redact: (text: string) => string
}

/** For a template that makes its own picture. */
export const noCamera: CameraSource = {
	url: '',
	location: '',
	host: '',
	port: 0,
	secure: false,
	label: 'none',
	redact: text => text
}

const schemePattern = /^(rtsps?)([uth]?):\/\//i
// GStreamer, too, ends the authority at a slash or a question mark only; a # may be part of a password.
const authorityPattern = /^(\[[\da-f:.]+\]|[^\s/?#:@[\]]+)(?::(\d{1,5}))?(?=[/?]|$)/i
const transports = {'': undefined, t: 'tcp', u: 'udp', h: 'tcp'} as const

/**
 * Reads a viewer's `rtsp_url`.
 *
 * Vendors print URLs with raw `@`, `/` or `#` in the password, so the user information ends at the last `@` that
 * still leaves a host behind it. It goes to GStreamer as properties of its own: GStreamer's own reading would cut such
 * a password short, and would repeat it in its messages.
 * @throws SluiceError `bad_request`, which never repeats the URL
 */
export function parseCameraSource(url: string): CameraSource {
	const refuse = (expected: string) => new SluiceError('bad_request', `rtsp_url ${expected}`)
	if (url.length > maxUrlLength)
		throw refuse(`must be at most ${maxUrlLength} characters long; this one has ${url.length}`)
	// Line breaks and NUL could end a header or a C string early, written plainly or percent-encoded.
	// eslint-disable-next-line no-control-regex -- control characters are what is looked for
	if (/[\s\u0000-\u001F\u007F]|%(?:[01][\da-f]|7f)/i.test(url))
		throw refuse('must not contain white space or control characters')
	const scheme = schemePattern.exec(url)
	if (!scheme)
		throw refuse(
			'must begin with rtsp:// or rtsps:// (or with rtspt, rtspu, rtsph, rtspst, rtspsu, rtspsh, which choose the transport)'
		)
	const [prefix, protocol = '', letter = ''] = scheme
	const {userInfo, address} = splitUserInfo(url.slice(prefix.length))
	const authority = authorityPattern.exec(address)
	const secure = protocol.toLowerCase() === 'rtsps'
	// rtspsrc takes 554 for rtsps:// too, whose registered port is 322.
	const port = Number(authority?.[2] ?? 554)
	if (!authority?.[1] || port < 1 || port > 65_535)
		throw refuse(
			'must name a host, and a port from 1 to 65535 if any: rtsp://user:password@host:554/path'
		)
	const credentials = userInfo === undefined ? {} : readCredentials(userInfo)
	const transport = transports[letter.toLowerCase() as keyof typeof transports]
	// An `@` behind the host may be the end of a password that was read wrongly: `admin:12/34@host` looks like host and port.
	const hidden =
		userInfo !== undefined || authority[2] !== undefined
			? address.slice(0, Math.max(0, address.lastIndexOf('@')))
			: ''
	const secretsAt = secretsIn(address)
	return {
		url,
		location: prefix.toLowerCase() + address,
		...credentials,
		host: authority[1].replace(/^\[|\]$/g, ''),
		port,
		secure,
		...(transport && {transport}),
		label: prefix.toLowerCase() + labelOf(address, hidden, secretsAt[0]),
		redact: redactor([
			hidden,
			...secretsAt.flatMap(at => valuesAt(address, at)),
			...secretsOfCredentials(credentials, userInfo)
		])
	}
}

// Cameras send addresses of their own accord, and names are looked up: any address at all is taken out.
const anyUrl = /\brtsp[a-z]*:\/\/[^\s"'<>]+/gi
const anyIpAddress =
	/(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?(?![\w.]*\d)|(?<![\w:])(?:(?:[\da-f]{1,4}:){4,7}[\da-f]{1,4}|(?:[\da-f]{1,4}:){1,7}(?::[\da-f]{1,4}){1,7}|::(?:[\da-f]{1,4}:){0,6}[\da-f]{1,4})(?![\w:])/gi

/** The same camera under a name that stands for it wherever it is spoken of. */
export function namedSource(name: string, source: CameraSource): CameraSource {
	const {url, location, user = '', host, port} = source
	const address = location.replace(schemePattern, '')
	const path = address.replace(/^[^/?]*/, '')
	const texts = [
		url,
		location,
		address,
		path,
		path.replace(/\?.*$/s, ''),
		path.replace(/^[^?]*/, '')
	].filter(text => text.length > 1)
	// As words only: a short user name or a port would tear everything to pieces.
	const words = [`${host}:${port}`, host, user, encodeURIComponent(user), String(port)]
		.filter(word => word !== '')
		.map(word => word.replace(/[$()*+./?[\\\]^{|}]/g, '\\$&'))
	const word = new RegExp(`(?<![\\p{L}\\d_])(?:${words.join('|')})(?![\\p{L}\\d_])`, 'giu')
	const hide = redactor(texts)
	return {
		...source,
		url: '',
		name,
		label: name,
		redact: text =>
			source
				.redact(hide(text).replace(anyUrl, '***'))
				.replace(anyIpAddress, '***')
				.replace(word, '***')
	}
}

/**
 * Properly the user information ends before the first slash. Where what remains names no host, the slash was part of a
 * password, which then ends at the last `@` of all.
 */
function splitUserInfo(rest: string): {userInfo?: string; address: string} {
	const slash = rest.search(/[/?]/)
	const authorityEnd = slash === -1 ? rest.length : slash
	const splits = [rest.lastIndexOf('@', authorityEnd), rest.lastIndexOf('@')].map(at =>
		at === -1 ? {address: rest} : {userInfo: rest.slice(0, at), address: rest.slice(at + 1)}
	)
	return splits.find(({address}) => authorityPattern.test(address)) ?? {address: rest}
}

function readCredentials(userInfo: string): {user: string; password: string} {
	const colon = userInfo.indexOf(':')
	return colon === -1
		? {user: decode(userInfo), password: ''}
		: {user: decode(userInfo.slice(0, colon)), password: decode(userInfo.slice(colon + 1))}
}

/** Percent-decodes; a `%` that begins no escape stays as it is. */
function decode(text: string): string {
	try {
		return decodeURIComponent(text)
	} catch {
		return text
	}
}

function secretsOfCredentials(
	{user = '', password}: {user?: string; password?: string},
	userInfo = ''
): string[] {
	if (!password) return []
	return [
		userInfo,
		userInfo.slice(userInfo.indexOf(':') + 1),
		password,
		encodeURIComponent(password),
		// The Basic Authorization header, which GStreamer prints at its highest debug levels.
		Buffer.from(`${user}:${password}`).toString('base64')
	]
}

const secretName = /pass|pwd|psw|pas$|auth|token|secret|credential|key|^pw/i

/** Where values begin that a camera takes as a password in the path or the query: `/?user=admin&password=…`. */
function secretsIn(address: string): number[] {
	return [...address.matchAll(/([^/?&;#=_]+)=/g)]
		.filter(([, name = '']) => secretName.test(decode(name)))
		.map(({index, 0: match}) => index + match.length)
}

/** The value, and all that follows it: a password may hold the signs that seem to end it. */
function valuesAt(address: string, at: number): string[] {
	const [value = ''] = /^[^/?&;#]*/.exec(address.slice(at)) ?? []
	return [value, decode(value), address.slice(at)]
}

function labelOf(address: string, hidden: string, secretAt: number | undefined): string {
	const open = secretAt === undefined ? address : `${address.slice(0, secretAt)}***`
	return (hidden === '' ? open : `***${open.slice(hidden.length)}`).replace(/\?.*$/s, '?…')
}

function redactor(secrets: string[]): (text: string) => string {
	// The longest first, so that a secret inside another does not leave the rest of the longer one behind.
	const sorted = [...new Set(secrets.filter(secret => secret !== ''))].sort(
		(a, b) => b.length - a.length
	)
	return text => {
		let clean = text
		for (const secret of sorted) clean = clean.replaceAll(secret, '***')
		return clean
	}
}
