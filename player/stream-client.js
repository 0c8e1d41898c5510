/** Pause before the first try after a loss; it doubles with each loss in a row. */
const firstPauseMs = 1000
const longestPauseMs = 30_000
/** A stream that was live for so long counts as sound: the next loss starts with the shortest pause again. */
const soundAfterMs = 10_000
/** A browser notices a dead link only after minutes, and the server's own limits are shorter than this. */
const longestSilenceMs = 30_000

/** Reasons that another try does not mend: somebody has to change something first. */
const finalCodes = new Set([
	'bad_request', 'unauthorized', 'forbidden', 'not_found',
	'camera_unauthorized', 'camera_not_found', 'camera_unsupported', 'template_invalid',
	'not_images'
])

/**
 * What a close without an error message means, by its code: going away, restarting, or 4000 + an HTTP status.
 * @type {Record<number, string>}
 */
const codesByClose = {
	1001: 'shutting_down', 1012: 'shutting_down',
	4400: 'bad_request', 4401: 'unauthorized', 4403: 'forbidden', 4404: 'not_found',
	4500: 'pipeline_failed', 4502: 'camera_lost', 4503: 'over_capacity', 4504: 'camera_timeout'
}

/**
 * @typedef {object} Reason Why there is no picture.
 * @property {string} code one of the server's error codes, or of the page's own: `server_unreachable`, `connection_lost`, `silent`, `not_images`
 * @property {string} detail what the server wrote for people; may be empty
 *
 * @typedef {object} State
 * @property {'idle' | 'connecting' | 'live' | 'reconnecting' | 'failed'} name
 * @property {Reason | null} reason of `reconnecting` and `failed`
 * @property {number | null} retryAt when the next try starts, in ms of `performance.now()`; null while a try is under way
 */

/** @param {number} losses how many in a row, this one included @returns {number} the pause before the next try, in ms */
function pauseAfter(losses) {
	const full = Math.min(longestPauseMs, firstPauseMs * 2 ** (losses - 1))
	// The jitter keeps many pages from coming back to a restarted server in the same instant.
	return full * (0.7 + Math.random() * 0.3)
}

/**
 * One viewer's connection to `/ws/stream`: it opens the WebSocket, tells pictures from errors, and comes back after a
 * loss. It keeps no picture: each goes to `onPicture` at once.
 */
export class StreamClient {
	#onState
	#onPicture
	#address = ''
	/** @type {WebSocket | null} */
	#socket = null
	/** Removes the listeners on the window and the document. */
	#listening = new AbortController()
	#retryTimer = 0
	#silenceTimer = 0
	#losses = 0
	#firstPictureAt = 0
	#lastPictureAt = 0
	/** @type {State} */
	#state = {name: 'idle', reason: null, retryAt: null}

	/**
	 * @param {object} options
	 * @param {(state: State) => void} options.onState called with each new state
	 * @param {(picture: ArrayBuffer) => void} options.onPicture called with the bytes of each JPEG, as it arrives
	 */
	constructor({onState, onPicture}) {
		this.#onState = onState
		this.#onPicture = onPicture
	}

	/** @returns {State} */
	get state() {
		return this.#state
	}

	/** @returns {number | null} ms since the newest picture of this connection arrived */
	get silentForMs() {
		return this.#firstPictureAt === 0 ? null : performance.now() - this.#lastPictureAt
	}

	/** Connects, in place of what was connected before. @param {string} address of the WebSocket */
	open(address) {
		this.#leave()
		this.#address = address
		this.#losses = 0
		this.#listening = new AbortController()
		const {signal} = this.#listening
		// After a change of network, or when somebody looks at the page again, waiting has no point.
		window.addEventListener('online', () => { this.#wake() }, {signal})
		document.addEventListener('visibilitychange', () => { if (!document.hidden) this.#wake() }, {signal})
		this.#change('connecting')
		this.#dial()
	}

	/** Disconnects for good. */
	close() {
		this.#leave()
		this.#change('idle')
	}

	/** Ends the pause before the next try. It does nothing when there is none. */
	tryNow() {
		if (this.#state.retryAt === null) return
		this.#change('reconnecting', this.#state.reason)
		this.#dial()
	}

	/** @param {State['name']} name @param {Reason | null} reason @param {number | null} retryAt */
	#change(name, reason = null, retryAt = null) {
		this.#state = {name, reason, retryAt}
		this.#onState(this.#state)
	}

	#wake() {
		if (this.#state.retryAt !== null) this.tryNow()
		// The link that this connection used may be gone without a word.
		else if (this.#state.name === 'live' && (this.silentForMs ?? 0) > 5000) this.#lose({code: 'silent', detail: ''})
	}

	#leave() {
		this.#listening.abort()
		this.#hangUp()
	}

	/** Ends the connection and every timer. */
	#hangUp() {
		clearTimeout(this.#retryTimer)
		clearTimeout(this.#silenceTimer)
		const socket = this.#socket
		this.#socket = null
		if (!socket) return
		// What still arrives on the old connection must not be taken for the new one's.
		socket.onopen = socket.onmessage = socket.onclose = null
		socket.close()
	}

	#dial() {
		this.#hangUp()
		this.#firstPictureAt = 0
		/** @type {Reason | null} */
		let reason = null
		let opened = false
		const socket = new WebSocket(this.#address)
		this.#socket = socket
		// Not 'blob': the browser would file each one in another process, also those that give way undrawn.
		socket.binaryType = 'arraybuffer'
		this.#listenForSilence()
		socket.onopen = () => {
			opened = true
		}
		socket.onmessage = ({data}) => {
			if (typeof data !== 'string') {
				this.#takePicture(data)
				return
			}
			reason = reasonIn(data) ?? reason
			// The server closes after an error by itself, but a stream that is no image would go on.
			if (reason?.code === 'not_images') this.#lose(reason)
		}
		socket.onclose = ({code}) => {
			const lost = codesByClose[code] ?? (opened ? 'connection_lost' : 'server_unreachable')
			// A code that a newer server may have added is final as the server's status says: 4xx is the viewer's fault.
			this.#lose(reason ?? {code: lost, detail: ''}, code >= 4400 && code < 4500)
		}
	}

	/** @param {ArrayBuffer} picture */
	#takePicture(picture) {
		this.#lastPictureAt = performance.now()
		this.#listenForSilence()
		this.#onPicture(picture)
		if (this.#firstPictureAt !== 0) return
		this.#firstPictureAt = this.#lastPictureAt
		this.#change('live')
	}

	#listenForSilence() {
		clearTimeout(this.#silenceTimer)
		this.#silenceTimer = setTimeout(() => { this.#lose({code: 'silent', detail: ''}) }, longestSilenceMs)
	}

	/** @param {Reason} reason @param {boolean} final whether another try has no point */
	#lose(reason, final = false) {
		const soundMs = this.#firstPictureAt === 0 ? 0 : this.#lastPictureAt - this.#firstPictureAt
		this.#hangUp()
		if (final || finalCodes.has(reason.code)) {
			this.#leave()
			this.#change('failed', reason)
			return
		}
		this.#losses = soundMs >= soundAfterMs ? 1 : this.#losses + 1
		const pauseMs = pauseAfter(this.#losses)
		this.#retryTimer = setTimeout(() => { this.tryNow() }, pauseMs)
		this.#change('reconnecting', reason, performance.now() + pauseMs)
	}
}

/** @param {string} text a text message of the server @returns {Reason | null} the error in it */
function reasonIn(text) {
	try {
		const message = JSON.parse(text)
		if (message?.error !== undefined) return {code: String(message.code ?? 'unknown'), detail: String(message.detail ?? '')}
		// A template for coded video announces itself; this page draws images.
		if (message?.caps !== undefined) return {code: 'not_images', detail: ''}
	} catch {
		// Text that is not JSON says nothing to this page; the close that follows does.
	}
	return null
}
