import type {FrameCounts} from '../streams/frame.js'
import {randomInt} from 'node:crypto'
import {SluiceError, wordsOf} from '../base/errors.js'
import type {Logger} from '../base/log.js'
import {engineOffer, type EngineAnswer, readEngineAnswer} from './sdp.js'
import type {Offer} from './sdp-offer.js'
import {
	type FromWebRtcWorker,
	readFromWebRtcWorker,
	type SessionCounters,
	type ToWebRtcWorker
} from './messages.js'
import {type OnWebRtcPipe, writeToPipe} from './frame-pipe.js'
import {WebRtcSource} from './stream-feed.js'
import {Worker} from '../workers/worker.js'

/** Bytes that may wait in the pipe to the worker: all that a stream keeps for a late viewer, and half as much again. */
const maxQueuedBytes = 24 * 1024 * 1024
/** An answer takes some 10 ms. A worker that gives none in this time hangs. */
const answerTimeoutMs = 5000
/** A name of an address may have to be looked up. */
const listenTimeoutMs = 10_000
/** The pause before a worker is started again that has crashed, but for its first crash; each further one doubles it. */
const firstPauseMs = 500
const longestPauseMs = 30_000
/** A worker that lived for so long counts as sound. */
const soundAfterMs = 60_000

export interface WebRtcOptions {
	/** The worker's program. */
	path: string | URL
	/** Where to listen for UDP: an address or a name; every address where it is 0.0.0.0 or ::. */
	host: string
	/** 0 takes a free one. */
	port: number
	/** Told about once a second what was sent to viewers meanwhile, and at once what cannot be. */
	onCounted: (counts: FrameCounts) => void
	log: Logger
}

/** What a session hears of its peer connection. */
export interface PeerListener {
	/** Media flow. */
	onConnected: () => void
	/** Called once; the peer connection is gone by then. */
	onClosed: (reason: string, counters: SessionCounters) => void
}

/** A viewer's peer connection in the worker. */
export interface Peer {
	answer: EngineAnswer
	/** The UDP port of the server. */
	port: number
	ssrc: number
	/** Ends it; its listener hears of that. */
	close: () => void
}

/** Keeps a WebRTC worker running from the first viewer on, and starts another when it has crashed. */
export class WebRtc {
	#options: WebRtcOptions
	#engine: WebRtcEngine | undefined
	/** Why there is none on this host. */
	#unavailable: string | undefined
	/** Why the last one ended. */
	#lastFailure = ''
	#crashes = 0
	#restart: NodeJS.Timeout | undefined
	#closed = false

	constructor(options: WebRtcOptions) {
		this.#options = options
	}

	/**
	 * The engine, started if there is none.
	 * @throws SluiceError `webrtc_unavailable`, `webrtc_failed`, `shutting_down`
	 */
	engine(): WebRtcEngine {
		if (this.#closed) throw new SluiceError('shutting_down', 'the server is shutting down')
		if (this.#unavailable !== undefined)
			throw new SluiceError(
				'webrtc_unavailable',
				`node-datachannel cannot be loaded: ${this.#unavailable}`
			)
		if (this.#restart)
			throw new SluiceError(
				'webrtc_failed',
				`the WebRTC worker is started again in a moment: ${this.#lastFailure}`
			)
		return this.#engine ?? this.#start()
	}

	async close(): Promise<void> {
		this.#closed = true
		clearTimeout(this.#restart)
		await this.#engine?.close()
	}

	#start(): WebRtcEngine {
		const {log} = this.#options
		const startedMs = performance.now()
		const engine = new WebRtcEngine(this.#options)
		this.#engine = engine
		void engine.ended.then(({expected, reason, unavailable}) => {
			this.#engine = undefined
			if (this.#closed || expected) return
			if (unavailable) {
				this.#unavailable = reason
				log.error({reason}, 'no WebRTC on this host')
				return
			}
			this.#lastFailure = reason
			this.#crashes = performance.now() - startedMs > soundAfterMs ? 1 : this.#crashes + 1
			const pauseMs =
				this.#crashes === 1 ? 0 : Math.min(longestPauseMs, firstPauseMs * 2 ** (this.#crashes - 2))
			log.error({reason, pauseMs}, 'WebRTC worker failed')
			this.#restart = setTimeout(() => {
				this.#restart = undefined
				try {
					this.#start()
				} catch (error) {
					// The next viewer tries again.
					log.error({reason: String(error)}, 'WebRTC worker cannot be started')
				}
			}, pauseMs)
		})
		return engine
	}
}

/** A stream, as far as the engine is concerned. */
interface KeyFrameSource {
	requestKeyFrame: () => void
}

interface EngineEnd {
	expected: boolean
	reason: string
	/** Whether the library cannot be loaded at all. */
	unavailable: boolean
}

interface Opening {
	resolve: (answer: EngineAnswer) => void
	reject: (error: SluiceError) => void
}

/** One WebRTC worker, from start to exit, with what is in it. */
export class WebRtcEngine {
	/** Resolves when the worker has ended, whatever the reason. */
	readonly ended: Promise<EngineEnd>
	#worker: Worker<ToWebRtcWorker, FromWebRtcWorker>
	#listening: Promise<number>
	#peers = new Map<string, PeerListener>()
	#opening = new Map<string, Opening>()
	#sources = new Map<KeyFrameSource, WebRtcSource>()
	#nextSource = 0
	#queuedBytes = 0
	#failure: {reason: string; unavailable: boolean} | undefined
	#port: number
	#onCounted: (counts: FrameCounts) => void

	constructor({path, host, port, onCounted, log}: WebRtcOptions) {
		this.#port = port
		this.#onCounted = onCounted
		this.#worker = new Worker(path, log, readFromWebRtcWorker)
		const worker = this.#worker
		this.ended = worker.exited.then(({code, signal, expected, reason}) => {
			// A failure ends the worker by the same close() as a stop does.
			const asked = expected && !this.#failure
			this.#failure ??= {
				reason: reason ?? `the worker died: ${signal ?? `exit code ${code ?? 'none'}`}`,
				unavailable: false
			}
			for (const {reject} of this.#opening.values()) reject(this.#error())
			this.#opening.clear()
			for (const {onClosed} of this.#peers.values())
				onClosed(this.#failure.reason, {sent: 0, bytes: 0, dropped: 0, asked: 0, replays: 0})
			this.#peers.clear()
			return {expected: asked, ...this.#failure}
		})
		this.#listening = new Promise((resolve, reject) => {
			let timer: NodeJS.Timeout | undefined
			let listens = false
			worker.onMessage = message => {
				if (message.type !== 'listening') {
					this.#onMessage(message)
					return
				}
				if (listens) throw new Error('it listens twice')
				listens = true
				clearTimeout(timer)
				log.info({worker: worker.pid, port: message.port}, 'WebRTC listens')
				resolve(message.port)
			}
			worker.ready.then(
				() => {
					worker.send({type: 'listen', address: host, port})
					timer = setTimeout(() => {
						this.#fail('the worker did not listen in time')
					}, listenTimeoutMs)
				},
				(error: unknown) => {
					this.#fail(wordsOf(error))
				}
			)
			void this.ended.then(() => {
				clearTimeout(timer)
				reject(this.#error())
			})
		})
		// Whoever opens a session hears of it.
		this.#listening.catch(() => undefined)
	}

	/**
	 * The source of a stream, which all of its sessions share. Whoever takes it holds it, and releases it.
	 */
	source(stream: KeyFrameSource): WebRtcSource {
		const known = this.#sources.get(stream)
		if (known) return known
		const source: WebRtcSource = new WebRtcSource({
			id: this.#nextSource++,
			send: frame => this.#sendFrame(frame),
			requestKeyFrame: () => {
				stream.requestKeyFrame()
			},
			onDropped: dropped => {
				this.#onCounted({frames: 0, bytes: 0, dropped})
			},
			onUnused: () => {
				this.#sources.delete(stream)
				this.#write({type: 'forget', source: source.id})
			}
		})
		this.#sources.set(stream, source)
		return source
	}

	/**
	 * Opens a peer connection that gets the frames of a source.
	 * @param signal ends the wait for the worker's start, with its reason
	 * @throws SluiceError `webrtc_failed`, `webrtc_unavailable`, and `bad_request` where the library refuses the offer
	 */
	async open(
		session: string,
		offer: Offer,
		source: WebRtcSource,
		listener: PeerListener,
		signal: AbortSignal
	): Promise<Peer> {
		const port = await this.#listening
		signal.throwIfAborted()
		const {mid, payloadType, fmtp, playoutDelayId} = offer
		const ssrc = randomInt(1, 2 ** 32)
		const answer = await new Promise<EngineAnswer>((resolve, reject) => {
			const timer = setTimeout(() => {
				this.#fail('the worker did not answer')
				this.#worker.kill()
			}, answerTimeoutMs)
			const settle = (act: () => void) => {
				clearTimeout(timer)
				this.#opening.delete(session)
				act()
			}
			this.#peers.set(session, listener)
			this.#opening.set(session, {
				resolve: given => {
					settle(() => {
						resolve(given)
					})
				},
				reject: error => {
					settle(() => {
						this.#peers.delete(session)
						reject(error)
					})
				}
			})
			const sent = this.#worker.send({
				type: 'open',
				session,
				source: source.id,
				offer: engineOffer(offer),
				mid,
				payloadType,
				fmtp,
				ssrc,
				...(playoutDelayId !== undefined && {playoutDelayId})
			})
			if (!sent) this.#opening.get(session)?.reject(this.#error())
		})
		return {
			answer,
			port,
			ssrc,
			close: () => {
				this.#worker.send({type: 'close', session})
			}
		}
	}

	async close(): Promise<void> {
		await this.#worker.close()
	}

	#onMessage(message: FromWebRtcWorker): void {
		switch (message.type) {
			case 'unavailable':
				this.#fail(message.message, true)
				break
			case 'not-listening':
				this.#fail(`UDP port ${this.#port} cannot be had: ${message.message}`)
				break
			case 'answer':
				this.#opening.get(message.session)?.resolve(answerOf(message.sdp))
				break
			case 'connected':
				this.#peers.get(message.session)?.onConnected()
				break
			case 'closed':
				this.#onClosed(message)
				break
			case 'counted':
				this.#onCounted(message)
				break
			case 'key-frame-wanted':
				;[...this.#sources.values()].find(({id}) => id === message.source)?.requestKeyFrame()
				break
			case 'ready':
			case 'listening':
				break
			default:
				message satisfies never
		}
	}

	#onClosed({
		session,
		refused,
		reason,
		counters
	}: Extract<FromWebRtcWorker, {type: 'closed'}>): void {
		this.#opening
			.get(session)
			?.reject(
				refused
					? new SluiceError('bad_request', `the offer was refused: ${reason}`)
					: new SluiceError('webrtc_failed', reason)
			)
		const listener = this.#peers.get(session)
		this.#peers.delete(session)
		listener?.onClosed(reason, counters)
	}

	#sendFrame(frame: Extract<OnWebRtcPipe, {type: 'frame'}>): boolean {
		const bytes = frame.data.byteLength
		if (this.#queuedBytes + bytes > maxQueuedBytes) return false
		this.#queuedBytes += bytes
		return this.#write(frame, () => {
			this.#queuedBytes -= bytes
		})
	}

	/**
	 * @param done called when the pipe has taken it, or cannot
	 * @returns false where the worker is gone already
	 */
	#write(message: OnWebRtcPipe, done: () => void = () => undefined): boolean {
		const {framePipe} = this.#worker
		if (!framePipe) return false
		writeToPipe(framePipe, message, done)
		return true
	}

	/** The first reason wins. */
	#fail(reason: string, unavailable = false): void {
		this.#failure ??= {reason, unavailable}
		void this.#worker.close()
	}

	#error(): SluiceError {
		const {reason, unavailable} = this.#failure ?? {
			reason: 'the WebRTC worker has ended',
			unavailable: false
		}
		return new SluiceError(unavailable ? 'webrtc_unavailable' : 'webrtc_failed', reason)
	}
}

/** @throws Error which does not blame the viewer, as one of its own SDP would */
function answerOf(sdp: string): EngineAnswer {
	try {
		return readEngineAnswer(sdp)
	} catch (error) {
		throw new Error(`the answer is not one: ${wordsOf(error)}`, {cause: error})
	}
}
