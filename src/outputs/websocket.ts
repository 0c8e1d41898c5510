import type {WebSocket} from 'ws'
import {asSluiceError, errorBody, type SluiceError} from '../errors.js'
import type {Logger} from '../log.js'
import type {CodecMemory} from '../codec-memory.js'
import {RateLimit} from '../rate-limit.js'
import {Stream} from '../stream.js'
import type {StreamRequest} from '../stream-request.js'
import {Viewer} from '../viewer.js'
import type {WorkerPool} from '../worker-pool.js'

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
	pool: WorkerPool
	codecs: CodecMemory
	onVariantFailed: (template: string, detail: string) => void
	openTimeoutMs: number
	frameTimeoutMs: number
	log: Logger
}

/** One viewer on a WebSocket, with a stream of its own, from the handshake to the end of both. */
export class WebSocketOutput {
	/** Resolves when the socket is closed and the stream's processes have ended. */
	readonly closed: Promise<void>
	#socket: WebSocket
	#options: WebSocketOutputOptions
	#log: Logger
	#stream: Stream | undefined
	#viewer: Viewer
	#gone = false
	#lastHeardMs = performance.now()
	#openedMs = performance.now()

	/**
	 * @param request read from the query; its failure is told to the viewer, as every later one
	 * @param sentUrl the viewer's `rtsp_url`, for the contract's error text
	 */
	constructor(socket: WebSocket, request: Promise<StreamRequest>, sentUrl: string, options: WebSocketOutputOptions) {
		this.#socket = socket
		this.#options = options
		this.#log = options.log
		this.#viewer = new Viewer((frame, done) => { socket.send(frame.data, {binary: true}, done) })
		this.closed = new Promise(resolve => {
			const onClose = (code: number) => {
				this.#onClose(code)
				void Promise.resolve(this.#stream?.close()).then(resolve)
			}
			// What came along with the handshake may have ended the connection already.
			if (socket.readyState === socket.CLOSED) queueMicrotask(() => { onClose(1006) })
			else socket.once('close', onClose)
		})
		this.#watch()
		request.then(value => { this.#start(value, sentUrl) }, (error: unknown) => { this.#fail(asSluiceError(error), sentUrl) })
	}

	/** Says good-bye to the viewer: 1001, the server goes away. */
	async close(): Promise<void> {
		this.#closeSocket(1001, 'the server is shutting down')
		await this.closed
	}

	#start(request: StreamRequest, sentUrl: string): void {
		if (this.#gone) return
		let playing = false
		this.#log = this.#log.child({camera: request.source.label})
		try {
			this.#stream = new Stream({
				...this.#options,
				request,
				log: this.#log,
				onFrame: frame => {
					playing = true
					this.#viewer.offer(frame)
				},
				onFailure: error => { this.#fail(error, playing ? undefined : sentUrl) }
			})
		} catch (error) {
			this.#fail(asSluiceError(error), sentUrl)
		}
	}

	#fail(error: SluiceError, unopenedUrl?: string): void {
		if (this.#gone) return
		const level = error.code === 'internal_error' ? 'error' : 'warn'
		this.#log[level]({code: error.code, detail: error.detail, ...(error.cause !== undefined && {err: error.cause})}, 'failed')
		// A viewer that cannot take this message does not take the closing handshake either, which has its own timeout.
		this.#socket.send(JSON.stringify(errorBody(error, unopenedUrl)), () => undefined)
		this.#closeSocket(error.closeCode, error.code)
	}

	#closeSocket(code: number, reason: string): void {
		this.#gone = true
		this.#viewer.close()
		this.#socket.close(code, reason)
		const timer = setTimeout(() => { this.#socket.terminate() }, closeTimeoutMs)
		this.#socket.once('close', () => { clearTimeout(timer) })
	}

	#onClose(code: number): void {
		this.#gone = true
		this.#viewer.close()
		const {sent, dropped} = this.#viewer
		this.#log.info({closeCode: code, seconds: Math.round((performance.now() - this.#openedMs) / 1000), sent, dropped}, 'viewer gone')
	}

	/** Heartbeat, and bounds on what the viewer sends. */
	#watch(): void {
		const socket = this.#socket
		const budget = new RateLimit(maxMessagesPerSecond)
		const heard = () => {
			this.#lastHeardMs = performance.now()
			if (this.#gone || budget.take()) return
			this.#log.warn({perSecond: maxMessagesPerSecond}, 'viewer sends too much')
			// What was received already is still read to its end.
			this.#gone = true
			this.#viewer.close()
			socket.terminate()
		}
		socket.on('message', heard)
		socket.on('pong', heard)
		socket.on('ping', data => {
			heard()
			// Answers pile up in memory where a viewer pings and never reads.
			if (!this.#gone && socket.bufferedAmount < webSocketOptions.maxPayload) socket.pong(data, undefined, () => undefined)
		})
		socket.on('error', error => { this.#log.info({reason: error.message}, 'viewer failed') })
		const timer = setInterval(() => {
			if (performance.now() - this.#lastHeardMs > silenceTimeoutMs) {
				this.#log.info('viewer vanished')
				socket.terminate()
			} else if (this.#viewer.stalledMs > stallTimeoutMs) {
				this.#log.info('viewer reads nothing')
				socket.terminate()
			} else socket.ping(undefined, undefined, () => undefined)
		}, pingIntervalMs)
		socket.once('close', () => { clearInterval(timer) })
	}
}
