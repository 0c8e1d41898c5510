import type {WebSocket} from 'ws'
import {asSluiceError, errorBody, type SluiceError} from '../base/errors.js'
import {logFailure, type Logger} from '../base/log.js'
import type {Socket} from 'node:net'
import {Adaptive} from './adaptive.js'
import {codecString} from '../media/codec-string.js'
import {Credit} from './credit.js'
import type {ViewerMeter} from './metrics.js'
import type {Frame, Subscriber} from '../streams/frame.js'
import {RateLimit} from '../base/rate-limit.js'
import type {Stream} from '../streams/stream.js'
import type {StreamRequest} from '../streams/stream-request.js'
import type {Streams} from '../streams/streams.js'
import {Viewer} from './frame-queue.js'
import type {Caps} from '../media/caps.js'
import {adapt} from './adapt-to-link.js'

/** Options of the `ws` server: nothing is expected from viewers, so little is taken. */
export const webSocketOptions = {maxPayload: 64 * 1024, perMessageDeflate: false, autoPong: false}

/** A viewer that vanished is noticed within `pingIntervalMs + silenceTimeoutMs` = 18 s. */
const pingIntervalMs = 4000
const silenceTimeoutMs = 14_000
/** A viewer that answers pings and reads no picture for so long only keeps a pipeline busy. */
const stallTimeoutMs = 30_000
/** What a viewer sends is ignored; one that sends more messages than this in a second is cut off. */
const maxMessagesPerSecond = 200
/** How long a viewer may take to answer the closing handshake. */
const closeTimeoutMs = 1000

export interface WebSocketOutputOptions {
	/** The connection under the WebSocket. */
	tcp: Socket
	/** Read from the query; its failure is told to the viewer, as every later one. */
	request: Promise<StreamRequest>
	/** The viewer's `rtsp_url` or `camera`, for the contract's error text. */
	sentUrl: string
	streams: Streams
	meter: ViewerMeter
	log: Logger
}

/** One viewer on a WebSocket, from the handshake to its end. */
export class WebSocketOutput {
	/** Resolves when the socket is closed and the viewer detached from its stream. */
	readonly closed: Promise<void>
	#socket: WebSocket
	#options: WebSocketOutputOptions
	#log: Logger
	#stream: Stream | undefined
	#subscriber: Subscriber
	#credit: Credit
	#viewer: Viewer | undefined
	#adaptive: Adaptive | undefined
	#heartbeat: NodeJS.Timeout | undefined
	#gone = false
	#lastHeardMs = performance.now()
	#openedMs = performance.now()
	/** The caps that the viewer of coded video was told last. */
	#told: Caps | undefined

	constructor(socket: WebSocket, options: WebSocketOutputOptions) {
		const {request, sentUrl, log} = options
		this.#socket = socket
		this.#options = options
		this.#log = log
		this.#credit = new Credit(payload => {
			socket.ping(payload, undefined, () => undefined)
		})
		let playing = false
		this.#subscriber = {
			onFrame: frame => {
				playing = true
				this.#offer(frame)
			},
			onFailure: error => {
				this.#fail(error, playing ? undefined : sentUrl)
			}
		}
		this.closed = new Promise(resolve => {
			const onClose = (code: number) => {
				this.#onClose(code)
				resolve()
			}
			// What came along with the handshake may have ended the connection already.
			if (socket.readyState === socket.CLOSED)
				queueMicrotask(() => {
					onClose(1006)
				})
			else socket.once('close', onClose)
		})
		this.#watch()
		this.#credit.start()
		request.then(
			value => {
				this.#start(value)
			},
			(error: unknown) => {
				this.#fail(asSluiceError(error), sentUrl)
			}
		)
	}

	/** Says good-bye to the viewer: 1001, the server goes away. */
	async close(): Promise<void> {
		this.#closeSocket(1001, 'the server is shutting down')
		await this.closed
	}

	#start(request: StreamRequest): void {
		if (this.#gone) return
		this.#log = this.#log.child({camera: request.source.label})
		this.#viewer = new Viewer({
			send: (frame, done) => {
				this.#send(frame, done, request.images)
			},
			images: request.images,
			credit: this.#credit,
			meter: this.#options.meter
		})
		if (request.adaptive.length > 0) {
			this.#adaptive = new Adaptive(request.adaptive)
			this.#options.meter.adapts(this.#adaptive)
		}
		try {
			this.#stream = this.#options.streams.attach(request, this.#subscriber, this.#log)
		} catch (error) {
			this.#fail(asSluiceError(error), this.#options.sentUrl)
		}
	}

	#offer(frame: Frame): void {
		if (!this.#viewer) return
		this.#viewer.offer(frame)
		if (this.#adaptive)
			adapt(this.#adaptive, this.#viewer, this.#stream, this.#options.meter, this.#log)
	}

	#send(frame: Frame, done: (error?: Error | null) => void, images: boolean): void {
		const {tcp} = this.#options
		// The frame and the ping behind it leave in one write.
		tcp.cork()
		process.nextTick(() => {
			tcp.uncork()
		})
		if (!images && frame.caps !== this.#told) {
			this.#told = frame.caps
			// MP4 names its codec itself.
			const codec = frame.init ? undefined : codecString(frame.data)
			this.#socket.send(
				JSON.stringify({caps: {...frame.caps, ...(codec !== undefined && {codec})}}),
				() => undefined
			)
			if (frame.init) this.#socket.send(frame.init, {binary: true}, () => undefined)
		}
		this.#socket.send(frame.data, {binary: true}, done)
	}

	#fail(error: SluiceError, unopenedUrl?: string): void {
		if (this.#gone) return
		logFailure(this.#log, error)
		this.#options.meter.failed(error.code)
		// A viewer that cannot take this message does not take the closing handshake either, which has its own timeout.
		this.#socket.send(JSON.stringify(errorBody(error, unopenedUrl)), () => undefined)
		this.#closeSocket(error.closeCode, error.code)
	}

	#closeSocket(code: number, reason: string): void {
		this.#leave()
		this.#socket.close(code, reason)
		const timer = setTimeout(() => {
			this.#socket.terminate()
		}, closeTimeoutMs)
		this.#socket.once('close', () => {
			clearTimeout(timer)
		})
	}

	/** No frame and no failure concerns this viewer any more. */
	#leave(): void {
		this.#gone = true
		this.#viewer?.close()
		this.#stream?.detach(this.#subscriber)
	}

	#onClose(code: number): void {
		this.#leave()
		clearInterval(this.#heartbeat)
		const {sent = 0, dropped = 0} = this.#viewer ?? {}
		this.#log.info(
			{
				closeCode: code,
				seconds: Math.round((performance.now() - this.#openedMs) / 1000),
				sent,
				dropped
			},
			'viewer gone'
		)
	}

	/** Heartbeat, and bounds on what the viewer sends. */
	#watch(): void {
		const socket = this.#socket
		const budget = new RateLimit(maxMessagesPerSecond)
		const heard = () => {
			this.#lastHeardMs = performance.now()
		}
		const unasked = () => {
			heard()
			if (this.#gone || budget.take()) return
			this.#log.warn({perSecond: maxMessagesPerSecond}, 'viewer sends too much')
			// What was received already is still read to its end.
			this.#leave()
			socket.terminate()
		}
		socket.on('message', unasked)
		socket.on('pong', payload => {
			if (this.#credit.onPong(payload)) {
				heard()
				this.#viewer?.drain()
			} else unasked()
		})
		socket.on('ping', data => {
			unasked()
			// Answers pile up in memory where a viewer pings and never reads.
			if (!this.#gone && socket.bufferedAmount < webSocketOptions.maxPayload)
				socket.pong(data, undefined, () => undefined)
		})
		socket.on('error', error => {
			this.#log.info({reason: error.message}, 'viewer failed')
		})
		this.#heartbeat = setInterval(() => {
			const {blind} = this.#credit
			// Of a viewer that never answered a ping only the socket tells whether it is there.
			if (!blind && performance.now() - this.#lastHeardMs > silenceTimeoutMs) {
				this.#log.info('viewer vanished')
				socket.terminate()
			} else if ((this.#viewer?.stalledMs ?? 0) > (blind ? silenceTimeoutMs : stallTimeoutMs)) {
				this.#log.info('viewer reads nothing')
				socket.terminate()
			} else socket.ping(undefined, undefined, () => undefined)
		}, pingIntervalMs)
	}
}
