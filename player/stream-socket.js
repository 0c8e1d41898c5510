import {pictureWithinMs} from './modes/mode.js'
import {codeOfClose, reasonIn} from './reasons.js'

/** @typedef {import('./reasons.js').Reason} Reason */

/**
 * One connection to `/ws/stream`, whatever its template sends: it tells frames from caps and errors. It keeps no frame,
 * and does not come back by itself.
 */
export class StreamSocket {
	#options
	/** @type {WebSocket | null} */
	#socket = null
	/** When the server took the connection; zero before. */
	#openedAt = 0

	/**
	 * @param {object} options
	 * @param {(frame: ArrayBuffer) => void} options.onFrame called with the bytes of each frame, as it arrives
	 * @param {(caps: Record<string, unknown>) => void} options.onCaps called with what coded video says of itself, before its first frame and when it changes
	 * @param {(reason: Reason) => void} options.onLoss called once, when the connection has ended and not by `close()`
	 */
	constructor(options) {
		this.#options = options
	}

	/** @param {string} address of the WebSocket */
	open(address) {
		this.close()
		/** @type {Reason | null} */
		let reason = null
		const socket = new WebSocket(address)
		this.#socket = socket
		// Not 'blob': the browser would file each one in another process, also those that give way undrawn.
		socket.binaryType = 'arraybuffer'
		socket.onopen = () => {
			this.#openedAt = performance.now()
		}
		socket.onmessage = ({data}) => {
			if (typeof data !== 'string') {
				this.#options.onFrame(data)
				return
			}
			const message = parsed(data)
			if (message?.caps !== undefined) this.#options.onCaps(Object(message.caps))
			else reason = reasonIn(message) ?? reason
		}
		socket.onclose = ({code}) => {
			const lost =
				codeOfClose(code) ?? (this.#openedAt === 0 ? 'server_unreachable' : 'connection_lost')
			this.close()
			// A code that a newer server may have added is final as the server's status says: 4xx is the viewer's fault.
			this.#options.onLoss({
				...(reason ?? {code: lost, detail: ''}),
				...(code >= 4400 && code < 4500 && {final: true})
			})
		}
	}

	/** Why there is no picture, though one should have come; null where it is too early to tell. */
	overdue() {
		const early = this.#openedAt === 0 || performance.now() - this.#openedAt < pictureWithinMs
		return early ? null : {code: 'no_first_picture', detail: ''}
	}

	/** Ends the connection. Nothing is called any more. */
	close() {
		const socket = this.#socket
		this.#socket = null
		if (!socket) return
		// What still arrives on the old connection must not be taken for a new one's.
		socket.onopen = socket.onmessage = socket.onclose = null
		socket.close()
	}
}

/** @param {string} text a text message of the server */
function parsed(text) {
	try {
		return Object(JSON.parse(text))
	} catch {
		// Text that is not JSON says nothing to a player; the close that follows does.
		return null
	}
}
