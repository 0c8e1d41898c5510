import {CameraMemory} from '../cameras/camera-memory.js'
import {asSluiceError, SluiceError} from '../base/errors.js'
import {logFailure, type Logger} from '../base/log.js'
import type {ViewerMeter} from '../viewers/metrics.js'
import type {Frame, Subscriber} from '../streams/frame.js'
import {hostCandidate, writeAnswer} from './sdp.js'
import type {Offer} from './sdp-offer.js'
import type {Stream} from '../streams/stream.js'
import type {StreamRequest} from '../streams/stream-request.js'
import type {Streams} from '../streams/streams.js'
import type {Peer, WebRtc, WebRtcEngine} from './engine.js'
import type {SessionCounters} from './messages.js'
import type {WebRtcSource} from './stream-feed.js'

const closeTimeoutMs = 1000

export interface WhepSessionOptions {
	id: string
	offer: Offer
	request: StreamRequest
	/** The same camera through the transcoding template; undefined where that is not to be tried. */
	transcode: (() => Promise<StreamRequest>) | undefined
	/** Cameras that were found to send what browsers do not show, and what that was. */
	unplayable: CameraMemory
	/** Addresses of this host that it does not know of. */
	addresses: () => Promise<readonly string[]>
	openTimeoutMs: number
	streams: Streams
	webrtc: WebRtc
	/** Frames are counted where they are sent, in the WebRTC worker. */
	meter: ViewerMeter
	log: Logger
}

/** What a session holds of a stream. */
interface Attachment {
	stream: Stream
	subscriber: Subscriber
	engine: WebRtcEngine
	source: WebRtcSource
	/** That of the source, once a frame has come: a stream that others watch may have been judged long ago, and be lost now. */
	verdict: WebRtcSource['verdict']
	onBFrames: () => void
}

/** One viewer over WebRTC, from its offer to its end. */
export class WhepSession {
	/** Resolves when the peer connection is closed and the viewer detached from its stream. */
	readonly closed: Promise<void>
	readonly id: string
	/** Those of the viewer's offer. */
	readonly ufrags: Offer['ufrags']
	#options: WhepSessionOptions
	#log: Logger
	#attachment: Attachment | undefined
	#peer: Peer | undefined
	/** When the answer was given that the viewer has not followed yet. */
	#answeredMs: number | undefined
	#answered = false
	#connected = false
	#ended = false
	#resolveClosed: () => void = () => undefined
	/** Ends the wait of open(). */
	#ending = new AbortController()
	#rejectWait: ((error: SluiceError) => void) | undefined
	#openedMs = performance.now()

	constructor(options: WhepSessionOptions) {
		const {id, offer, log} = options
		this.id = id
		this.ufrags = offer.ufrags
		this.#options = options
		this.#log = log
		this.closed = new Promise(resolve => {
			this.#resolveClosed = resolve
		})
	}

	/**
	 * Opens the camera, finds out whether browsers can show what it sends, and opens the peer connection.
	 * @returns the SDP answer
	 * @throws SluiceError every failure of a stream's, `not_acceptable`, `webrtc_failed`, `webrtc_unavailable`, `bad_request`
	 */
	async open(): Promise<string> {
		try {
			const {engine, source} = await this.#attachPlayable()
			const {id, offer, addresses} = this.#options
			const hosts = await addresses()
			const peer = await engine.open(
				id,
				offer,
				source,
				{
					onConnected: () => {
						if (this.#connected) return
						this.#connected = true
						this.#answeredMs = undefined
						this.#log.info(
							{afterMs: Math.round(performance.now() - this.#openedMs)},
							'WebRTC connected'
						)
					},
					onClosed: (reason, counters) => {
						this.#end(reason, counters)
					}
				},
				this.#ending.signal
			)
			this.#peer = peer
			if (this.#ending.signal.aborted) {
				peer.close()
				throw this.#ending.signal.reason
			}
			this.#answered = true
			this.#answeredMs = performance.now()
			const candidates = [
				...peer.answer.candidates,
				...hosts.map((address, index) => hostCandidate(address, peer.port, index))
			]
			return writeAnswer(
				offer,
				{...peer.answer, candidates},
				{ssrc: peer.ssrc, sessionId: String(peer.ssrc)}
			)
		} catch (error) {
			const failure = asSluiceError(error)
			// Who leaves meanwhile, or is sent away, is told of as gone; what nobody foresaw, by whoever answers the request.
			if (failure !== this.#ending.signal.reason && failure.code !== 'internal_error')
				logFailure(this.#log, failure)
			this.#fail(failure)
			throw failure
		}
	}

	/** For how long the viewer has had its answer and has not connected. */
	get waitedMs(): number {
		return this.#answeredMs === undefined ? 0 : performance.now() - this.#answeredMs
	}

	/** Ends it for the viewer too. */
	async close(): Promise<void> {
		this.#fail(new SluiceError('shutting_down', 'the session was ended'))
		await this.closed
	}

	/** @throws SluiceError */
	async #attachPlayable(): Promise<Attachment> {
		const {request, transcode, unplayable} = this.#options
		let why = unplayable.recall(request.source)
		if (why === undefined || !transcode) {
			why = await this.#tryPlain(request)
			if (why === undefined && this.#attachment) return this.#attachment
		}
		if (!transcode)
			throw new SluiceError(
				'not_acceptable',
				`the camera sends ${why ?? 'what no browser shows'}, which browsers do not show over WebRTC, and this server does not transcode it`
			)
		this.#log.info({why}, 'transcoding')
		try {
			const attachment = this.#attach(await transcode())
			await this.#wait(attachment.verdict)
			return attachment
		} catch (error) {
			// It may be another camera's fault, or no camera's: the next viewer's first try is the plain one again.
			unplayable.forget(request.source)
			throw error
		}
	}

	/**
	 * @returns undefined where the camera can be watched as it is, else what it sends
	 * @throws SluiceError every other failure
	 */
	async #tryPlain(request: StreamRequest): Promise<string | undefined> {
		const {unplayable} = this.#options
		let why: string
		try {
			const attachment = this.#attach(request)
			if ((await this.#wait(attachment.verdict)) === 'plays') return undefined
			why = 'B-frames'
		} catch (error) {
			if (!(error instanceof SluiceError) || error.code !== 'camera_unsupported') throw error
			why = 'no H.264'
		}
		const {stream} = this.#attachment ?? {}
		this.#detach()
		// The camera may allow one session only; that one nobody needs any more.
		if (stream?.subscribers === 0) await this.#wait(stream.close())
		// Where the viewer named a template, it may be that, or its parameters, which does not fit: it says nothing for others.
		if (this.#options.transcode) unplayable.learn(request.source, why)
		return why
	}

	#attach(request: StreamRequest): Attachment {
		const {streams, webrtc} = this.#options
		this.#ending.signal.throwIfAborted()
		const engine = webrtc.engine()
		const early: Frame[] = []
		let onFirst: (() => void) | undefined
		const first = new Promise<void>(resolve => {
			onFirst = resolve
		})
		const subscriber: Subscriber = {
			// The WebRTC worker keeps a group of its own for late viewers.
			takesAnyFrame: true,
			// A late subscriber receives frames before it knows its stream.
			onFrame: frame => {
				// Once, for V8 has a slow way for promises that are resolved already.
				onFirst?.()
				onFirst = undefined
				if (this.#attachment?.subscriber === subscriber) this.#attachment.source.offer(frame)
				else early.push(frame)
			},
			onFailure: error => {
				this.#onStreamFailure(error)
			}
		}
		const stream = streams.attach(request, subscriber, this.#log)
		const source = engine.source(stream)
		source.hold()
		const onBFrames = () => {
			if (this.#options.transcode) this.#options.unplayable.learn(request.source, 'B-frames')
			this.#onStreamFailure(new SluiceError('not_acceptable', 'the camera began to send B-frames'))
		}
		source.onBFrames.add(onBFrames)
		this.#attachment = {
			stream,
			subscriber,
			engine,
			source,
			verdict: first.then(async () => source.verdict),
			onBFrames
		}
		// Emptied, for the subscriber holds it as long as the session lives.
		for (const frame of early.splice(0)) source.offer(frame)
		return this.#attachment
	}

	/** The stream has failed: open() hears of it while it waits, afterwards the session ends. */
	#onStreamFailure(error: SluiceError): void {
		if (this.#rejectWait) {
			this.#rejectWait(error)
			return
		}
		logFailure(this.#log, error)
		// Before the viewer is answered, it is counted with the answer.
		if (this.#answered) this.#options.meter.failed(error.code)
		this.#fail(error)
	}

	/** Waits for a verdict, as long as the stream lives and nobody ends the session. */
	async #wait<T>(verdict: Promise<T>): Promise<T> {
		const {openTimeoutMs} = this.#options
		const {signal} = this.#ending
		let timer: NodeJS.Timeout | undefined
		const onAbort = () => this.#rejectWait?.(signal.reason as SluiceError)
		signal.addEventListener('abort', onAbort, {once: true})
		try {
			return await Promise.race([
				verdict,
				new Promise<never>((_, reject) => {
					this.#rejectWait = reject
					// A shared stream whose camera was lost is tried again for longer.
					timer = setTimeout(() => {
						reject(new SluiceError('camera_timeout', `no picture within ${openTimeoutMs / 1000} s`))
					}, openTimeoutMs)
				})
			])
		} finally {
			clearTimeout(timer)
			signal.removeEventListener('abort', onAbort)
			this.#rejectWait = undefined
		}
	}

	#detach(): void {
		if (!this.#attachment) return
		const {stream, subscriber, source, onBFrames} = this.#attachment
		this.#attachment = undefined
		source.onBFrames.delete(onBFrames)
		source.release()
		stream.detach(subscriber)
	}

	#fail(error: SluiceError): void {
		if (this.#ending.signal.aborted) return
		this.#ending.abort(error)
		this.#detach()
		if (!this.#peer) {
			this.#end(error.detail)
			return
		}
		this.#peer.close()
		// The worker's answer has the counters; a worker that hangs gives none.
		const timer = setTimeout(() => {
			this.#end(error.detail)
		}, closeTimeoutMs)
		void this.closed.then(() => {
			clearTimeout(timer)
		})
	}

	#end(reason: string, counters?: SessionCounters): void {
		if (this.#ended) return
		this.#ended = true
		this.#ending.abort(new SluiceError('webrtc_failed', reason))
		this.#detach()
		this.#log.info(
			{
				reason: asSluiceError(this.#ending.signal.reason).detail,
				seconds: Math.round((performance.now() - this.#openedMs) / 1000),
				...counters
			},
			'viewer gone'
		)
		this.#resolveClosed()
	}
}
