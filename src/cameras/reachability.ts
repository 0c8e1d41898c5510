import net from 'node:net'
import tls from 'node:tls'

const reasons: Record<string, string> = {
	ECONNREFUSED: 'refused the connection; is the port right?',
	ECONNRESET: 'cut the connection off',
	ENOTFOUND: 'is not a known host name',
	EAI_AGAIN: 'could not be looked up: the name server did not answer',
	EHOSTUNREACH: 'does not answer on the network',
	ENETUNREACH: 'is on a network that this machine has no route to',
	ERR_SSL_WRONG_VERSION_NUMBER:
		'speaks no TLS there; try the scheme without TLS, rtsp:// instead of rtsps://',
	ERR_SSL_PACKET_LENGTH_TOO_LONG:
		'speaks no TLS there; try the scheme without TLS, rtsp:// instead of rtsps://',
	DEPTH_ZERO_SELF_SIGNED_CERT:
		'has a certificate that it signed itself; a template with tls-validation-flags=0 takes it',
	SELF_SIGNED_CERT_IN_CHAIN:
		'has a certificate of an unknown authority; a template with tls-validation-flags=0 takes it'
}

export interface Address {
	host: string
	port: number
	/** Whether the camera is spoken to over TLS, as with rtsps://. */
	secure: boolean
	/** Stands for host and port in the words. */
	name?: string
}

/**
 * Why a host cannot be reached, in words. rtspsrc says "Failed to connect. (Generic error)" in all these cases.
 *
 * @returns undefined where a connection can be made, so that the reason lies deeper
 */
export async function whyUnreachable(
	{host, port, secure, name}: Address,
	timeoutMs: number
): Promise<string | undefined> {
	const camera = name === undefined ? `${host}:${port}` : `the camera ${name}`
	const named = name === undefined ? host : `the host of the camera ${name}`
	return new Promise(resolve => {
		const socket = secure
			? tls.connect({host, port, servername: net.isIP(host) ? '' : host})
			: net.connect({host, port})
		const end = (reason?: string) => {
			socket.destroy()
			resolve(reason)
		}
		// Not socket.setTimeout: that one does not run while the name is looked up.
		const timer = setTimeout(() => {
			end(`${camera} did not answer a connection within ${timeoutMs / 1000} s`)
		}, timeoutMs)
		socket.once('close', () => {
			clearTimeout(timer)
		})
		socket.once(secure ? 'secureConnect' : 'connect', () => {
			end()
		})
		socket.once('error', (error: NodeJS.ErrnoException) => {
			const {code = 'an unknown error'} = error
			end(
				`${code === 'ENOTFOUND' || code === 'EAI_AGAIN' ? named : camera} ${reasons[code] ?? `failed: ${code}`}`
			)
		})
	})
}
