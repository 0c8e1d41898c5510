import {createHmac} from 'node:crypto'

/** Time-limited credentials hold for a day: longer than a viewer watches without asking anew. */
const credentialSeconds = 86_400

/** A STUN or TURN server that viewers are told of. */
export interface IceServer {
	/** As [RFC 7064] and [RFC 7065] have it: `turn:turn.example.com:3478?transport=udp`. */
	readonly url: string
	readonly username?: string
	readonly credential?: string
	/** Shared with the TURN server, which takes credentials made of it for a limited time. */
	readonly secret?: string
}

const urlPattern =
	/^(?:stuns?:(?:[\w.-]+|\[[\da-f:.]+\])(?::\d{1,5})?|turns?:(?:[\w.-]+|\[[\da-f:.]+\])(?::\d{1,5})?(?:\?transport=(?:udp|tcp))?)$/i
const attributePattern =
	/^(username|credential|secret)=([\u0021\u0023-\u003A\u003C-\u005B\u005D-\u007E]{1,256})$/

/** What `parseIceServer` expects, in words. */
export const iceServerSyntax =
	'stun:host:port, turn:host:port?transport=udp;username=…;credential=…, or turn:host:port;secret=…'

/**
 * @param text `turn:turn.example.com?transport=udp;username=u;credential=c`
 * @returns undefined where it is none
 */
export function parseIceServer(text: string): IceServer | undefined {
	const [url = '', ...attributes] = text.split(';')
	const read = attributes.map(attribute => attributePattern.exec(attribute))
	if (!urlPattern.test(url) || read.some(match => !match)) return undefined
	const values = new Map(read.map(match => [match?.[1], match?.[2] ?? '']))
	const [username, credential, secret] = [
		values.get('username'),
		values.get('credential'),
		values.get('secret')
	]
	const turn = /^turn/i.test(url)
	const whole =
		secret === undefined
			? username !== undefined && credential !== undefined
			: credential === undefined
	if (values.size !== attributes.length || (turn ? !whole : values.size > 0)) return undefined
	return {
		url,
		...(username !== undefined && {username}),
		...(credential !== undefined && {credential}),
		...(secret !== undefined && {secret})
	}
}

/**
 * The value of a `Link` header, [RFC 9725 4.6].
 * @param nowSeconds since 1970, for credentials that end a day later: the TURN servers' own scheme, use-auth-secret in coturn
 */
export function iceServerLink(
	{url, username, credential, secret}: IceServer,
	nowSeconds: number
): string {
	const parameters = [`<${url}>`, 'rel="ice-server"']
	if (secret !== undefined) {
		const limited = `${Math.floor(nowSeconds) + credentialSeconds}${username === undefined ? '' : `:${username}`}`
		parameters.push(
			`username="${limited}"`,
			`credential="${createHmac('sha1', secret).update(limited).digest('base64')}"`,
			'credential-type="password"'
		)
	} else if (username !== undefined && credential !== undefined)
		parameters.push(
			`username="${username}"`,
			`credential="${credential}"`,
			'credential-type="password"'
		)
	return parameters.join('; ')
}
