import {randomBytes} from 'node:crypto'
import type {IncomingMessage} from 'node:http'
import type {Context} from 'koa'
import {CameraMemory} from '../cameras/camera-memory.js'
import {asSluiceError, errorBody, type ErrorCode, errorTable, SluiceError} from '../base/errors.js'
import {HostAddresses} from '../webrtc/host-addresses.js'
import {type IceServer, iceServerLink} from '../webrtc/ice-servers.js'
import {type Logger, viewerName} from '../base/log.js'
import type {Metrics} from '../viewers/metrics.js'
import {requireConnection, waitForConnection} from './connection.js'
import {publicUrl} from './public-url.js'
import {readFragment} from '../webrtc/sdp.js'
import {readOffer} from '../webrtc/sdp-offer.js'
import {cameraAsSent, type Query, type StreamRequest} from '../streams/stream-request.js'
import type {Streams} from '../streams/streams.js'
import type {WebRtc} from '../webrtc/engine.js'
import {WhepSession} from '../webrtc/whep-viewer.js'

export const whepPath = '/whep'
const offerType = 'application/sdp'
const fragmentType = 'application/trickle-ice-sdpfrag'
const maxBodyBytes = 64 * 1024
const bodyTimeoutMs = 10_000
const retryAfterSeconds = 5
/** A browser connects within a second of its answer. */
const givesWayAfterMs = 3000
/** What a viewer gets who names no template, and what is tried where browsers do not show that: it, or one of its variants for hardware. */
const plainTemplate = 'h264'
const transcodingTemplate = 'webrtc.transcode'

/** Where the camera is off, WHEP has a status of its own: a player tries again later. */
const offCodes: readonly ErrorCode[] = [
	'camera_unreachable',
	'camera_not_found',
	'camera_timeout',
	'camera_lost'
]
/** Failures that come of opening a stream: they are worded as everywhere else. */
const streamCodes: readonly ErrorCode[] = [
	...offCodes,
	'camera_unauthorized',
	'camera_unsupported',
	'pipeline_failed',
	'template_invalid'
]

export interface WhepOptions {
	/** Reads a query as every output does. */
	readRequest: (query: Query) => Promise<StreamRequest>
	metrics: Metrics
	streams: Streams
	webrtc: WebRtc
	maxViewers: number
	/** Whether cameras that browsers do not show are transcoded. */
	transcode: boolean
	hosts: readonly string[]
	iceServers: readonly IceServer[]
	openTimeoutMs: number
	log: Logger
}

/** WHEP, draft-ietf-wish-whep: `/whep` takes offers, `/whep/<session>` is one viewer. */
export class Whep {
	#options: WhepOptions
	#sessions = new Map<string, {session: WhepSession; etag: string}>()
	#unplayable = new CameraMemory()
	#addresses: HostAddresses
	#closed = false

	constructor(options: WhepOptions) {
		this.#options = options
		this.#addresses = new HostAddresses(options.hosts)
	}

	/** Answers every method of both addresses, errors included: they are problem details, [RFC 9457], and open to other origins. */
	async answer(context: Context, id: string | undefined): Promise<void> {
		context.set({
			'Access-Control-Allow-Origin': '*',
			'Access-Control-Expose-Headers':
				'Location, Link, ETag, Retry-After, Accept-Post, Accept-Patch',
			'Cache-Control': 'no-store'
		})
		try {
			if (id === undefined) await this.#endpoint(context)
			else await this.#session(context, id)
		} catch (thrown) {
			if (context.res.destroyed) {
				context.respond = false
				return
			}
			const error = asSluiceError(thrown)
			this.#options.metrics.failed(error.code)
			if (error.code === 'internal_error')
				this.#options.log.error({err: thrown, method: context.method}, 'request failed')
			this.#tell(context, error)
		}
	}

	/** Ends every session. */
	async close(): Promise<void> {
		this.#closed = true
		await Promise.all([...this.#sessions.values()].map(async ({session}) => session.close()))
	}

	async #endpoint(context: Context): Promise<void> {
		const allowed = ['OPTIONS', 'GET', 'HEAD', 'POST']
		if (context.method === 'POST') await this.#create(context)
		else if (context.method === 'OPTIONS') {
			answerOptions(context, allowed, {'Accept-Post': offerType})
			// Some players ask here for ICE servers, before they make their offer. A preflight is the browser's own, and no page reads it.
			if (context.get('Access-Control-Request-Method') === '') this.#nameIceServers(context)
		} else if (context.method === 'GET') context.status = 204
		else if (context.method === 'HEAD') {
			context.status = 200
			context.set('Content-Type', offerType)
			context.set('Accept-Post', offerType)
		} else refuseMethod(context, allowed)
	}

	async #session(context: Context, id: string): Promise<void> {
		const allowed = ['OPTIONS', 'GET', 'HEAD', 'PATCH', 'DELETE']
		// A preflight names no session.
		if (context.method === 'OPTIONS') {
			answerOptions(context, allowed, {'Accept-Patch': fragmentType})
			return
		}
		const known = this.#sessions.get(id)
		if (!known) throw new SluiceError('not_found', 'there is no such session; it may have ended')
		if (context.method === 'PATCH') await patch(context, known)
		else if (context.method === 'DELETE') {
			await known.session.close()
			context.status = 200
			context.body = ''
		} else if (context.method === 'GET' || context.method === 'HEAD') context.status = 204
		else refuseMethod(context, allowed)
	}

	async #create(context: Context): Promise<void> {
		await waitForConnection(context)
		const {readRequest, metrics, transcode, webrtc, log} = this.#options
		this.#requirePlace()
		const offer = readOffer(await readBody(context, offerType))
		// Its start takes as long as the camera's.
		webrtc.engine()
		const {query} = context
		const request = await readRequest({...query, pipeline: query['pipeline'] ?? plainTemplate})
		if (context.res.destroyed) {
			context.respond = false
			return
		}
		requireConnection(context.res)
		// Others have come, or the server has begun to stop, while this was read.
		this.#requirePlace()
		if (request.images)
			throw new SluiceError(
				'bad_request',
				`the template ${request.plain.template} gives images, and this address sends coded video`
			)
		const id = randomBytes(18).toString('base64url')
		const etag = `"${randomBytes(9).toString('base64url')}"`
		const meter = metrics.viewer('whep')
		const session = new WhepSession({
			...this.#options,
			id,
			meter,
			offer,
			request,
			unplayable: this.#unplayable,
			addresses: this.#addresses.get,
			transcode:
				transcode && query['pipeline'] === undefined
					? async () => readRequest({...query, pipeline: transcodingTemplate})
					: undefined,
			log: log.child({viewer: viewerName(context.req), camera: request.source.label})
		})
		this.#sessions.set(id, {session, etag})
		void session.closed.then(() => {
			this.#sessions.delete(id)
			meter.close()
		})
		// A viewer that does not wait for its answer knows no session that it could end.
		const onGone = () => {
			if (!context.res.writableFinished) void session.close()
		}
		context.res.once('close', onGone)
		const answer = await session.open()
		context.status = 201
		context.set('Content-Type', offerType)
		context.set('Location', publicUrl(context.req, `${whepPath}/${id}`))
		context.set('ETag', etag)
		this.#nameIceServers(context)
		context.body = answer
	}

	#nameIceServers(context: Context): void {
		const {iceServers} = this.#options
		if (iceServers.length > 0)
			context.set(
				'Link',
				iceServers.map(server => iceServerLink(server, Date.now() / 1000))
			)
	}

	/** @throws SluiceError `shutting_down`, `over_capacity` */
	#requirePlace(): void {
		const {maxViewers} = this.#options
		if (this.#closed) throw new SluiceError('shutting_down', 'the server is shutting down')
		if (this.#sessions.size >= maxViewers) this.#makeRoom()
		if (this.#sessions.size >= maxViewers)
			throw new SluiceError(
				'over_capacity',
				`${maxViewers} viewers watch over WebRTC already; --max-webrtc-viewers allows no more`
			)
	}

	/** Whoever has an answer and does not connect gives way to others long before its time is up. */
	#makeRoom(): void {
		for (const [id, {session}] of this.#sessions) {
			if (session.waitedMs < givesWayAfterMs) continue
			this.#sessions.delete(id)
			void session.close()
			return
		}
	}

	#tell(context: Context, error: SluiceError): void {
		const status = offCodes.includes(error.code)
			? 409
			: error.code === 'camera_unsupported'
				? 406
				: error.status
		const {error: text} = errorBody(
			error,
			streamCodes.includes(error.code) ? cameraAsSent(context.query) : undefined
		)
		context.status = status
		if (status === 409 || status === 503) context.set('Retry-After', String(retryAfterSeconds))
		context.body = JSON.stringify({
			type: 'about:blank',
			title: errorTable[error.code].text,
			status,
			detail: error.detail,
			code: error.code,
			error: text
		})
		context.set('Content-Type', 'application/problem+json')
	}
}

/**
 * Candidates are not handed on: to each address the library would send packets, and each name it would look up in a thread of its
 * own. The viewer's own checks tell where it is. So whoever sends them without `If-Match`, as client libraries do, loses nothing. One
 * that is there and wrong is refused all the same: [RFC 9110 13.1.1] forbids to do what was asked then, and WHIP has 412 for it.
 * @throws SluiceError `precondition_failed`, `unsupported_media_type`, `bad_request`, `unprocessable`
 */
async function patch(
	context: Context,
	{session, etag}: {session: WhepSession; etag: string}
): Promise<void> {
	const {ice} = readFragment(await readBody(context, fragmentType))
	const match = context.get('If-Match')
	const tags = match.split(',').map(tag => tag.trim())
	// A restart comes with "*", quoted in WHEP's own example.
	const holds = match === '' || tags.includes('*') || tags.includes('"*"') || tags.includes(etag)
	if (!holds)
		throw new SluiceError(
			'precondition_failed',
			`If-Match does not name this session's ETag, ${etag}`
		)
	if (ice && !session.ufrags.includes(ice.ufrag))
		throw new SluiceError(
			'unprocessable',
			'this server does not restart ICE; open another session, and end this one'
		)
	context.status = 204
}

function answerOptions(
	context: Context,
	allowed: readonly string[],
	headers: Record<string, string>
): void {
	context.status = 200
	context.set({
		Allow: allowed.join(', '),
		'Access-Control-Allow-Methods': allowed.join(', '),
		'Access-Control-Allow-Headers': 'Authorization, Content-Type, If-Match',
		'Access-Control-Max-Age': '86400',
		...headers
	})
	context.body = ''
}

/** @throws SluiceError `method_not_allowed` */
function refuseMethod(context: Context, allowed: readonly string[]): never {
	context.set('Allow', allowed.join(', '))
	throw new SluiceError('method_not_allowed', `this address takes ${allowed.join(', ')}`)
}

/** @throws SluiceError `unsupported_media_type`, `too_large`, `bad_request` */
async function readBody(context: Context, type: string): Promise<string> {
	const given = context.get('Content-Type').split(';', 1)[0]?.trim().toLowerCase() ?? ''
	if (given !== type)
		throw new SluiceError(
			'unsupported_media_type',
			`Content-Type must be ${type}, not ${JSON.stringify(given.slice(0, 64))}`
		)
	try {
		return await readText(context.req)
	} catch (error) {
		// What is not read would stand before the next request.
		context.set('Connection', 'close')
		throw error
	}
}

async function readText(request: IncomingMessage): Promise<string> {
	const chunks: Buffer[] = []
	let bytes = 0
	const timer = setTimeout(() => {
		request.destroy()
	}, bodyTimeoutMs)
	try {
		// A viewer that hears of the limit before it has sent all must be able to read that: the connection is not cut here.
		for await (const chunk of request.iterator({destroyOnReturn: false}) as AsyncIterable<Buffer>) {
			bytes += chunk.byteLength
			if (bytes > maxBodyBytes)
				throw new SluiceError('too_large', `the body has more than ${maxBodyBytes} bytes`)
			chunks.push(chunk)
		}
		return new TextDecoder('utf-8', {fatal: true}).decode(Buffer.concat(chunks))
	} catch (error) {
		if (error instanceof SluiceError) throw error
		throw new SluiceError('bad_request', 'the body cannot be read as UTF-8')
	} finally {
		clearTimeout(timer)
	}
}
