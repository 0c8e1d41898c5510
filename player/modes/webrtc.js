/* global RTCPeerConnection */
import {codeOfStatus, reasonIn} from '../reasons.js'
import {pictureWithinMs, queryOf} from './mode.js'
import {VideoCounter} from './video-counter.js'

const statisticsEveryMs = 1000
/** A link that is interrupted may heal by itself; for so long it is given the time. */
const healsWithinMs = 4000
const hangUpWithinMs = 2000

/** H.264 as the camera sends it, over WebRTC, which the server speaks as WHEP. @implements {Mode} */
export class WebRtcMode {
	static surface = 'video'
	static isSupported = () => typeof window.RTCPeerConnection === 'function'

	#options
	#peer = new RTCPeerConnection()
	#counter
	/** The stream's own address on the server, which ends it. */
	#resource = ''
	/** When the server's answer was taken, which lets the connection begin; zero before. */
	#answeredAt = 0
	#timer = 0
	#healing = 0
	#stopped = false
	/** @type {{bytes: number, dropped: number, delayMs: number | null, processing: number, decoded: number}} */
	#measured = {bytes: 0, dropped: 0, delayMs: null, processing: 0, decoded: 0}

	/** @param {import('./mode.js').ModeOptions} options */
	constructor(options) {
		this.#options = options
		this.#counter = new VideoCounter(options.screen.video, () => {
			options.onFrame()
			options.onPicture()
		})
	}

	get counts() {
		return {
			drawn: this.#counter.drawn,
			dropped: this.#measured.dropped,
			bytes: this.#measured.bytes
		}
	}

	/** Half the round trip, and the time from a picture's first packet to its decoding, as the browser measures them. */
	get delay() {
		return this.#measured.delayMs === null ? null : {ms: this.#measured.delayMs, of: 'network'}
	}

	start() {
		const {video} = this.#options.screen
		const peer = this.#peer
		const {receiver} = peer.addTransceiver('video', {direction: 'recvonly'})
		// The least that the network allows; the browser makes it longer where packets come late. Not every browser has it.
		receiver.jitterBufferTarget = 0
		peer.ontrack = ({track}) => {
			video.srcObject = new window.MediaStream([track])
			// A browser that forbids playing leaves the video without pictures, and the next mode takes its place.
			video.play().catch(() => undefined)
		}
		peer.onconnectionstatechange = () => {
			this.#onConnection()
		}
		this.#counter.start()
		this.#timer = setInterval(() => {
			void this.#measure()
		}, statisticsEveryMs)
		this.#ask().catch(error => {
			this.#fail({code: 'internal_error', detail: String(error)})
		})
	}

	stop() {
		if (this.#stopped) return
		this.#stopped = true
		this.#options.screen.freeze()
		clearInterval(this.#timer)
		clearTimeout(this.#healing)
		this.#counter.stop()
		this.#peer.onconnectionstatechange = this.#peer.ontrack = null
		this.#options.screen.video.srcObject = null
		void this.#hangUp()
	}

	overdue() {
		if (this.#answeredAt === 0) return {code: 'no_first_picture', detail: ''}
		// An answer that has only just come says nothing of the network.
		if (performance.now() - this.#answeredAt < pictureWithinMs) return null
		return {
			code: this.#peer.connectionState === 'connected' ? 'no_first_picture' : 'media_blocked',
			detail: ''
		}
	}

	/** @param {import('../reasons.js').Reason} reason */
	#fail(reason) {
		if (this.#stopped) return
		this.stop()
		this.#options.onFailure(reason)
	}

	async #ask() {
		const {wanted} = this.#options
		const address = new URL('whep', wanted.server)
		address.search = queryOf(wanted, wanted.pipeline).toString()
		const offer = await this.#peer.createOffer()
		/** @type {Response} */
		let answer
		try {
			// The offer goes without the browser's own addresses: the server learns them from the first packet, and nothing waits.
			// It goes without a signal, too: an answer that comes too late names a stream that has to be ended.
			answer = await fetch(address, {
				method: 'POST',
				headers: {'Content-Type': 'application/sdp'},
				body: offer.sdp
			})
		} catch {
			// A browser does not tell a server that is away from one that does not let this page ask. The latter is no server's own page.
			const own = address.origin === location.origin
			this.#fail({code: own ? 'server_unreachable' : 'no_first_picture', detail: ''})
			return
		}
		if (answer.status !== 201) {
			const body = await answer.json().catch(() => null)
			// 409 says that the camera is off, which it may not be for long.
			const final = answer.status >= 400 && answer.status < 500 && answer.status !== 409
			this.#fail({
				...(reasonIn(body) ?? {code: codeOfStatus(answer.status), detail: ''}),
				...(final && {final})
			})
			return
		}
		// Of another origin a server may name nothing: this page would send DELETE there, with its cookies.
		const resource = new URL(answer.headers.get('Location') ?? '', answer.url)
		if (resource.origin === new URL(answer.url).origin) this.#resource = resource.href
		if (this.#stopped) {
			void this.#hangUp()
			return
		}
		const sdp = await answer.text()
		if (this.#stopped) return
		// Before the browser looks for its own addresses, for it asks these servers for some.
		this.#peer.setConfiguration({iceServers: iceServersIn(answer.headers.get('Link') ?? '')})
		await this.#peer.setLocalDescription(offer)
		if (this.#stopped) return
		await this.#peer.setRemoteDescription({type: 'answer', sdp})
		this.#answeredAt = performance.now()
	}

	/**
	 * Tells the server that nobody watches, and only then closes the connection: a server that saw it close first would
	 * not know the stream any more.
	 */
	async #hangUp() {
		const resource = this.#resource
		this.#resource = ''
		// The page itself may be about to go. Whether this arrives changes nothing here.
		if (resource !== '')
			await fetch(resource, {
				method: 'DELETE',
				keepalive: true,
				signal: AbortSignal.timeout(hangUpWithinMs)
			}).catch(() => undefined)
		this.#peer.close()
	}

	#onConnection() {
		clearTimeout(this.#healing)
		const state = this.#peer.connectionState
		if (state === 'failed') this.#fail(this.#lost())
		else if (state === 'closed') this.#fail({code: 'connection_lost', detail: ''})
		else if (state === 'disconnected')
			this.#healing = setTimeout(() => {
				this.#fail(this.#lost())
			}, healsWithinMs)
	}

	#lost() {
		return {code: this.#counter.drawn === 0 ? 'media_blocked' : 'connection_lost', detail: ''}
	}

	async #measure() {
		const reports = await this.#peer.getStats().catch(() => null)
		if (!reports || this.#stopped) return
		let rttMs = null
		let video = null
		for (const report of reports.values()) {
			if (report.type === 'inbound-rtp' && report.kind === 'video') video = report
			if (
				report.type === 'candidate-pair' &&
				report.nominated &&
				report.currentRoundTripTime !== undefined
			)
				rttMs = report.currentRoundTripTime * 1000
		}
		if (!video) return
		const {
			bytesReceived: bytes = 0,
			framesDropped: dropped = 0,
			framesDecoded: decoded = 0,
			totalProcessingDelay: processing = 0
		} = video
		const before = this.#measured
		// A browser tells a hidden page of no picture that it presents, and one in a small window of its own is played on.
		if (decoded > before.decoded) this.#options.onFrame()
		const fresh = decoded - before.decoded
		const delayMs =
			fresh > 0 && rttMs !== null && processing > 0
				? rttMs / 2 + ((processing - before.processing) * 1000) / fresh
				: before.delayMs
		this.#measured = {bytes, dropped, delayMs, processing, decoded}
	}
}

/**
 * The STUN and TURN servers that a WHEP answer names: `<turn:host?transport=udp>; rel="ice-server"; username="…"; credential="…"`.
 * @param {string} header `Link`
 * @returns {RTCIceServer[]}
 */
export function iceServersIn(header) {
	// The bound keeps a header full of beginnings from being searched to its end from each of them.
	const links = [
		...header.matchAll(
			/<((?:stun|turn)s?:[^<>\s]{1,512})>((?:\s*;\s*[\w-]+=(?:"(?:[^"\\]|\\.)*"|[^",;\s]+))*)/gi
		)
	]
	const servers = links.map(([, urls, rest]) => {
		const parameters = Object.fromEntries(
			[...rest.matchAll(/([\w-]+)=(?:"((?:[^"\\]|\\.)*)"|([^",;\s]+))/g)].map(
				([, name, quoted, plain]) => [name, quoted?.replace(/\\(.)/g, '$1') ?? plain]
			)
		)
		return {
			urls,
			...(parameters.username !== undefined && {
				username: parameters.username,
				credential: parameters.credential ?? ''
			})
		}
	})
	// One TURN server without a user name would make the browser refuse all of them.
	return servers.filter(({urls, username}) => username !== undefined || !/^turn/i.test(urls))
}
