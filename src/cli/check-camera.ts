import {readFile} from 'node:fs/promises'
import {BFrameFinder} from '../media/b-frames.js'
import type {CameraSource} from '../cameras/camera-address.js'
import type {Caps} from '../media/caps.js'
import {monotonicMs} from '../base/clock.js'
import type {Config} from '../config/config.js'
import type {DeclaredOutput} from '../pipeline/declared-output.js'
import {asSluiceError} from '../base/errors.js'
import type {Sample} from '../pipeline/frame-reader.js'
import type {NalCodec} from '../media/nal-units.js'
import {createLog} from '../base/log.js'
import {Pipeline} from '../pipeline/pipeline.js'
import {fillTemplate, readTemplate, withTemplate} from '../templates/template.js'
import {readFromWorker} from '../pipeline/messages.js'
import {Worker} from '../workers/worker.js'

const workerPath = new URL('../pipeline/worker-main.js', import.meta.url)

/** How long each of the two pipelines plays, from its first frame. */
const playMs = 3000
/** Many cameras begin with all that they have since their last key frame, which says nothing of their rate. */
const burstMs = 500
/** Linux counts a process's CPU time in these, whatever the machine. */
const ticksPerSecond = 100
const template = 'jpeg'

/** How the frames of each codec come out of rtspsrc as the camera coded them, by the codec's name in RTP. */
const untouched: ReadonlyMap<string | undefined, string> = new Map([
	['H264', 'rtph264depay ! h264parse ! video/x-h264,stream-format=byte-stream,alignment=au'],
	['H265', 'rtph265depay ! h265parse ! video/x-h265,stream-format=byte-stream,alignment=au'],
	['JPEG', 'rtpjpegdepay']
])

export interface UrlCheckOptions {
	source: CameraSource
	config: Pick<Config, 'pipelinesDir' | 'openTimeoutMs' | 'frameTimeoutMs'>
	print: (line: string) => void
	/** Ends the check: its worker is stopped first. */
	signal: AbortSignal
}

/**
 * Plays a camera twice: through the template jpeg, for what a viewer gets and what it costs, then as it is coded, for what
 * the camera sends. Not at once, for some cameras serve one viewer only. Prints what it found, or one line that says why it
 * found nothing; no line holds user name or password.
 *
 * @returns the exit code: 1 where the camera does not play
 * @throws the signal's reason, where that ended it
 */
export async function checkUrl(options: UrlCheckOptions): Promise<number> {
	const {
		source: {label, transport},
		config: {pipelinesDir},
		print,
		signal
	} = options
	let shown: Played | undefined
	try {
		const jpeg = await readTemplate(pipelinesDir, template)
		// rtspsrc refuses rtspu:// with protocols=tcp.
		const chosen =
			transport && jpeg.parameters.some(({name}) => name === 'transport')
				? [['transport', transport] as const]
				: []
		shown = await play(fillTemplate(jpeg, new Map(chosen)), options, jpeg)
		const depayload = untouched.get(shown.codec) ?? 'parsebin'
		const coded = await play(
			`rtspsrc name=src protocols=${transport ?? 'tcp'} latency=100 tcp-timeout=5000000 ! application/x-rtp,media=video ! ${depayload} ! appsink name=sink sync=false`,
			options
		)
		print(`${label}: plays`)
		for (const [name, text] of report(shown, coded)) print(`  ${name}: ${text}`)
		return 0
	} catch (error) {
		signal.throwIfAborted()
		const {code, detail} = asSluiceError(error)
		print(
			`${label}: ${code}: ${detail}${shown ? `; it had just shown pictures with ${template}.gst, and was connected to once more` : ''}`
		)
		return 1
	}
}

/** What was seen of a frame, which itself is not kept. */
interface Seen {
	timeMs: number
	bytes: number
	keyFrame: boolean
}

interface Played {
	/** From the start of the pipeline, in a worker that was ready. */
	firstFrameMs: number
	/** Of its first frame. */
	caps: Caps
	/** What the camera sends, by its name in RTP; undefined where that is not known. */
	codec: string | undefined
	frames: readonly Seen[]
	/** When it ended, on the clock of the frames' `timeMs`. */
	endMs: number
	/** Whether its frames were looked into, as those of H.264 and H.265 are. */
	opened: boolean
	/** Undefined where that is not known. */
	bFrames: boolean | undefined
	/** CPU of the worker since its first frame, in cores; undefined where the system does not tell. */
	cores: number | undefined
}

/** @throws SluiceError, or the signal's reason; the worker has ended by then */
async function play(
	launch: string,
	{source, config: {openTimeoutMs, frameTimeoutMs}, signal}: UrlCheckOptions,
	declared?: DeclaredOutput
): Promise<Played> {
	signal.throwIfAborted()
	const log = createLog('silent')
	const worker = new Worker(workerPath, log, readFromWorker)
	const close = () => {
		void worker.close()
	}
	signal.addEventListener('abort', close)
	// A server has a worker ready when a viewer comes. One that does not get ready makes the pipeline fail.
	await worker.ready.catch(() => undefined)
	let pipeline: Pipeline | undefined
	let timer: NodeJS.Timeout | undefined
	try {
		return await new Promise<Played>((resolve, reject) => {
			const startedMs = performance.now()
			const frames: Seen[] = []
			let finder: BFrameFinder | undefined
			let codec: string | undefined
			const onFirstSample = ({caps}: Sample) => {
				const firstFrameMs = performance.now() - startedMs
				const coded = nalCodecs.get(caps['name'])
				if (coded && caps['stream-format'] === 'byte-stream') finder = new BFrameFinder(coded)
				const cpuBefore = cpuSeconds(worker.pid)
				timer = setTimeout(() => {
					const endMs = monotonicMs()
					const seconds = (performance.now() - startedMs - firstFrameMs) / 1000
					void Promise.all([cpuBefore, cpuSeconds(worker.pid)]).then(([before, after]) => {
						const cores =
							before === undefined || after === undefined ? undefined : (after - before) / seconds
						resolve({
							firstFrameMs,
							caps,
							codec,
							frames,
							endMs,
							opened: finder !== undefined,
							bFrames: finder?.found,
							cores
						})
					})
				}, playMs)
			}
			pipeline = new Pipeline(worker, {
				launch,
				declared,
				source,
				openTimeoutMs,
				frameTimeoutMs,
				log,
				onSample: sample => {
					if (frames.length === 0) onFirstSample(sample)
					const {timeMs, data, keyFrame} = sample
					finder?.add(data)
					frames.push({timeMs, bytes: data.byteLength, keyFrame})
				},
				onCodec: told => {
					codec = told
				},
				onFailure: error => {
					reject(declared ? withTemplate(error, template) : error)
				}
			})
			// Behind the pipeline, which tells why where it was not closed on purpose.
			void worker.exited.then(() => {
				reject(new Error('the worker has ended'))
			})
		})
	} finally {
		clearTimeout(timer)
		signal.removeEventListener('abort', close)
		await (pipeline ?? worker).close()
	}
}

/** CPU time that a process and its ended children took so far; undefined where there is no /proc. */
async function cpuSeconds(pid: number | undefined): Promise<number | undefined> {
	const stat = await readFile(`/proc/${pid ?? 'none'}/stat`, 'utf8').catch(() => undefined)
	// Behind the name, which may hold anything, stand utime, stime, cutime and cstime as the 12th to the 15th field: proc(5).
	const fields = stat
		?.slice(stat.lastIndexOf(')') + 2)
		.split(' ')
		.slice(11, 15)
	return fields && fields.reduce((sum, field) => sum + Number(field), 0) / ticksPerSecond
}

const nalCodecs: ReadonlyMap<unknown, NalCodec> = new Map([
	['video/x-h264', 'H264'],
	['video/x-h265', 'H265']
])
const codecNames: ReadonlyMap<unknown, string> = new Map([
	['H264', 'H.264'],
	['H265', 'H.265']
])

function report(
	shown: Played,
	{codec, caps, frames, endMs, opened, bFrames}: Played
): [string, string][] {
	const {width, height} =
		Number(caps['width']) > 0 && Number(caps['height']) > 0 ? caps : shown.caps
	const traits = [
		['profile', caps['profile']],
		['level', caps['level']]
	].flatMap(([name, value]) => (typeof value === 'string' ? [`${String(name)} ${value}`] : []))
	const name = codec ?? caps['name']
	const rate = framesPerSecond(frames)
	return [
		['codec', [codecNames.get(name) ?? String(name), ...traits].join(', ')],
		['size', `${String(width)}x${String(height)}`],
		[
			'rate',
			rate === undefined
				? `fewer than 2 frames in ${playMs / 1000} s`
				: `${rate.toFixed(1)} frames/s, ${((rate * meanBytes(frames) * 8) / 1e6).toFixed(1)} Mbit/s, longest gap ${longestGapMs(frames, endMs).toFixed(0)} ms`
		],
		[
			'B-frames',
			bFrames === false || codec === 'JPEG'
				? 'no'
				: bFrames
					? 'yes: the camera sends frames late, to code them in another order'
					: 'not known for this codec'
		],
		...(opened ? frameSizes(frames, rate) : [['frames', sizes(frames)] as [string, string]]),
		['first picture', `after ${(shown.firstFrameMs / 1000).toFixed(2)} s with ${template}.gst`],
		[
			'CPU',
			shown.cores === undefined
				? 'not known on this system'
				: `${(shown.cores * 100).toFixed(0)} % of one core with ${template}.gst, for ${framesPerSecond(shown.frames)?.toFixed(1) ?? 'fewer than 1'} pictures/s`
		]
	]
}

function afterBurst(frames: readonly Seen[]): readonly Seen[] {
	return frames.filter(({timeMs}) => timeMs - (frames[0]?.timeMs ?? 0) >= burstMs)
}

/** Between frames, and behind the last: a camera that falls silent shows by it. */
function longestGapMs(frames: readonly Seen[], endMs: number): number {
	const times = [...afterBurst(frames).map(({timeMs}) => timeMs), endMs]
	return times
		.slice(1)
		.reduce((longest, timeMs, index) => Math.max(longest, timeMs - (times[index] ?? timeMs)), 0)
}

/** Undefined where two frames are not there to tell. */
function framesPerSecond(frames: readonly Seen[]): number | undefined {
	const steady = afterBurst(frames)
	const [first, last] = [steady[0], steady.at(-1)]
	return first && last && last !== first
		? ((steady.length - 1) * 1000) / (last.timeMs - first.timeMs)
		: undefined
}

function meanBytes(frames: readonly Seen[]): number {
	return frames.reduce((sum, {bytes}) => sum + bytes, 0) / frames.length
}

/** Key frames apart from the others, for they are many times as large. */
function frameSizes(frames: readonly Seen[], rate: number | undefined): [string, string][] {
	const keys = frames.flatMap(({keyFrame}, index) => (keyFrame ? [index] : []))
	const [first = 0, last = 0] = [keys[0], keys.at(-1)]
	const interval = (last - first) / (keys.length - 1)
	const often =
		keys.length === 0
			? `none in ${playMs / 1000} s`
			: keys.length === 1
				? `one in ${playMs / 1000} s`
				: `every ${Number(interval.toFixed(1))} frames${rate === undefined ? '' : ` (${(interval / rate).toFixed(1)} s)`}`
	return [
		[
			'key frames',
			[often, sizes(frames.filter(({keyFrame}) => keyFrame))].filter(text => text !== '').join(', ')
		],
		['other frames', sizes(frames.filter(({keyFrame}) => !keyFrame)) || 'none']
	]
}

/** "median 17.2 kB, largest 24.0 kB"; empty of no frames. */
function sizes(frames: readonly Seen[]): string {
	const sorted = frames.map(({bytes}) => bytes).sort((a, b) => a - b)
	const [median, largest] = [sorted[Math.floor(sorted.length / 2)], sorted.at(-1)]
	return median === undefined || largest === undefined
		? ''
		: `median ${kilobytes(median)}, largest ${kilobytes(largest)}`
}

function kilobytes(bytes: number): string {
	return `${(bytes / 1000).toFixed(1)} kB`
}
