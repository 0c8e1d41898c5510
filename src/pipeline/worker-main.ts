/**
 * The child process that runs one pipeline and nothing else; the only importer of gstreamer-superficial.
 *
 * It has nothing to do with frames, which the pipeline writes by itself. Its pollBus() holds a thread of libuv's pool with no
 * timeout, and keeps even process.exit() from ending the process. So every way out stops the pipeline first, and then kills
 * the process.
 */
import {createRequire} from 'node:module'
import {Socket} from 'node:net'
import process from 'node:process'
import type {Element, Pipeline} from 'gstreamer-superficial'
import {wordsOf} from '../base/errors.js'
import {writingTo} from './frame-sink.js'
import {RateLimit} from '../base/rate-limit.js'
import {type BusMessage, type Examined, type FromWorker, type ToWorker} from './messages.js'
import {framePipeFd} from '../workers/channel.js'
import {killSoon, serve, shortened, withoutMiddle} from '../workers/child.js'

// An addon's .node file can be required, not imported.
const gstreamer = createRequire(import.meta.url)(
	'gstreamer-superficial'
) as typeof import('gstreamer-superficial')

/** How much memory the process may take. */
const maxMemoryBytes = 2 ** 30
/** Each look costs a fifth of a millisecond, for the process sleeps meanwhile. */
const watchMemoryEveryMs = 500
/** A broken stream may have one with each packet; the server keeps the first few, and of failures the first counts. */
const maxWarningsPerSecond = 20
const maxFailuresPerSecond = 20
/**
 * How long stopping waits for rtspsrc to say good-bye, in nanoseconds. Its default, 100 ms, is too short for a machine that is
 * busy: a camera would keep the session of a viewer who has left until it times out.
 */
const teardownTimeoutNs = 400e6

/**
 * The pipeline itself writes there. For this it must not block, or a server that reads nothing would keep the pipeline from
 * being stopped: a socket of Node's makes it so, and is never used. That the server is gone is told by its channel.
 */
new Socket({fd: framePipeFd, readable: false, writable: true}).unref()
let pipeline: Pipeline | undefined
let stopping = false
/** How often a key frame was asked for. */
let keyUnits = 1

function shutdown(exitCode: number): void {
	if (stopping) return
	stopping = true
	if (pipeline) {
		// A decoder that hangs blocks stop().
		killSoon()
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
		send({
			type: 'bus',
			message: {
				kind: 'error',
				element: 'worker',
				message: `more than ${maxMemoryBytes / 2 ** 20} MB of memory`
			}
		})
	}, watchMemoryEveryMs)
}

function start({launch, source}: Extract<ToWorker, {type: 'start'}>): void {
	try {
		pipeline = build(launch)
		setSource(elementNamed(pipeline, 'src'), source)
	} catch (error) {
		send({type: 'unparsable', message: shortened(wordsOf(error))})
		return
	}
	const warnings = new RateLimit(maxWarningsPerSecond)
	const failures = new RateLimit(maxFailuresPerSecond)
	pipeline.pollBus(raw => {
		const message = readBusMessage(raw)
		if (message && (isWarning(message) ? warnings : failures).take()) send({type: 'bus', message})
	})
	pipeline.play()
	watchMemory()
}

/** @throws Error with the parser's words, or with what the launch text lacks */
function build(launch: string): Pipeline {
	const writing = writingTo(framePipeFd, launch)
	try {
		const text = writing?.text ?? launch
		// Of a text that is one bin GStreamer's parser makes that bin and no pipeline; it has no bus, for want of which the binding crashes.
		const built = new gstreamer.Pipeline(
			/^\s*(?:bin\.)?\(/.test(text) ? `pipeline.( ${text} )` : text
		)
		elementNamed(built, 'src')
		if (!writing) throw new Error('no appsink is named "sink"')
		// Whether it takes its properties only an appsink can tell.
		new gstreamer.Pipeline(`identity ! ${writing.appsink}`)
		return built
	} catch (error) {
		// Where the text is wrong as it was written, the parser's words about that are the ones to tell.
		new gstreamer.Pipeline(launch)
		throw error
	}
}

/** @throws Error where there is none */
function elementNamed(built: Pipeline, name: string): Element {
	const element = built.findChild(name)
	if (!element) throw new Error(`no element is named "${name}"`)
	return element
}

function examine(launch: string): Examined {
	try {
		const built = new gstreamer.Pipeline(launch)
		const sink = built.findChild('sink')
		// A template plays with other elements in the place of its sink, which this host may lack.
		if (sink?.pull && built.findChild('src')) build(launch)
		return {
			src: built.findChild('src') !== undefined,
			...(sink?.pull && {
				sink: {maxBuffers: Number(sink['max-buffers']), drop: sink['drop'] === true}
			})
		}
	} catch (error) {
		return {error: shortened(wordsOf(error))}
	}
}

function setSource(
	src: Element,
	{location, user, password}: {location: string; user?: string; password?: string}
): void {
	// A source that makes its own picture has none.
	if (location !== '') src['location'] = location
	if (user !== undefined) src['user-id'] = user
	if (password !== undefined) src['user-pw'] = password
	if ('teardown-timeout' in src) src['teardown-timeout'] = teardownTimeoutNs
}

function onPlaying(): void {
	if (!pipeline || stopping) return
	decodeOn(pipeline)
	tellCodec(pipeline)
}

function set({element, property, value}: Extract<ToWorker, {type: 'set'}>): void {
	const found = pipeline?.findChild(element)
	if (found) found[property] = value
}

/** Each codec's depayloader, by the name that GStreamer gives the first of its kind, whether decodebin made it or the template. */
const depayloaders = {
	H264: 'rtph264depay0',
	H265: 'rtph265depay0',
	JPEG: 'rtpjpegdepay0',
	VP8: 'rtpvp8depay0',
	VP9: 'rtpvp9depay0'
}

function tellCodec(playing: Pipeline): void {
	const codec = Object.entries(depayloaders).find(([, element]) => playing.findChild(element))?.[0]
	if (codec !== undefined) send({type: 'codec', codec})
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
	const whole = (key: string) => (typeof raw[key] === 'string' ? raw[key] : undefined)
	const text = (key: string) => {
		const found = whole(key)
		return found === undefined ? undefined : withoutMiddle(found)
	}
	const kind = kindOf(raw)
	if (!kind) return undefined
	const rtspStatus = /rtsp-status-code=\(uint\)(\d{1,9})\b/.exec(whole('details') ?? '')?.[1]
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

function isWarning({kind}: BusMessage): boolean {
	return kind === 'warning' || kind === 'missing-plugin'
}

function kindOf({type, name, message}: Record<string, unknown>): BusMessage['kind'] | undefined {
	if (type === 'error' && message !== undefined) return 'error'
	if (type === 'eos') return 'eos'
	if (name === 'GstMessageWarning') return 'warning'
	if (name === 'missing-plugin') return 'missing-plugin'
	if (name === 'GstRTSPSrcTimeout') return 'rtsp-timeout'
	return undefined
}

function onMessage(message: ToWorker): void {
	switch (message.type) {
		case 'start':
			start(message)
			break
		case 'examine':
			send({type: 'examined', examined: examine(message.launch)})
			break
		case 'set':
			set(message)
			break
		case 'playing':
			onPlaying()
			break
		case 'key-frame':
			pipeline?.forceKeyUnit('sink', keyUnits++)
			break
		case 'stop':
			shutdown(0)
			break
		default:
			message satisfies never
	}
}

const send: (message: FromWorker) => void = serve(onMessage, shutdown)
send({type: 'ready'})
