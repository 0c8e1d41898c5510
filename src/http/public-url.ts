import type {IncomingMessage} from 'node:http'

const hostPattern = /^(?:[\w.-]{1,253}|\[[\da-f:.]{2,45}\])(?::\d{1,5})?$/i
/** A header may be 16 KB of slashes. */
const maxPrefixLength = 2048
const prefixPattern = /^(?:\/[\w.~%@-]{1,128}){1,16}$/

/**
 * The address of a path of this server as the client of a request sees it, through whatever proxies: `Host`, or
 * `X-Forwarded-Host`, `-Proto` and `-Prefix`. They are believed without asking who sent them, for only whoever sent the
 * request gets the answer. A value that is none is passed over.
 *
 * @param path absolute
 */
export function publicUrl({headers, socket}: IncomingMessage, path: string): string {
	const proto = first(headers['x-forwarded-proto'])
	const scheme = proto === 'https' || proto === 'http' ? proto : 'http'
	const own = `${socket.localAddress?.includes(':') ? `[${socket.localAddress}]` : (socket.localAddress ?? 'localhost')}:${socket.localPort ?? 80}`
	const host =
		[first(headers['x-forwarded-host']), headers.host].find(
			value => value !== undefined && hostPattern.test(value)
		) ?? own
	const prefix = (first(headers['x-forwarded-prefix']) ?? '')
		.slice(0, maxPrefixLength)
		.replace(/\/+$/, '')
	return `${scheme}://${host}${prefixPattern.test(prefix) ? prefix : ''}${path}`
}

/** Each proxy adds its own value behind those before it; the first is what the client sees. */
function first(value: string | string[] | undefined): string | undefined {
	return (Array.isArray(value) ? value[0] : value)?.split(',', 1)[0]?.trim()
}
