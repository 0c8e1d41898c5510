import type {ServerResponse} from 'node:http'
import {Adaptive} from './adaptive.js'
import {asSluiceError, SluiceError} from '../base/errors.js'
import {logFailure, type Logger} from '../base/log.js'
import type {ViewerMeter} from './metrics.js'
import type {Frame, Subscriber} from '../streams/frame.js'
import type {Stream} from '../streams/stream.js'
import type {StreamRequest} from '../streams/stream-request.js'
import type {Streams} from '../streams/streams.js'
import {Viewer} from './frame-queue.js'
import {adapt} from './adapt-to-link.js'
import {frameHeaders, imageType} from './frame-headers.js'

const boundary = 'sluice-frame'
const delimiter = `--${boundary}\r\n`
/** A viewer that takes no picture for so long only keeps a pipeline busy. */
const stallTimeoutMs = 20_000
/** How long a viewer may take to read what is left when the stream ends. */
const endTimeoutMs = 1000

export interface MjpegOutputOptions {
	request: StreamRequest
	/** Answers HEAD: the headers of the first picture, and the end. */
	headOnly: boolean
	streams: Streams
	meter: ViewerMeter
	log: Logger
}

/**
 * One viewer of `multipart/x-mixed-replace` over HTTP. It is paced by its socket: when that has taken a picture, the newest
 * follows.
 */
export class MjpegOutput {
	/** Resolves when the headers are written, or the viewer is gone; rejects with a SluiceError where no picture came. */
	readonly opened: Promise<void>
	/** Resolves when the response has ended and the viewer is detached from its stream. */
	readonly closed: Promise<void>
	#response: ServerResponse
	#options: MjpegOutputOptions
	#viewer: Viewer
	#adaptive: Adaptive | undefined
	#stream: Stream | undefined
	#subscriber: Subscriber
	#resolveOpened: () => void = () => undefined
	#rejectOpened: (error: SluiceError) => void = () => undefined
	#openedMs = performance.now()
	#watch: NodeJS.Timeout
	#gone = false

	constructor(response: ServerResponse, options: MjpegOutputOptions) {
		const {request, streams, headOnly, meter, log} = options
		this.#response = response
		this.#options = options
		this.opened = new Promise((resolve, reject) => {
			this.#resolveOpened = resolve
			this.#rejectOpened = reject
		})
		this.#viewer = new Viewer({
			send: (frame, done) => {
				this.#send(frame, done)
			},
			images: true,
			meter
		})
		if (request.adaptive.length > 0) {
			this.#adaptive = new Adaptive(request.adaptive)
			meter.adapts(this.#adaptive)
		}
		this.#subscriber = {
			onFrame: frame => {
				if (!response.headersSent) this.#begin(frame)
				if (headOnly) this.#end()
				else this.#offer(frame)
			},
			onFailure: error => {
				this.#fail(error)
			}
		}
		this.closed = new Promise(resolve => {
			response.once('close', () => {
				this.#onClose()
				resolve()
			})
		})
		this.#watch = setInterval(() => {
			if (this.#viewer.stalledMs > stallTimeoutMs) response.destroy()
		}, 1000)
		// A write to a connection that was reset; its close follows.
		response.on('error', error => {
			log.debug({reason: error.message}, 'viewer failed')
		})
		try {
			this.#stream = streams.attach(request, this.#subscriber, log)
			// A picture that was kept came at once, and was all that HEAD asks for.
			if (this.#gone) this.#stream.detach(this.#subscriber)
		} catch (error) {
			this.#fail(asSluiceError(error))
		}
	}

	/** Ends the response: the server goes away. */
	async close(): Promise<void> {
		this.#fail(new SluiceError('shutting_down', 'the server is shutting down'))
		await this.closed
	}

	#begin(frame: Frame): void {
		// It ends with its connection, as it does at every camera that speaks this: plain parts, in no chunks, for plain clients.
		this.#response.useChunkedEncodingByDefault = false
		this.#response.writeHead(200, {
			'Content-Type': `multipart/x-mixed-replace;boundary=${boundary}`,
			'Cache-Control': 'no-store',
			...frameHeaders(frame)
		})
		if (!this.#options.headOnly) this.#response.write(delimiter)
		this.#resolveOpened()
	}

	#offer(frame: Frame): void {
		this.#viewer.offer(frame)
		if (this.#adaptive)
			adapt(this.#adaptive, this.#viewer, this.#stream, this.#options.meter, this.#options.log)
	}

	#send(frame: Frame, done: (error?: Error | null) => void): void {
		const headers = {
			'Content-Type': imageType(frame),
			'Content-Length': String(frame.data.byteLength),
			...frameHeaders(frame)
		}
		const lines = Object.entries(headers)
			.map(([name, value]) => `${name}: ${value}\r\n`)
			.join('')
		this.#response.cork()
		this.#response.write(`${lines}\r\n`)
		this.#response.write(frame.data)
		// The delimiter goes at once with the picture before it: browsers show a picture only when they have seen it.
		this.#response.write(`\r\n${delimiter}`, done)
		this.#response.uncork()
	}

	#fail(error: SluiceError): void {
		if (this.#gone) return
		logFailure(this.#options.log, error)
		// What comes before the first picture is counted where it is answered.
		if (this.#response.headersSent) {
			this.#options.meter.failed(error.code)
			this.#end()
		} else {
			this.#leave()
			this.#endInTime()
			this.#rejectOpened(error)
		}
	}

	#end(): void {
		this.#leave()
		this.#response.end()
		this.#endInTime()
	}

	/** Whoever does not read what is left holds up nothing. */
	#endInTime(): void {
		const timer = setTimeout(() => {
			this.#response.destroy()
		}, endTimeoutMs)
		this.#response.once('close', () => {
			clearTimeout(timer)
		})
	}

	#leave(): void {
		this.#gone = true
		clearInterval(this.#watch)
		this.#viewer.close()
		this.#stream?.detach(this.#subscriber)
	}

	#onClose(): void {
		this.#leave()
		this.#resolveOpened()
		const {sent, dropped} = this.#viewer
		this.#options.log.info(
			{seconds: Math.round((performance.now() - this.#openedMs) / 1000), sent, dropped},
			'viewer gone'
		)
	}
}
