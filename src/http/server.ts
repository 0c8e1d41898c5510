import http from 'node:http'
import type {AddressInfo, Socket} from 'node:net'
import path from 'node:path'
import {fileURLToPath} from 'node:url'
import {send} from '@koa/send'
import Koa, {type Context, type Middleware} from 'koa'
import websocket from 'koa-easy-ws'
import Router from 'koa-router'
import type {WebSocket} from 'ws'
import {CameraMemory} from '../cameras/camera-memory.js'
import type {Config} from '../config/config.js'
import {asSluiceError, errorBody, SluiceError} from '../base/errors.js'
import {logFailure, type Logger, viewerName} from '../base/log.js'
import {Metrics, type ViewerMeter} from '../viewers/metrics.js'
import {frameHeaders, imageType} from '../viewers/frame-headers.js'
import {MjpegOutput} from '../viewers/mjpeg-viewer.js'
import {takeSnapshot} from '../viewers/snapshot.js'
import {WebSocketOutput, webSocketOptions} from '../viewers/websocket-viewer.js'
import {waitForConnection} from './connection.js'
import {Whep, whepPath} from './whep-routes.js'
import {
	cameraAsSent,
	type Query,
	readNumber,
	readStreamRequest,
	type StreamRequest
} from '../streams/stream-request.js'
import type {PlaybackContext} from '../streams/playback.js'
import {Streams} from '../streams/streams.js'
import {type TemplateDescription, TemplateLibrary} from '../templates/library.js'
import {WebRtc} from '../webrtc/engine.js'
import {WorkerPool} from '../pipeline/worker-pool.js'
import {readFromWorker} from '../pipeline/messages.js'
import {Worker} from '../workers/worker.js'

const playerDir = fileURLToPath(new URL('../../player', import.meta.url))
const workerPath = new URL('../pipeline/worker-main.js', import.meta.url)
const webrtcWorkerPath = new URL('../webrtc/worker-main.js', import.meta.url)
const retryAfterSeconds = 5
/** How long a client may take to read an answer in the place of a WebSocket. */
const answerTimeoutMs = 5000
/** The longest wait for a snapshot that a viewer may ask for. */
const maxSnapshotTimeoutMs = 60_000
const maxSnapshotAgeMs = 3_600_000
/** How long a viewer may take to read a snapshot. */
const snapshotReadTimeoutMs = 60_000

const securityHeaders = {
	'Content-Security-Policy':
		"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'self'",
	'X-Content-Type-Options': 'nosniff',
	'Referrer-Policy': 'no-referrer'
}

/** A viewer's connection, whatever its transport. */
interface Output {
	readonly closed: Promise<void>
	close: () => Promise<void>
}

/** The HTTP and WebSocket server with its viewers and workers. */
export class Server {
	#config: Config
	#log: Logger
	#pool: WorkerPool
	#templates: TemplateLibrary
	#streams: Streams
	#metrics: Metrics
	/** Why no viewer's quality can follow its link. */
	#whyNotAdaptive: string | undefined
	#webrtc: WebRtc
	#whep: Whep
	#http: http.Server
	#outputs = new Set<Output>()
	/** How many viewers have a place, over WebSocket and HTTP. */
	#viewers = 0
	/** What waits for a snapshot, to be ended. */
	#snapshots = new Set<AbortController>()
	/** Connections that Node's HTTP server has handed over, and so neither limits nor closes. */
	#upgraded = new Set<Socket>()
	#closing: Promise<void> | undefined

	/**
	 * @param worker the pipeline workers' program; another one is for tests of supervision
	 * @param webrtcWorker that of the WebRTC worker
	 */
	constructor(
		config: Config,
		log: Logger,
		worker: string | URL = workerPath,
		webrtcWorker: string | URL = webrtcWorkerPath
	) {
		this.#config = config
		this.#log = log
		this.#pool = new WorkerPool({path: worker, maxPipelines: config.maxPipelines, log})
		// What a check's worker writes is in the check's answer too.
		this.#templates = new TemplateLibrary(
			config.pipelinesDir,
			() => new Worker(worker, log.child({}, {level: 'silent'}), readFromWorker),
			log
		)
		const {openTimeoutMs, frameTimeoutMs, share, lingerMs, retryForMs} = config
		const onVariantFailed: PlaybackContext['onVariantFailed'] = (template, source, detail) => {
			this.#templates.markFailed(template, source, detail)
		}
		this.#streams = new Streams({
			context: {
				pool: this.#pool,
				codecs: new CameraMemory(),
				ranges: new CameraMemory(Infinity),
				onVariantFailed,
				openTimeoutMs,
				frameTimeoutMs
			},
			share,
			lingerMs,
			retryForMs,
			onRetry: () => {
				this.#metrics.retried()
			},
			log
		})
		this.#metrics = new Metrics({
			streamStates: () => [...this.#streams.all].map(({state}) => state),
			workers: () => ({running: this.#pool.running, spare: this.#pool.spare})
		})
		if (share)
			this.#whyNotAdaptive =
				"viewers share pipelines on this server (--share), and one's slow link must not spoil the others' picture"
		this.#webrtc = new WebRtc({
			path: webrtcWorker,
			host: config.host,
			port: config.webrtcPort,
			onCounted: counts => {
				this.#metrics.counted('whep', counts)
			},
			log
		})
		const {
			webrtcHosts: hosts,
			webrtcTranscode: transcode,
			maxWebrtcViewers: maxViewers,
			iceServers
		} = config
		const readRequest = async (query: Query) =>
			readStreamRequest(query, this.#templates, config, 'it is for WebSockets and MJPEG over HTTP')
		this.#whep = new Whep({
			readRequest,
			metrics: this.#metrics,
			streams: this.#streams,
			webrtc: this.#webrtc,
			maxViewers,
			transcode,
			hosts,
			iceServers,
			openTimeoutMs,
			log
		})
		const answer = this.#app().callback()
		this.#http = http.createServer((request, response) => void answer(request, response))
		this.#http.on('upgrade', (request: http.IncomingMessage, socket: Socket, head: Buffer) => {
			this.#onUpgrade(request, socket, head)
		})
	}

	/**
	 * Starts the spare worker, then listens.
	 * @returns the port
	 * @throws Error where GStreamer cannot be loaded, or the port cannot be had
	 */
	async listen(): Promise<number> {
		await this.#pool.start()
		await this.#templates.watch()
		// A signal may have come meanwhile.
		if (this.#closing) throw new SluiceError('shutting_down', 'the server is shutting down')
		const {host, port} = this.#config
		await new Promise<void>((resolve, reject) => {
			this.#http.once('error', reject)
			this.#http.listen(port, host, () => {
				this.#http.off('error', reject)
				// A connection that could not be accepted, for want of descriptors say, is no reason to end.
				this.#http.on('error', error => {
					this.#log.error({err: error}, 'the HTTP server failed')
				})
				resolve()
			})
		})
		return (this.#http.address() as AddressInfo).port
	}

	/** Stops accepting, then ends viewers (1001), then workers. */
	async close(): Promise<void> {
		return (this.#closing ??= this.#close())
	}

	async #close(): Promise<void> {
		const ended = new Promise<void>(resolve => {
			this.#http.close(() => {
				resolve()
			})
		})
		for (const snapshot of this.#snapshots)
			snapshot.abort(new SluiceError('shutting_down', 'the server is shutting down'))
		await Promise.all([this.#whep, ...this.#outputs].map(async output => output.close()))
		await this.#streams.close()
		await Promise.all([this.#pool.close(), this.#templates.close(), this.#webrtc.close()])
		this.#http.closeAllConnections()
		for (const socket of this.#upgraded) socket.destroy()
		await ended
	}

	/**
	 * Hands a WebSocket handshake to Koa as the request that it is. Without a listener of ours Node would leave its HTTP
	 * parser on the socket, and koa-easy-ws would lose what the viewer sent along with the handshake.
	 */
	#onUpgrade(request: http.IncomingMessage, socket: Socket, head: Buffer): void {
		const response = new http.ServerResponse(request)
		response.shouldKeepAlive = false
		try {
			response.assignSocket(socket)
		} catch {
			// The handshake was sent behind another request whose answer still owns the socket: no client does that in good faith.
			socket.destroy()
			return
		}
		this.#upgraded.add(socket)
		socket.once('close', () => {
			this.#upgraded.delete(socket)
		})
		socket.on('error', error => {
			this.#log.debug({reason: error.message}, 'socket failed')
		})
		if (head.length > 0) socket.unshift(head)
		// An answer that is no WebSocket ends the connection. Node's own time limits do not hold for it any more.
		response.once('finish', () => {
			socket.destroySoon()
			const timer = setTimeout(() => {
				socket.destroy()
			}, answerTimeoutMs)
			socket.once('close', () => {
				clearTimeout(timer)
			})
		})
		this.#http.emit('request', request, response)
	}

	#app(): Koa {
		const app = new Koa()
		app.silent = true
		const router = new Router()
		const methodNotAllowed = () => new SluiceError('method_not_allowed', 'see the API in README.md')
		router.get('/', context => {
			context.body = {status: 'ok', message: 'Video Streaming Server is running.'}
		})
		router.get('/ws/stream', async context => this.#stream(context))
		router.get('/stream.mjpeg', async context => this.#mjpeg(context))
		router.get('/snapshot.jpg', async context => this.#snapshot(context))
		router.get('/cameras', context => {
			this.#describeCameras(context)
		})
		router.all(whepPath, async context => this.#whep.answer(context, undefined))
		router.all(`${whepPath}/:session`, async context =>
			this.#whep.answer(context, (context.params as {session?: string}).session ?? '')
		)
		router.get('/pipelines', async context => {
			context.body = {pipelines: await this.#describeTemplates()}
		})
		router.get('/metrics', async context => {
			context.set('Cache-Control', 'no-store')
			context.set('Content-Type', this.#metrics.contentType)
			context.body = await this.#metrics.text()
		})
		app.use(this.#answerErrors())
		const handshake = websocket('ws', {wsOptions: webSocketOptions})
		// What was sent along with the handshake may be broken, and is read before anybody else listens. The close tells.
		handshake.server.on('connection', socket => {
			socket.on('error', () => undefined)
		})
		app.use(handshake)
		app
			.use(router.routes())
			.use(router.allowedMethods({throw: true, methodNotAllowed, notImplemented: methodNotAllowed}))
		app.use(servePlayer)
		return app
	}

	/** The edge: whatever was thrown becomes the error table's status and JSON here; WHEP has its own. */
	#answerErrors(): Middleware {
		return async (context, next) => {
			context.set(securityHeaders)
			try {
				// Koa's own getters throw at an address that cannot be read, as http://[::1/.
				if (!URL.canParse(context.req.url ?? '/', 'http://localhost'))
					throw new SluiceError('bad_request', 'the address of the request cannot be read')
				await next()
				if (context.status === 404 && context.respond !== false && context.body === undefined)
					throw new SluiceError('not_found', `there is nothing at ${context.path.slice(0, 200)}`)
			} catch (thrown) {
				const error = asSluiceError(thrown)
				this.#metrics.failed(error.code)
				if (error.code === 'internal_error')
					this.#log.error({err: thrown, method: context.method}, 'request failed')
				context.status = error.status
				if (error.status === 503) context.set('Retry-After', String(retryAfterSeconds))
				if (error.code === 'upgrade_required') context.set('Upgrade', 'websocket')
				if (error.code === 'method_not_allowed') context.set('Allow', 'GET, HEAD')
				context.set('Cache-Control', 'no-store')
				context.body = errorBody(error, (context.state as {sentUrl?: string}).sentUrl)
			}
		}
	}

	async #stream(context: Context): Promise<void> {
		const upgrade = (context as {ws?: () => Promise<WebSocket>}).ws
		// Without "Connection: upgrade" Node's HTTP parser still reads from the socket.
		if (!upgrade || !this.#upgraded.has(context.req.socket))
			throw new SluiceError(
				'upgrade_required',
				'open it as a WebSocket: ws://host:port/ws/stream?rtsp_url=…'
			)
		if (this.#closing) throw new SluiceError('shutting_down', 'the server is shutting down')
		// The query is read while the handshake goes on; a failure is told over the WebSocket.
		const place = this.#takePlace()
		const request = place
			? readStreamRequest(context.query, this.#templates, this.#config, this.#whyNotAdaptive)
			: Promise.reject(this.#noPlace())
		request.catch(() => undefined)
		// Koa answers no more. After a handshake that ws refused, upgrade() stays pending: the socket's end settles it.
		context.respond = false
		const tcp = context.req.socket
		let socket: WebSocket | undefined
		try {
			socket = await Promise.race([
				upgrade(),
				new Promise<undefined>(resolve => {
					tcp.once('close', () => {
						resolve(undefined)
					})
				})
			])
		} finally {
			if (!socket) place?.()
		}
		if (!socket) return
		const meter = this.#metrics.viewer('websocket')
		const output = new WebSocketOutput(socket, {
			tcp,
			request,
			sentUrl: cameraAsSent(context.query),
			streams: this.#streams,
			meter,
			log: this.#viewerLog(context)
		})
		this.#track(output, meter)
		void output.closed.then(place)
	}

	async #mjpeg(context: Context): Promise<void> {
		const request = await this.#readImageRequest(context, context.query, this.#whyNotAdaptive)
		if (!request) return
		const place = this.#takePlace()
		if (!place) throw this.#noPlace()
		const log = this.#viewerLog(context).child({camera: request.source.label})
		const meter = this.#metrics.viewer('mjpeg')
		const output = new MjpegOutput(context.res, {
			request,
			headOnly: context.method === 'HEAD',
			streams: this.#streams,
			meter,
			log
		})
		this.#track(output, meter)
		void output.closed.then(place)
		await output.opened
		context.respond = false
	}

	async #snapshot(context: Context): Promise<void> {
		const {max_age_ms, timeout_ms, ...query} = context.query
		const maxAgeMs = readNumber('max_age_ms', max_age_ms, 0, maxSnapshotAgeMs) ?? 0
		const timeoutMs =
			readNumber('timeout_ms', timeout_ms, 1, maxSnapshotTimeoutMs) ?? this.#config.openTimeoutMs
		const request = await this.#readImageRequest(context, query, 'a snapshot is one image')
		if (!request) return
		const place = this.#takePlace()
		if (!place) throw this.#noPlace()
		const {res} = context
		const waiting = new AbortController()
		this.#snapshots.add(waiting)
		res.once('close', () => {
			waiting.abort(new SluiceError('internal_error', 'the viewer has gone'))
		})
		const log = this.#viewerLog(context).child({camera: request.source.label})
		try {
			const frame = await takeSnapshot({
				request,
				maxAgeMs,
				timeoutMs,
				signal: waiting.signal,
				streams: this.#streams,
				log
			})
			context.set({...frameHeaders(frame), 'Cache-Control': 'no-store'})
			context.type = imageType(frame)
			context.body = Buffer.from(frame.data.buffer, frame.data.byteOffset, frame.data.byteLength)
		} catch (thrown) {
			context.respond = !res.destroyed
			if (res.destroyed) return
			logFailure(log, asSluiceError(thrown))
			throw thrown
		} finally {
			this.#snapshots.delete(waiting)
			place()
		}
		const timer = setTimeout(() => {
			res.destroy()
		}, snapshotReadTimeoutMs)
		res.once('close', () => {
			clearTimeout(timer)
		})
	}

	/** @returns what gives the place back; undefined where there is none */
	#takePlace(): (() => void) | undefined {
		if (this.#viewers >= this.#config.maxViewers) return undefined
		this.#viewers++
		return () => {
			this.#viewers--
		}
	}

	#noPlace(): SluiceError {
		return new SluiceError(
			'over_capacity',
			`${this.#config.maxViewers} viewers watch already; --max-viewers allows no more`
		)
	}

	/**
	 * @returns undefined where the viewer has gone meanwhile: its response has told so to nobody, and never will
	 * @throws SluiceError `shutting_down`, and what a query can have wrong
	 */
	async #readImageRequest(
		context: Context,
		query: Query,
		whyNotAdaptive: string | undefined
	): Promise<StreamRequest | undefined> {
		const {
			req: {socket},
			res
		} = context
		;(context.state as {sentUrl?: string}).sentUrl = cameraAsSent(query)
		await waitForConnection(context)
		// Nobody reads from a connection that Node has handed over, so nobody would see its end.
		if (this.#upgraded.has(socket))
			socket
				.once('end', () => {
					socket.destroy()
				})
				.resume()
		const request = await readStreamRequest(query, this.#templates, this.#config, whyNotAdaptive)
		if (res.destroyed) {
			context.respond = false
			return undefined
		}
		if (this.#closing) throw new SluiceError('shutting_down', 'the server is shutting down')
		if (!request.images)
			throw new SluiceError(
				'bad_request',
				`the template ${request.plain.template} gives coded video, and this address gives images`
			)
		return request
	}

	/** Names, and whether a stream plays just now: nothing else of a camera is for viewers. */
	#describeCameras(context: Context): void {
		const live = new Set(
			[...this.#streams.all].flatMap(({state, source}) =>
				state === 'playing' ? (source.name ?? []) : []
			)
		)
		context.set('Cache-Control', 'no-store')
		context.body = {cameras: this.#config.cameras.map(({name}) => ({name, live: live.has(name)}))}
	}

	/** What is refused on this server is not offered. */
	async #describeTemplates(): Promise<TemplateDescription[]> {
		const templates = await this.#templates.describe()
		return this.#whyNotAdaptive === undefined
			? templates
			: templates.map(template => ({...template, adaptive: []}))
	}

	#track(output: Output, meter: ViewerMeter): void {
		this.#outputs.add(output)
		void output.closed.then(() => {
			this.#outputs.delete(output)
			meter.close()
		})
	}

	#viewerLog({req}: Context): Logger {
		return this.#log.child({viewer: viewerName(req)})
	}
}

/** The files of the folder player/. What is not there is left unanswered. Pages of other origins may load the player from here. */
const servePlayer: Middleware = async context => {
	if (context.method !== 'GET' && context.method !== 'HEAD') return
	try {
		context.set('Access-Control-Allow-Origin', '*')
		// An edit of a page is seen at once.
		await send(context, path.posix.normalize(context.path), {root: playerDir, maxage: 0})
	} catch (error) {
		context.remove('Access-Control-Allow-Origin')
		const {status = 500} = error as {status?: number}
		if (status >= 500) throw error
	}
}
