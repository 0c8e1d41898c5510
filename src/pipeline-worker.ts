/**
 * The child process that runs one pipeline and nothing else; the only importer of gstreamer-superficial.
 *
 * Its pull() and pollBus() each hold a thread of libuv's pool with no timeout, and a pull that is pending keeps even
 * process.exit() from ending the process. So every way out stops the pipeline first, and then kills the process.
 */
import {createRequire} from 'node:module'
import {Socket} from 'node:net'
import process from 'node:process'
import {Worker as Thread} from 'node:worker_threads'
import type {Element, Pipeline} from 'gstreamer-superficial'
import './compile-sooner.js'
import {monotonicMs} from './clock.js'
import {wordsOf} from './errors.js'
import {framePipeFd, writeToPipe} from './frame-pipe.js'
import {collectFrames} from './garbage.js'
import {isKeyFrame} from './h264.js'
import {Mp4Muxer} from './mp4-muxer.js'
import {RateLimit} from './rate-limit.js'
import type {BusMessage, Caps, Examined, FromWorker, ToWorker} from './worker-messages.js'

// An addon's .node file can be required, not imported.
const gstreamer = createRequire(import.meta.url)('gstreamer-superficial') as typeof import('gstreamer-superficial')

/** How long stopping may take before the process kills itself. */
const stopTimeoutMs = 1000
/** How much memory the process may take. */
const maxMemoryBytes = 2 ** 30
/** A broken stream may have one with each packet; the server keeps the first few. */
const maxWarningsPerSecond = 20
/**
 * How long stopping waits for rtspsrc to say good-bye, in nanoseconds. Its default, 100 ms, is too short for a machine that is
 * busy: a camera would keep the session of a viewer who has left until it times out.
 */
const teardownTimeoutNs = 400e6

const framePipe = new Socket({fd: framePipeFd, readable: false, writable: true})
let pipeline: Pipeline | undefined
let stopping = false
/** How often a key frame was asked for. */
let keyUnits = 1

function shutdown(exitCode: number): void {
	if (stopping) return
	stopping = true
	if (pipeline) {
		// A decoder that hangs blocks stop(), and with it this thread, for ever. Another thread does not wait for it.
		new Thread(`setTimeout(() => process.kill(process.pid, 'SIGKILL'), ${stopTimeoutMs})`, {eval: true}).unref()
		pipeline.stop()
		// process.exit() ends that thread first, and then waits for pollBus(), sometimes for ever.
		process.kill(process.pid, 'SIGKILL')
	}
	process.exit(exitCode)
}

/** A hostile camera can make GStreamer buffer what it sends without bound. A decoder of 8K pictures takes half of this. */
function watchMemory(): void {
	setInterval(() => {
		if (process.memoryUsage.rss() < maxMemoryBytes) return
		send({type: 'bus', message: {kind: 'error', element: 'worker', message: `more than ${maxMemoryBytes / 2 ** 20} MB of memory`}})
	}, 250)
}

function send(message: FromWorker): void {
	if (stopping || !process.send) return
	process.send(message, undefined, undefined, error => {
		// The channel is gone: so is the server, or it gave this worker up.
		if (error) shutdown(1)
	})
}

function sendFrame(frame: Extract<FromWorker, {type: 'frame'}>, done: () => void): void {
	if (stopping) return
	writeToPipe(framePipe, frame, error => { if (!error) done() })
}

function start({launch, source}: Extract<ToWorker, {type: 'start'}>): void {
	let sink: Element
	try {
		const built = build(launch)
		pipeline = built.pipeline
		sink = built.sink
		setSource(built.src, source)
	} catch (error) {
		send({type: 'unparsable', message: wordsOf(error)})
		return
	}
	const warnings = new RateLimit(maxWarningsPerSecond)
	pipeline.pollBus(raw => {
		const message = readBusMessage(raw)
		if (!message || (message.kind === 'warning' && !warnings.take())) return
		send({type: 'bus', message})
	})
	// An appsink that was not started yet answers a pull with null, as it does at the end of a stream.
	pipeline.play()
	pullFrames(pipeline, sink)
	watchMemory()
}

/** @throws Error with the parser's words, or with what the launch text lacks */
function build(launch: string): {pipeline: Pipeline; src: Element; sink: Element} {
	const built = new gstreamer.Pipeline(launch)
	const src = built.findChild('src')
	const sink = built.findChild('sink')
	if (!src) throw new Error('no element is named "src"')
	if (!sink?.pull) throw new Error('no appsink is named "sink"')
	return {pipeline: built, src, sink}
}

function examine(launch: string): Examined {
	try {
		const built = new gstreamer.Pipeline(launch)
		const sink = built.findChild('sink')
		return {src: built.findChild('src') !== undefined, sink: sink?.pull && {maxBuffers: Number(sink['max-buffers']), drop: sink['drop'] === true}}
	} catch (error) {
		return {error: wordsOf(error)}
	}
}

function setSource(src: Element, {location, user, password}: {location: string; user?: string; password?: string}): void {
	// A source that makes its own picture has none.
	if (location !== '') src['location'] = location
	if (user !== undefined) src['user-id'] = user
	if (password !== undefined) src['user-pw'] = password
	if ('teardown-timeout' in src) src['teardown-timeout'] = teardownTimeoutNs
}

/** Pulls the next frame only when this one was written to the pipe, so pressure stays in the appsink. */
function pullFrames(playing: Pipeline, sink: Element): void {
	let sequence = 0
	const read = frameReader()
	const pull = () => {
		sink.pull?.((data, caps) => {
			// The end of the stream; the bus says why.
			if (!data) return
			collectFrames(data.byteLength)
			const frame = read(data, caps)
			if (!frame) {
				pull()
				return
			}
			if (sequence === 0) {
				Object.assign(frame, codecOf(playing))
				decodeOn(playing)
			}
			sendFrame({type: 'frame', sequence: sequence++, timeMs: monotonicMs(), ...frame}, pull)
		})
	}
	pull()
}

type ReadFrame = Pick<Extract<FromWorker, {type: 'frame'}>, 'keyFrame' | 'data' | 'caps' | 'init'>

/** Makes a frame of each sample of the sink, but for those that only say something about the next ones. */
function frameReader(): (data: Uint8Array, caps: Caps) => ReadFrame | undefined {
	const muxer = new Mp4Muxer(monotonicMs())
	let lastCaps = ''
	return (data, caps) => {
		if (caps['name'] === 'application/x-gdp') return readFragment(muxer, data)
		const key = JSON.stringify(caps)
		const changed = key === lastCaps ? {} : {caps}
		lastCaps = key
		return {keyFrame: isWhole(data, caps), data: withEnd(data, caps), ...changed}
	}
}

function readFragment(muxer: Mp4Muxer, data: Uint8Array): ReadFrame | undefined {
	try {
		const read = muxer.add(data)
		return read && {keyFrame: read.keyFrame, data: read.data, ...(read.start && {caps: read.start.caps, init: Buffer.from(read.start.init).toString('base64')})}
	} catch (error) {
		send({type: 'bus', message: {kind: 'error', element: 'worker', message: wordsOf(error)}})
		return undefined
	}
}

const endOfImage = Buffer.from([0xff, 0xd9])

/**
 * A camera may leave the last marker of its images out. rtpjpegdepay adds it, but for images whose last data byte is
 * like one of the marker's two: GStreamer 1.22 takes that for the marker.
 */
function withEnd(data: Uint8Array, {name}: Caps): Uint8Array {
	if (name !== 'image/jpeg' || (data.at(-2) === 0xff && data.at(-1) === 0xd9)) return data
	return Buffer.concat([data, endOfImage])
}

/** Whether a frame can be decoded by itself. The binding gives no buffer flags, so coded video is asked itself. */
function isWhole(data: Uint8Array, {name}: Caps): boolean {
	if (name === 'video/x-h264') return isKeyFrame(data, 'H264')
	if (name === 'video/x-h265') return isKeyFrame(data, 'H265')
	return true
}

function set({element, property, value}: Extract<ToWorker, {type: 'set'}>): void {
	const found = pipeline?.findChild(element)
	if (found) found[property] = value
}

/** Each codec's depayloader, by the name that GStreamer gives the first of its kind, whether decodebin made it or the template. */
const depayloaders = {H264: 'rtph264depay0', H265: 'rtph265depay0', JPEG: 'rtpjpegdepay0', VP8: 'rtpvp8depay0', VP9: 'rtpvp9depay0'}

function codecOf(playing: Pipeline): {codec?: string} {
	const codec = Object.entries(depayloaders).find(([, element]) => playing.findChild(element))?.[0]
	return codec === undefined ? {} : {codec}
}

/**
 * A template may tell a decoder to discard all up to the first key frame, by a property that makes it do the same for each
 * packet that is lost later: at one lost packet of a hundred, one picture of ten would be left.
 */
function decodeOn(playing: Pipeline): void {
	const decoder = playing.findChild('avdec_h265-0')
	if (decoder) decoder['automatic-request-sync-points'] = false
}

/** Keeps the few messages that matter. A structure's fields may overwrite `type`, so some are known by `name`. */
function readBusMessage(raw: Record<string, unknown>): BusMessage | undefined {
	const text = (key: string) => (typeof raw[key] === 'string' ? raw[key] : undefined)
	const kind = kindOf(raw)
	if (!kind) return undefined
	const rtspStatus = /rtsp-status-code=\(uint\)(\d+)/.exec(text('details') ?? '')?.[1]
	const message = kind === 'missing-plugin' ? text('detail') : text('message')
	const debug = text('debug')
	return {
		kind,
		element: text('_src_element_name') ?? '',
		...(message !== undefined && {message}),
		...(debug !== undefined && {debug}),
		...(rtspStatus !== undefined && {rtspStatus: Number(rtspStatus)})
	}
}

function kindOf({type, name, message}: Record<string, unknown>): BusMessage['kind'] | undefined {
	if (type === 'error' && message !== undefined) return 'error'
	if (type === 'eos') return 'eos'
	if (name === 'GstMessageWarning') return 'warning'
	if (name === 'missing-plugin') return 'missing-plugin'
	if (name === 'GstRTSPSrcTimeout') return 'rtsp-timeout'
	return undefined
}

process.on('message', (message: ToWorker) => {
	if (message.type === 'start') start(message)
	else if (message.type === 'examine') send({type: 'examined', ...examine(message.launch)})
	else if (message.type === 'set') set(message)
	else if (message.type === 'key-frame') pipeline?.forceKeyUnit('sink', keyUnits++)
	else shutdown(0)
})
process.on('disconnect', () => { shutdown(0) })
// The server is gone, or it gave this worker up.
framePipe.on('error', () => { shutdown(1) })
process.on('SIGTERM', () => { shutdown(0) })
// A Ctrl-C reaches the whole process group; the server decides when its workers end.
process.on('SIGINT', () => undefined)
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
	process.on(event, (error: unknown) => {
		console.error(error)
		shutdown(1)
	})
}
send({type: 'ready'})
