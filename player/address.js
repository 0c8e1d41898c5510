/**
 * @typedef {object} Wanted What somebody wants to see.
 * @property {string} camera a camera's name on the server; empty where a URL was typed
 * @property {string} rtspUrl as it was typed, password included
 * @property {string} mode `auto`, or one that is pinned
 * @property {string} pipeline a template's name; empty for the server's own choice
 * @property {Record<string, string>} parameters of the template, where they differ from its defaults
 * @property {string} token for servers that ask for one; may be empty
 */

const storageKey = 'sluice.last'

/** Names after which an unencoded `&name=` in a link belongs to the page, not to the camera's URL before it. */
const knownNames = new Set([
	'mode',
	'pipeline',
	'token',
	'adaptive',
	'quality',
	'max_width',
	'max_height',
	'max_fps',
	'transport',
	'latency'
])

const secretWord = 'pass|pwd|psw|loginpas|auth|token|secret|credential|key(?![a-z])|(?<![a-z])pw'
const secretName = new RegExp(secretWord, 'i')
// `?user=admin&password=xyz`, `/user=admin_password=xyz_channel=1`, encoded or not. The value may hold anything, so it
// ends where another `name=` starts, not at the first odd character. Nothing before the word is looked at, and little behind
// it: a link may be long, and made to keep the page busy.
const secretParameter = new RegExp(
	`((?:${secretWord})[a-z]{0,32}(?:=|%3D)).*?(?=(?:[/?&;,#]|%2F|%3F|%26)[\\w.-]+(?:=|%3D)|_[a-z\\d]+(?:=|%3D)|$)`,
	'gis'
)

/** A host, with or without a port, that nobody would have as a user name: dotted, in brackets, or localhost. */
const certainHost = /^(?:[^:@[\]][^:@[\].]*\.[^:@[\]]+|\[[\da-f:.]+\]|localhost)(?::\d*)?$/i
const possibleHost = /^[^:@[\]]+(?::\d*)?$/

/** @param {string} rest a URL without its scheme */
const beforePath = rest => rest.split(/[/?#]/, 1)[0]

/**
 * Takes the password out of a camera's URL. The user name stays.
 *
 * Such URLs come as vendors write them: a raw password may hold `@ / : # ?`, and it may be a parameter of the query or
 * of the path. So a URL parser is of no use here. Where a URL can be read in two ways, the reading that takes more away
 * wins: a link that does not work any more is better than a password that spreads.
 * @param {string} url
 * @returns {string}
 */
export function withoutPassword(url) {
	const [, scheme, rest] = /^([a-z][a-z\d+.-]*:\/\/|)(.*)$/is.exec(url.trim()) ?? ['', '', '']
	const at = endOfUser(rest)
	// Half an address, with a password where the port would be.
	if (at === -1 && !possibleHost.test(beforePath(rest)) && !certainHost.test(beforePath(rest)))
		return scheme + rest.split(':', 1)[0]
	const user = rest.slice(0, Math.max(at, 0)).split(/:|%3A/i, 1)[0]
	const place = rest.slice(at + 1).replace(secretParameter, '$1')
	return `${scheme}${user}${user === '' ? '' : '@'}${place}`
}

/**
 * Where the `@` behind user name and password is; -1 where there is none, though the path may hold an `@` of its own.
 * @param {string} rest a URL without its scheme
 */
function endOfUser(rest) {
	const last = rest.lastIndexOf('@')
	const behind = rest.slice(last + 1)
	const behindIsAddress = /[:/?]/.test(behind) || certainHost.test(behind)
	const isPlain =
		certainHost.test(beforePath(rest)) || (possibleHost.test(beforePath(rest)) && !behindIsAddress)
	return isPlain ? -1 : last
}

/**
 * Reads what a link asks for from the part of the page's address behind `#`, which no server and no log ever sees.
 * @param {string} hash `#rtsp_url=…&pipeline=…&quality=…`
 * @returns {Wanted | null} null when it names no camera
 */
export function readAddress(hash) {
	const parameters = {}
	const read = new URLSearchParams(mendByHand(hash.replace(/^#/, '')))
	for (const [name, value] of read) parameters[name] = value
	const {rtsp_url: rtspUrl = '', camera = '', pipeline = '', token = '', mode, ...rest} = parameters
	const wanted = {rtspUrl: rtspUrl.trim(), camera, pipeline, token, parameters: rest}
	return wanted.rtspUrl === '' && camera === ''
		? null
		: {...wanted, mode: mode ?? usualMode(wanted)}
}

/**
 * The mode of a link that names none. One with a template or its parameters wants those, which are of JPEG.
 * @param {{pipeline: string, parameters: Record<string, string>}} wanted
 */
function usualMode({pipeline, parameters}) {
	return pipeline === '' && Object.keys(parameters).length === 0 ? 'auto' : 'jpeg'
}

/**
 * Encodes the URL in a link that somebody wrote by hand, without encoding: its own `&name=value` belong to it.
 * @param {string} query
 */
function mendByHand(query) {
	const [, before, url] = /^(.*?)\brtsp_url=([a-z]+:\/\/.*)$/is.exec(query) ?? []
	if (url === undefined) return query
	const [first, ...others] = url.split('&')
	const isOurs = part => knownNames.has(part.split('=', 1)[0])
	const whole = [first, ...others.filter(part => !isOurs(part))].join('&')
	return `${before}rtsp_url=${encodeURIComponent(whole)}&${others.filter(isOurs).join('&')}`
}

/**
 * Writes what is wanted as a link that may be passed on: without a password, without a token.
 * @param {Wanted} wanted
 * @returns {string} `#rtsp_url=…&pipeline=…&quality=…`
 */
export function writeAddress(wanted) {
	const {camera, rtspUrl, mode, pipeline, parameters} = wanted
	const written = new URLSearchParams(
		camera === '' ? {rtsp_url: withoutPassword(rtspUrl)} : {camera}
	)
	if (mode !== usualMode(wanted)) written.set('mode', mode)
	if (pipeline !== '') written.set('pipeline', pipeline)
	for (const [name, value] of Object.entries(parameters)) {
		if (!secretName.test(name)) written.set(name, value)
	}
	return `#${written}`
}

/** Remembers what is wanted for the next visit, without a password. @param {Wanted} wanted */
export function remember(wanted) {
	try {
		localStorage.setItem(storageKey, writeAddress(wanted))
	} catch {
		// A private window may refuse; then the next visit starts with an empty field.
	}
}

/** @returns {Wanted | null} what was wanted last, on this visit or an earlier one */
export function recall() {
	try {
		return readAddress(localStorage.getItem(storageKey) ?? '')
	} catch {
		return null
	}
}
