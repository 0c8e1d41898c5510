/**
 * The child process that holds every viewer's peer connection; the only importer of node-datachannel.
 *
 * A peer connection that has failed and was never closed makes the library's cleanup() wait for ten seconds. So every way
 * out closes them all first, with a SIGKILL of its own behind it.
 */
import {createSocket} from 'node:dgram'
import {lookup} from 'node:dns/promises'
import {once} from 'node:events'
import {writeFileSync} from 'node:fs'
import {isIP, Socket} from 'node:net'
import process from 'node:process'
import type * as NodeDataChannel from 'node-datachannel'
import {compileSooner} from '../base/compile-sooner.js'
import {wordsOf} from '../base/errors.js'
import {withLengths} from '../media/nal-units.js'
import {Budget} from '../base/rate-limit.js'
import {asksForKeyFrame, packetsAskedFor} from './rtcp.js'
import {Feed, Source} from './viewer-feed.js'
import type {FrameCounts} from '../streams/frame.js'
import type {FromWebRtcWorker, SessionCounters, ToWebRtcWorker} from './messages.js'
import {type OnWebRtcPipe, pipeReader} from './frame-pipe.js'
import {framePipeFd} from '../workers/channel.js'
import {killSoon, serve, shortened} from '../workers/child.js'

/** From the answer to the first moment that media can flow. */
const connectTimeoutMs = 15_000
/** How long a viewer may be gone before its session ends. The library itself takes 27 to 30 s to say so. */
const disconnectedTimeoutMs = 10_000
const gatherTimeoutMs = 3000
const sctpTimerSlackMs = 100
/** RTP packets that are kept for viewers that lost some: 2.5 s of 4 Mbit/s, and 1.2 MB for each viewer. */
const resendPackets = 1024
/** A tenth of a stream of 100 Mbit/s. */
const maxResendsPerSecond = 1000
const clockRate = 90_000
const countEveryMs = 1000
/** Beyond a hundred viewers and as many cameras: then something leaks, and another worker is the better one. */
const maxMemoryBytes = 2 ** 31
/** Names this sender in RTCP; each session has an SSRC of its own. */
const canonicalName = 'sluice'

type Library = typeof NodeDataChannel

const sources = new Map<number, Source>()
const sessions = new Map<string, Session>()
/** Of sessions that have ended. */
let unreported: FrameCounts = {frames: 0, bytes: 0, dropped: 0}
let library: Library | undefined
let bindAddress: string | undefined
let port = 0
let stopping = false

function shutdown(exitCode: number, why?: string): void {
	if (stopping) return
	stopping = true
	killSoon()
	const reason =
		why ?? (exitCode === 0 ? 'the server is shutting down' : 'the WebRTC worker crashed')
	for (const session of sessions.values()) session.close(reason)
	try {
		library?.cleanup()
	} catch (error) {
		console.error(error)
	}
	process.exit(exitCode)
}

type Open = Extract<ToWebRtcWorker, {type: 'open'}>

/** One viewer's peer connection, from its offer to its end. */
class Session {
	#id: string
	#connection: NodeDataChannel.PeerConnection
	#track: NodeDataChannel.Track
	/** Held here, for the library does not hold its JavaScript objects. */
	#handlers: NodeDataChannel.MediaHandler[]
	#config: NodeDataChannel.RtpPacketizationConfig
	#sourceId: number
	/** From the moment that media can flow. */
	#source: Source | undefined
	#feed: Feed
	/** The library answers each question itself; this only counts, and ends the session of who asks without end. */
	#resends = new Budget(resendPackets * 4, maxResendsPerSecond)
	#timer: NodeJS.Timeout | undefined
	#answered = false
	#connected = false
	#closed = false
	/** What the server was told of the counters. */
	#told = {sent: 0, bytes: 0, dropped: 0}

	/** @throws Error in the library's words */
	constructor(
		ndc: Library,
		connection: NodeDataChannel.PeerConnection,
		{session, source, mid, payloadType, fmtp, ssrc, playoutDelayId}: Open
	) {
		this.#id = session
		this.#connection = connection
		const video = new ndc.Video(mid, 'SendOnly')
		video.addH264Codec(payloadType, fmtp)
		video.addSSRC(ssrc, canonicalName, 'sluice', 'video')
		this.#track = connection.addTrack(video)
		this.#config = new ndc.RtpPacketizationConfig(ssrc, canonicalName, payloadType, clockRate)
		if (playoutDelayId !== undefined) {
			this.#config.playoutDelayId = playoutDelayId
			this.#config.playoutDelayMin = 0
			this.#config.playoutDelayMax = 0
		}
		const packetizer = new ndc.H264RtpPacketizer('Length', this.#config)
		this.#handlers = [
			packetizer,
			new ndc.RtcpSrReporter(this.#config),
			new ndc.RtcpNackResponder(resendPackets)
		]
		for (const handler of this.#handlers.slice(1)) packetizer.addToChain(handler)
		this.#track.setMediaHandler(packetizer)
		this.#sourceId = source
		this.#feed = new Feed((data, timestampMs) => this.#write(data, timestampMs))
		this.#watch()
	}

	/** @throws Error in the library's words */
	start(offer: string): void {
		this.#endAfter(gatherTimeoutMs, 'no candidates were gathered in time')
		this.#connection.setRemoteDescription(offer, 'offer')
	}

	/** Adds what came since the last call. */
	count(counted: FrameCounts): void {
		const {sent, bytes, dropped} = this.#feed.counters
		counted.frames += sent - this.#told.sent
		counted.bytes += bytes - this.#told.bytes
		counted.dropped += dropped - this.#told.dropped
		this.#told = {sent, bytes, dropped}
	}

	/** @param refused whether the library did not take the offer */
	close(reason: string, refused = false): void {
		if (this.#closed) return
		this.#closed = true
		clearTimeout(this.#timer)
		sessions.delete(this.#id)
		this.#source?.detach(this.#feed)
		// The server may have said already that no frame of it follows.
		if (this.#source?.unused) sources.delete(this.#sourceId)
		this.#feed.close()
		this.count(unreported)
		const counters: SessionCounters = this.#feed.counters
		send({type: 'closed', session: this.#id, reason, refused, counters})
		// The library holds the track's callbacks, and with them this session and its pictures, until the track is closed itself.
		this.#track.close()
		this.#connection.close()
		this.#handlers = []
	}

	#watch(): void {
		this.#connection.onGatheringStateChange(state => {
			const description = state === 'complete' && this.#connection.localDescription()
			if (!description || this.#answered || this.#closed) return
			this.#answered = true
			this.#endAfter(connectTimeoutMs, 'the viewer did not connect')
			send({type: 'answer', session: this.#id, sdp: description.sdp})
		})
		this.#connection.onStateChange(state => {
			if (this.#closed) return
			if (state === 'connected') clearTimeout(this.#timer)
			else if (state === 'disconnected')
				this.#endAfter(disconnectedTimeoutMs, 'the viewer was lost')
			else if (state === 'failed')
				this.close(this.#connected ? 'the viewer was lost' : 'the viewer could not be reached')
			else if (state === 'closed') this.close('the viewer left')
		})
		this.#track.onOpen(() => {
			if (this.#closed || this.#connected) return
			this.#connected = true
			clearTimeout(this.#timer)
			send({type: 'connected', session: this.#id})
			this.#source = sourceOf(this.#sourceId)
			this.#source.attach(this.#feed)
		})
		this.#track.onMessage(message => {
			if (this.#closed) return
			if (!this.#resends.take(packetsAskedFor(message))) {
				this.close('the viewer asked for too many packets again')
				return
			}
			if (!this.#source || !asksForKeyFrame(message)) return
			if (this.#feed.refresh(this.#source.kept))
				send({type: 'key-frame-wanted', source: this.#sourceId})
		})
	}

	#endAfter(timeoutMs: number, reason: string): void {
		clearTimeout(this.#timer)
		this.#timer = setTimeout(() => {
			this.close(reason)
		}, timeoutMs)
	}

	/** @returns whether the kernel took it; the library tells of a frame's last packet only */
	#write(data: Buffer, timestampMs: number): boolean {
		if (!this.#track.isOpen()) return false
		this.#config.timestamp = Math.round((timestampMs * clockRate) / 1000) % 2 ** 32
		try {
			return this.#track.sendMessageBinary(data)
		} catch {
			// The track has closed in between; its state change follows.
			return false
		}
	}
}

/**
 * The library's SCTP, which nothing here uses, has a thread that wakes up a hundred times a second, for a twentieth of the CPU that
 * the first viewer costs: https://github.com/sctplab/usrsctp/pull/591. How late its timers may be, a thread has from the one that starts it
 * (PR_SET_TIMERSLACK(2const)), and this file is the way to that for this thread. The library's other threads that start here have no timers
 * but DTLS's, of a second and more.
 */
function startThreads(ndc: Library): void {
	setTimerSlack(sctpTimerSlackMs * 1e6)
	ndc.preload()
	setTimerSlack(0)
}

/** @param slackNs 0 for what it was at first */
function setTimerSlack(slackNs: number): void {
	try {
		writeFileSync('/proc/self/timerslack_ns', String(slackNs))
	} catch {
		// Of the CPU, there is a little more to pay then.
	}
}

function sourceOf(id: number): Source {
	const known = sources.get(id)
	if (known) return known
	const source = new Source()
	sources.set(id, source)
	return source
}

function open(ndc: Library, message: Open): void {
	const connection = new ndc.PeerConnection(message.session, {
		iceServers: [],
		enableIceUdpMux: true,
		portRangeBegin: port,
		portRangeEnd: port,
		...(bindAddress !== undefined && {bindAddress})
	})
	try {
		const session = new Session(ndc, connection, message)
		sessions.set(message.session, session)
		session.start(message.offer)
	} catch (error) {
		const session = sessions.get(message.session)
		const reason = shortened(wordsOf(error))
		if (session) session.close(reason, true)
		else {
			connection.close()
			send({
				type: 'closed',
				session: message.session,
				reason,
				refused: true,
				counters: {sent: 0, bytes: 0, dropped: 0, asked: 0, replays: 0}
			})
		}
	}
}

/** The library says nothing of a port that it cannot have, so this tries; and it knows no port 0. */
async function listen(host: string, wanted: number): Promise<void> {
	const every = host === '0.0.0.0' || host === '::'
	try {
		bindAddress = every ? undefined : isIP(host) === 0 ? (await lookup(host)).address : host
		const socket = createSocket({
			type: bindAddress !== undefined && isIP(bindAddress) === 6 ? 'udp6' : 'udp4'
		})
		socket.bind(wanted, bindAddress)
		await once(socket, 'listening')
		port = socket.address().port
		socket.close()
		await once(socket, 'close')
		send({type: 'listening', port})
	} catch (error) {
		send({type: 'not-listening', message: shortened(wordsOf(error))})
	}
}

/** One message for all sessions: their number costs nothing here. */
function reportCounts(): void {
	const counted = unreported
	unreported = {frames: 0, bytes: 0, dropped: 0}
	for (const session of sessions.values()) session.count(counted)
	if (process.memoryUsage.rss() > maxMemoryBytes) {
		const reason = `more than ${maxMemoryBytes / 2 ** 20} MB of memory`
		console.error(reason)
		shutdown(1, reason)
	}
	if (counted.frames + counted.dropped > 0) send({type: 'counted', ...counted})
}

function onMessage(message: ToWebRtcWorker): void {
	switch (message.type) {
		// Nobody opens a session before this worker is ready.
		case 'open':
			if (library) open(library, message)
			break
		case 'close':
			sessions.get(message.session)?.close('asked for')
			break
		case 'listen':
			void listen(message.address, message.port)
			break
		case 'stop':
			shutdown(0)
			break
		default:
			message satisfies never
	}
}

function onPipeMessage(message: OnWebRtcPipe<Buffer>): void {
	if (message.type === 'forget') {
		sources.delete(message.source)
		return
	}
	const {source, timeMs, keyFrame, data} = message
	compileSooner()
	// The packetizer would look for start codes once for each viewer, byte by byte.
	sourceOf(source).add({timeMs, keyFrame, data: withLengths(data)})
}

const fromServer = pipeReader(onPipeMessage)
/** Read into one buffer, of which the reader keeps nothing: a stream would make one for each part of a frame, and take twice the CPU. */
const readIntoOne = {
	buffer: Buffer.alloc(64 * 1024),
	callback: (bytes: number, buffer: Uint8Array) => {
		fromServer.read(Buffer.from(buffer.buffer, buffer.byteOffset, bytes))
		return true
	}
}
const framePipe = new Socket({
	fd: framePipeFd,
	readable: true,
	writable: false,
	...{onread: readIntoOne}
})
// The server is gone, or it gave this worker up.
framePipe.on('error', () => {
	shutdown(1)
})
const send: (message: FromWebRtcWorker) => void = serve(onMessage, shutdown)

try {
	const ndc = await import('node-datachannel')
	library = ndc
	setInterval(reportCounts, countEveryMs)
	startThreads(ndc)
	send({type: 'ready'})
} catch (error) {
	// The server ends the process.
	send({type: 'unavailable', message: shortened(wordsOf(error).split('\n', 1)[0] ?? '')})
}
