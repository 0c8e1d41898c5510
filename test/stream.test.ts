import {once} from 'node:events'
import {existsSync, readdirSync, readFileSync} from 'node:fs'
import {copyFile, mkdtemp, readFile, writeFile} from 'node:fs/promises'
import http from 'node:http'
import type {Socket} from 'node:net'
import {tmpdir} from 'node:os'
import path from 'node:path'
import process from 'node:process'
import {setTimeout as delay} from 'node:timers/promises'
import test, {type ExecutionContext} from 'ava'
import {pino} from 'pino'
import {parseCameraSource} from '../dist/camera-source.js'
import {CameraMemory} from '../dist/camera-memory.js'
import type {SluiceError} from '../dist/errors.js'
import {isKeyFrame} from '../dist/h264.js'
import type {Frame} from '../dist/stream.js'
import type {Stream, Subscriber} from '../dist/stream.js'
import type {StreamRequest} from '../dist/stream-request.js'
import {Streams} from '../dist/streams.js'
import {WorkerPool} from '../dist/worker-pool.js'
import {jpegSize} from './jpeg.js'
import {countable, megabytesOf} from './memory.js'
import {type Camera, childrenOf, type Line, type Sluice, startCamera, startSluice} from './processes.js'
import {type TestViewer, onlySpare, until, view} from './viewer.js'

const small = ['--width', '320', '--height', '180', '--fps', '15']

// First, streams by themselves, whose workers follow a script instead of a camera: see test/workers/scripted.mjs.

/** What one worker does: a letter for each frame, K for a key frame, … for key frames without end; and how it ends. */
interface Attempt {
	frames?: string
	everyMs?: number
	/** How long it takes to its first frame. */
	afterMs?: number
	/** Of each frame. */
	bytes?: number
	codec?: string | string[]
	end?: 'eos' | 'refused' | 'unauthorized' | 'broken' | 'crash'
	/** Only SIGKILL ends it. */
	deaf?: boolean
}

interface Script {
	request: StreamRequest
	/** What its workers have noted. */
	notes: () => Line[]
}

/** A request whose first worker follows the first of the attempts, and so on. */
async function script(attempts: Attempt[], facts: Partial<StreamRequest> = {}): Promise<Script> {
	const file = path.join(await mkdtemp(path.join(tmpdir(), 'sluice-')), 'notes')
	const launch = JSON.stringify({file, attempts})
	const notes = () => (existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').map(line => JSON.parse(line) as Line) : [])
	const plain = {template: 'jpeg', launch, rank: 0, codecs: undefined}
	return {request: {source: parseCameraSource('rtsp://127.0.0.1:1/'), plain, variants: [], images: true, adaptive: [], key: launch, ...facts}, notes}
}

interface Limits {
	share?: boolean
	lingerMs?: number
	retryForMs?: number
	openTimeoutMs?: number
	maxPipelines?: number
}

function startStreams(t: ExecutionContext, {share = false, lingerMs = 0, retryForMs = 20_000, openTimeoutMs = 10_000, maxPipelines = 8}: Limits = {}) {
	const lines: Line[] = []
	const log = pino({level: 'debug'}, {write: (line: string) => { lines.push(JSON.parse(line) as Line) }})
	const pool = new WorkerPool({path: 'test/workers/scripted.mjs', maxPipelines, log})
	const passedOver: string[] = []
	const onVariantFailed = (template: string) => { passedOver.push(template) }
	const streams = new Streams({context: {pool, codecs: new CameraMemory(), ranges: new CameraMemory(), onVariantFailed, openTimeoutMs, frameTimeoutMs: 10_000}, share, lingerMs, retryForMs, log})
	t.teardown(async () => {
		await streams.close()
		await pool.close()
	})
	const retries = () => lines.filter(({msg}) => msg === 'retrying')
	const attach = ({request}: Script, watcher: Subscriber) => streams.attach(request, watcher, log)
	return {streams, pool, lines, retries, attach, passedOver}
}

/** A subscriber that remembers. */
class Watcher implements Subscriber {
	frames: Frame[] = []
	failures: SluiceError[] = []
	failedAfterMs = 0
	#startedMs = performance.now()

	onFrame(frame: Frame): void {
		this.frames.push(frame)
	}

	onFailure(error: SluiceError): void {
		this.failures.push(error)
		this.failedAfterMs = performance.now() - this.#startedMs
	}

	/** Which frames they were: "1.0" is the first of the second worker. */
	get names(): string[] {
		return this.frames.map(({data}) => {
			const {attempt, index} = JSON.parse(Buffer.from(data).toString()) as {attempt: number; index: number}
			return `${attempt}.${index}`
		})
	}

	async got(count: number, timeoutMs = 30_000): Promise<void> {
		await until(() => this.frames.length >= count, timeoutMs, `${count} frames`)
	}

	async failed(timeoutMs = 20_000): Promise<SluiceError> {
		await until(() => this.failures.length > 0, timeoutMs, 'the failure')
		const [error] = this.failures
		if (!error) throw new Error('no failure')
		return error
	}
}

test.serial('a camera that refuses the connection late is told as one that does so at once', async t => {
	const {attach} = startStreams(t, {retryForMs: 0})
	const watcher = new Watcher()
	attach(await script([{afterMs: 1200, end: 'refused'}]), watcher)
	t.is((await watcher.failed()).detail, '127.0.0.1:1 refused the connection; is the port right?')
})

test.serial('a subscriber may leave inside its own onFrame and onFailure, and others come inside: each frame comes once, each failure once', async t => {
	const {attach} = startStreams(t, {share: true, lingerMs: 100})
	const played = await script([{frames: 'KKKKKKKKKK', everyMs: 20, end: 'unauthorized'}])
	const once = new Watcher()
	const guest = new Watcher()
	const others = [new Watcher(), new Watcher(), new Watcher()] as const
	const [first, second, third] = others
	const stream = attach(played, once)
	once.onFrame = frame => {
		once.frames.push(frame)
		stream.detach(once)
		attach(played, guest)
	}
	for (const watcher of others) attach(played, watcher)
	// The failure of one takes another along, which then must not be told any more.
	second.onFailure = error => {
		second.failures.push(error)
		stream.detach(second)
		stream.detach(third)
	}
	await second.failed()
	t.deepEqual(once.names, ['0.0'])
	t.deepEqual(once.failures, [])
	for (const watcher of [guest, ...others]) t.deepEqual(watcher.names, Array.from({length: 10}, (_, index) => `0.${index}`))
	t.is(first.failures.length, 1)
	t.is(second.failures.length, 1)
	t.is(third.failures.length, 0)
	await stream.ended
})

test.serial('who leaves at the first of the frames that were kept gets no other', async t => {
	const {attach} = startStreams(t, {share: true})
	const played = await script([{frames: 'Kppppppppppppppppppp', everyMs: 1}], {images: false})
	const early = new Watcher()
	const stream = attach(played, early)
	await early.got(20)
	const late = new Watcher()
	late.onFrame = frame => {
		late.frames.push(frame)
		stream.detach(late)
	}
	attach(played, late)
	t.deepEqual(late.names, ['0.0'])
})

test.serial('a first attempt that fails tells everyone who waits, once; whoever comes then starts another', async t => {
	const {streams, attach, pool} = startStreams(t, {share: true, lingerMs: 5000})
	const played = await script([{afterMs: 300, end: 'unauthorized'}, {frames: 'K…'}])
	const waiting = [new Watcher(), new Watcher(), new Watcher()]
	const again = new Watcher()
	let stream: Stream | undefined
	for (const watcher of waiting) stream = attach(played, watcher)
	const [, second = again] = waiting
	second.onFailure = error => {
		second.failures.push(error)
		attach(played, again)
	}
	await again.got(3)
	for (const {failures} of waiting) t.deepEqual(failures.map(({code}) => code), ['camera_unauthorized'])
	t.deepEqual(again.failures, [])
	await stream?.ended
	t.is(streams.all.size, 1)
	t.is(pool.running, 1)
	t.is(played.notes().filter(({event}) => event === 'start').length, 2)
})

test.serial('pauses grow and vary, up to the limit; then the last reason is told', async t => {
	const {attach, retries, pool} = startStreams(t, {retryForMs: 7000})
	const played = await script([{frames: 'KKK', end: 'eos'}, {end: 'refused'}])
	const watcher = new Watcher()
	const stream = attach(played, watcher)
	await watcher.got(3)
	const lostMs = performance.now()
	const error = await watcher.failed()
	const lastedMs = performance.now() - lostMs
	t.is(error.code, 'camera_lost')
	t.is(error.detail, 'tried again for 7 s: 127.0.0.1:1 refused the connection; is the port right?')
	t.true(lastedMs > 6000 && lastedMs < 9000, `${lastedMs} ms`)
	const pauses = retries().map(({pauseMs}) => Number(pauseMs))
	for (const [index, low] of [375, 750, 1500].entries()) t.true((pauses[index] ?? 0) >= low && (pauses[index] ?? 0) <= low * 5 / 3 + 1, pauses.join())
	t.true(pauses.length <= 8, pauses.join())
	t.deepEqual(retries().slice(0, 2).map(({code}) => code), ['camera_lost', 'camera_unreachable'])
	await stream.ended
	t.is(pool.running, 0)
})

test.serial('--retry-for 0 ends at once, with the reason as it is', async t => {
	const {attach, retries} = startStreams(t, {retryForMs: 0})
	const watcher = new Watcher()
	attach(await script([{frames: 'KKK', end: 'eos'}]), watcher)
	const error = await watcher.failed()
	t.is(error.code, 'camera_lost')
	t.is(error.detail, 'the camera ended the stream')
	t.deepEqual(retries(), [])
})

test.serial('a camera that refuses the password when it is back ends the stream at once', async t => {
	const {attach, retries} = startStreams(t)
	const watcher = new Watcher()
	attach(await script([{frames: 'KKK', end: 'eos'}, {end: 'refused'}, {end: 'unauthorized'}, {frames: 'K…'}]), watcher)
	t.is((await watcher.failed()).code, 'camera_unauthorized')
	t.is(watcher.failures.length, 1)
	t.is(retries().length, 2)
})

test.serial('a worker that crashes after its first frame, always, ends with pipeline_failed, and without a tight loop', async t => {
	const {attach, pool} = startStreams(t, {retryForMs: 3000})
	const played = await script([{frames: 'K', end: 'crash'}])
	const watcher = new Watcher()
	const stream = attach(played, watcher)
	const error = await watcher.failed()
	t.is(error.code, 'pipeline_failed')
	t.is(error.detail, 'tried again for 3 s: the worker died: SIGSEGV')
	const starts = played.notes().filter(({event}) => event === 'start').length
	t.true(starts >= 3 && starts <= 7, `${starts} workers`)
	// Each frame of a worker that crashed has come. The last worker may be ended by the time that runs out, with its frame or before it.
	const crashes = played.notes().filter(({event}) => event === 'crash').length
	t.true(crashes >= starts - 1, `${crashes} crashes of ${starts} workers`)
	t.true(watcher.frames.length >= crashes && watcher.frames.length <= starts, `${watcher.frames.length} frames, ${crashes} crashes, ${starts} workers`)
	t.deepEqual(watcher.names, watcher.frames.map((_, attempt) => `${attempt}.0`))
	// Viewers count on.
	t.deepEqual(watcher.frames.map(({sequence}) => sequence), watcher.frames.map((_, index) => index))
	await stream.ended
	t.is(pool.running, 0)
})

test.serial('the old worker\'s place is the new one\'s, also where it ends late: nothing is lost to the limit on pipelines', async t => {
	const {attach, retries} = startStreams(t, {maxPipelines: 1})
	const played = await script([{frames: 'KKK', end: 'eos', deaf: true}, {frames: 'K…'}])
	const watcher = new Watcher()
	attach(played, watcher)
	await watcher.got(6)
	t.deepEqual(retries().map(({code}) => code), ['camera_lost'])
	// Half a second's pause is shorter than the 800 ms that a deaf worker lives.
	const [first, second] = played.notes().filter(({event}) => event === 'start')
	t.true(Number(second?.['timeMs']) - Number(first?.['timeMs']) > 700)
})

test.serial('a place that somebody else has taken while the camera was away: over_capacity, when the retries run out', async t => {
	const {attach} = startStreams(t, {maxPipelines: 1, retryForMs: 2000})
	const watcher = new Watcher()
	attach(await script([{frames: 'K', end: 'eos'}, {frames: 'K…'}]), watcher)
	await watcher.got(1)
	const other = new Watcher()
	const second = await script([{frames: 'K…'}])
	await until(() => {
		try {
			attach(second, other)
			return true
		} catch {
			return false
		}
	}, 3000, 'the place is free for a moment')
	const error = await watcher.failed()
	t.is(error.code, 'over_capacity')
	t.is(error.detail, 'tried again for 2 s: 1 pipelines run already; --max-pipelines allows no more')
	await other.got(5)
	t.deepEqual(other.failures, [])
})

test.serial('whoever comes while a lost camera is tried again hears of it within --open-timeout; who was there waits on', async t => {
	const {attach, streams, lines} = startStreams(t, {share: true, lingerMs: 5000, openTimeoutMs: 3000})
	const played = await script([{frames: 'KKK', end: 'eos'}, {end: 'refused'}, {end: 'refused'}, {end: 'refused'}, {frames: 'K…', afterMs: 100}])
	const early = new Watcher()
	const stream = attach(played, early)
	await until(() => stream.state === 'retrying', 5000, 'the camera is lost')
	const late = new Watcher()
	t.is(attach(played, late), stream)
	const leaving = new Watcher()
	attach(played, leaving)
	stream.detach(leaving)
	const error = await late.failed()
	t.is(error.code, 'camera_unreachable')
	t.is(error.detail, '127.0.0.1:1 refused the connection; is the port right?')
	t.true(late.failedAfterMs > 2900 && late.failedAfterMs < 6000, `${late.failedAfterMs} ms`)
	t.is(stream.state, 'retrying')
	await until(() => lines.filter(({msg}) => msg === 'opening').length === 5, 30_000, 'the next try')
	const last = new Watcher()
	attach(played, last)
	await Promise.all([early.got(6), last.got(3)])
	t.is(early.names[3], '4.0')
	t.is(last.names[0], '4.0')
	for (const {failures} of [early, last, leaving]) t.deepEqual(failures, [])
	t.is(late.failures.length, 1)
	t.deepEqual(late.frames, [])
	t.is(streams.all.size, 1)
})

test.serial('a lost camera is not tried again for nobody', async t => {
	const {attach, streams, retries} = startStreams(t, {share: true, lingerMs: 60_000})
	// The last viewer leaves while the camera is tried again; and before it is lost.
	const first = new Watcher()
	const one = await script([{frames: 'KKK', end: 'eos'}, {end: 'refused'}])
	const retrying = attach(one, first)
	await until(() => retrying.state === 'retrying', 5000, 'the camera is lost')
	retrying.detach(first)
	await retrying.ended
	t.is(retries().length, 1)
	const second = new Watcher()
	const other = await script([{frames: 'KKKKKKKKKK', everyMs: 50, end: 'eos'}])
	const lingering = attach(other, second)
	await second.got(1)
	lingering.detach(second)
	t.is(lingering.state, 'playing')
	await lingering.ended
	t.is(retries().length, 1)
	t.is(streams.all.size, 0)
})

test.serial('coded video begins with a key frame, and again so after each restart', async t => {
	const {attach} = startStreams(t, {share: true})
	const watcher = new Watcher()
	const played = await script([{frames: 'ppKpp', end: 'eos'}, {frames: 'pppKpK', end: 'crash'}, {frames: 'pK…'}], {images: false})
	attach(played, watcher)
	await watcher.got(8)
	t.deepEqual(watcher.names.slice(0, 8), ['0.2', '0.3', '0.4', '1.3', '1.4', '1.5', '2.1', '2.2'])
	t.deepEqual(watcher.frames.slice(0, 8).map(({sequence}) => sequence), [0, 1, 2, 3, 4, 5, 6, 7])
})

test.serial('of coded video the frames since the last key frame are kept for late viewers, and never only some of them', async t => {
	const {attach} = startStreams(t, {share: true})
	const group = `K${'p'.repeat(39)}`
	const played = await script([{frames: `${group}${group}pppp`, everyMs: 2}], {images: false})
	const early = new Watcher()
	attach(played, early)
	await early.got(84)
	const late = new Watcher()
	attach(played, late)
	t.deepEqual(late.names, early.names.slice(40))
	t.deepEqual(late.frames.map(({sequence}) => sequence), early.frames.slice(40).map(({sequence}) => sequence))
	// Six megabytes are kept at most.
	const large = await script([{frames: `Kppppp${'p'.repeat(14)}Kpp`, bytes: 1024 * 1024, everyMs: 100}], {images: false})
	const whole = new Watcher()
	attach(large, whole)
	await whole.got(4)
	const some = new Watcher()
	attach(large, some)
	t.true(some.names.length >= 4)
	t.is(some.names[0], '0.0')
	await whole.got(10)
	const none = new Watcher()
	attach(large, none)
	t.is(none.names.length, 0)
	await whole.got(23)
	const next = new Watcher()
	attach(large, next)
	t.deepEqual(next.names, ['0.20', '0.21', '0.22'])
})

test.serial('what set() has changed holds for the pipeline that follows', async t => {
	const {attach} = startStreams(t)
	const played = await script([{frames: 'KKKKKKKK', everyMs: 50, end: 'eos'}, {frames: 'K…'}])
	const watcher = new Watcher()
	const stream = attach(played, watcher)
	await watcher.got(1)
	stream.set('encoder', 'quality', 60)
	stream.set('encoder', 'quality', 40)
	stream.set('rate', 'max-rate', 10)
	const sets = () => played.notes().filter(({event}) => event === 'set').map(({attempt, property, value}) => [attempt, property, value])
	await until(() => sets().length >= 5, 5000, 'the properties are set again')
	t.deepEqual(sets(), [[0, 'encoder.quality', 60], [0, 'encoder.quality', 40], [0, 'rate.max-rate', 10], [1, 'encoder.quality', 40], [1, 'rate.max-rate', 10]])
})

test.serial('close() that races with a failure is silent and complete', async t => {
	const {streams, attach, pool} = startStreams(t, {share: true, lingerMs: 1000})
	const attempts: Attempt[] = [{frames: 'K', end: 'crash'}, {frames: 'K', end: 'eos'}]
	for (let round = 0; round < 12; round++) {
		const played = await script([attempts[round % 2] ?? {}, {afterMs: 5, frames: 'K', end: 'eos'}])
		const watcher = new Watcher()
		const stream = attach(played, watcher)
		await watcher.got(1)
		// From the frame to the failure, into the pause, and into the next attempt.
		await delay(round < 8 ? round * 2 : 400 + round * 20)
		const failuresBefore = watcher.failures.length
		await Promise.all([stream.close(), stream.close(), stream.ended])
		t.is(stream.state, 'closed')
		t.is(failuresBefore, 0)
		t.deepEqual(watcher.failures, [])
		t.is(pool.running, 0)
		t.is(streams.all.size, 0)
	}
})

test.serial('where all pipelines run, one that nobody watches, or that ends already, makes room', async t => {
	const {streams, attach, pool} = startStreams(t, {share: true, lingerMs: 60_000, maxPipelines: 1})
	const watchers = [new Watcher(), new Watcher(), new Watcher()] as const
	const scripts = await Promise.all(watchers.map(async () => script([{frames: 'K…', deaf: true}])))
	const [one, two, three] = scripts as [Script, Script, Script]
	const first = attach(one, watchers[0])
	await watchers[0].got(1)
	t.throws(() => attach(two, watchers[1]), {message: /over_capacity/})
	first.detach(watchers[0])
	t.is(first.state, 'playing')
	const second = attach(two, watchers[1])
	t.is(first.state, 'closed')
	// The place is promised: nobody else is put off with it.
	t.throws(() => attach(three, watchers[2]), {message: /over_capacity/})
	await watchers[1].got(3)
	void second.close()
	const third = attach(three, watchers[2])
	// Who leaves before the place is free starts nothing.
	third.detach(watchers[2])
	await third.close()
	await until(() => streams.all.size === 0, 3000, 'every stream has ended')
	t.is(pool.running, 0)
	t.deepEqual(three.notes(), [])
})

test.serial('a server that shuts down starts no stream any more', async t => {
	const {streams, attach} = startStreams(t)
	await streams.close()
	const played = await script([{frames: 'K…'}])
	t.throws(() => attach(played, new Watcher()), {message: /shutting_down/})
})

test.serial('an edited variant is another stream, as an edited template is; one that came or went is not', async t => {
	const {attach, streams} = startStreams(t, {share: true})
	const variant = (template: string, launch: string) => ({template, launch, rank: 100, codecs: ['H264']})
	const played = await script([{frames: 'K…'}])
	const request = (...variants: StreamRequest['variants']): Script => ({...played, request: {...played.request, variants}})
	const first = attach(request(variant('jpeg.va', 'one')), new Watcher())
	t.is(attach(request(), new Watcher()), first)
	t.is(attach(request(variant('jpeg.qsv', 'one'), variant('jpeg.va', 'one')), new Watcher()), first)
	const edited = attach(request(variant('jpeg.va', 'two')), new Watcher())
	t.not(edited, first)
	t.is(attach(request(variant('jpeg.va', 'two')), new Watcher()), edited)
	await first.close()
	t.is(attach(request(variant('jpeg.va', 'two')), new Watcher()), edited)
	t.is(streams.all.size, 1)
})

test.serial('coded video without a key frame fails by the time-out, for the first viewer and for a late one whose group is not kept', async t => {
	const {attach} = startStreams(t, {openTimeoutMs: 800, retryForMs: 0, share: true})
	const first = new Watcher()
	attach(await script([{frames: 'd'.repeat(2000)}]), first)
	const {code, detail} = await first.failed()
	t.is(code, 'camera_timeout')
	t.regex(detail, /^no key frame, and \d+ others, within 0\.8 s$/)
	const long = await script([{frames: `K${'d'.repeat(2000)}`, bytes: 1_000_000}])
	const early = new Watcher()
	attach(long, early)
	await early.got(10)
	const late = new Watcher()
	attach(long, late)
	t.is((await late.failed()).code, 'camera_timeout')
	t.deepEqual(early.failures, [])
})

test.serial('a variant that fails gives its place to the next, also where only one pipeline may run', async t => {
	const {attach, passedOver, lines} = startStreams(t, {maxPipelines: 1, retryForMs: 0})
	// The codec is learnt from the plain variant first.
	const learnt = new Watcher()
	const learning = attach(await script([{frames: 'K…', codec: 'H264'}]), learnt)
	await learnt.got(1)
	await learning.close()
	const broken = await script([{end: 'broken', deaf: true}])
	const plain = await script([{frames: 'K…', codec: 'H264'}])
	const variants = [{template: 'jpeg.broken', launch: broken.request.plain.launch, rank: 100, codecs: ['H264']}]
	const watcher = new Watcher()
	attach({...plain, request: {...plain.request, variants}}, watcher)
	await watcher.got(3)
	t.deepEqual(passedOver, ['jpeg.broken'])
	t.deepEqual(lines.filter(({msg}) => msg === 'opening').map(({template}) => template), ['jpeg', 'jpeg.broken', 'jpeg'])
	t.deepEqual(watcher.failures, [])
})

test.serial('a worker that tells one codec after the other starts one variant, and leaves nothing', async t => {
	const {attach, lines, pool} = startStreams(t, {retryForMs: 0})
	const [one, other] = [await script([{afterMs: 200, frames: 'K…'}]), await script([{frames: 'K…'}])]
	const plain = await script([{frames: 'K…', codec: ['H264', 'JPEG', 'H264']}])
	const variants = [
		{template: 'jpeg.one', launch: one.request.plain.launch, rank: 100, codecs: ['H264']},
		{template: 'jpeg.other', launch: other.request.plain.launch, rank: 100, codecs: ['JPEG']}
	]
	const watcher = new Watcher()
	const stream = attach({...plain, request: {...plain.request, variants}}, watcher)
	await until(() => one.notes().length > 0 && pool.running === 1, 5000, 'the variant plays alone')
	t.deepEqual(lines.filter(({msg}) => msg === 'opening').map(({template}) => template), ['jpeg', 'jpeg.one'])
	await stream.close()
	t.is(pool.running, 0)
})

test.serial('a variant that hangs costs one viewer one attempt, not every viewer the camera', async t => {
	const {attach, passedOver} = startStreams(t, {openTimeoutMs: 3000, retryForMs: 0})
	const hanging = await script([{}])
	const plain = await script([{frames: 'K…', codec: 'H264'}])
	const variants = [{template: 'jpeg.hangs', launch: hanging.request.plain.launch, rank: 100, codecs: ['H264']}]
	const played = {...plain, request: {...plain.request, variants}}
	// While the plain variant plays beside it, it is clear who is to blame.
	const first = new Watcher()
	const stream = attach(played, first)
	await until(() => passedOver.length > 0, 20_000, 'the variant is passed over')
	t.deepEqual(passedOver, ['jpeg.hangs'])
	t.deepEqual(first.failures, [])
	await stream.close()
	// With the codec known, it starts first and nothing comes; the next viewer begins with the plain one again.
	const second = new Watcher()
	attach(played, second)
	t.is((await second.failed()).code, 'camera_timeout')
	const third = new Watcher()
	attach(played, third)
	await third.got(3)
	t.deepEqual(third.failures, [])
})

test.serial('where a camera gives its one session to a variant that fails, the plain one takes over again, and the variant is not tried twice', async t => {
	const {attach, passedOver, retries, lines} = startStreams(t)
	const broken = await script([{afterMs: 400, end: 'broken'}])
	const plain = await script([{frames: 'K'.repeat(20), everyMs: 10, codec: 'H264', end: 'eos'}, {frames: 'KKKK', codec: 'H264', end: 'eos'}, {frames: 'K…'}])
	const variants = [{template: 'jpeg.broken', launch: broken.request.plain.launch, rank: 100, codecs: ['H264']}]
	const watcher = new Watcher()
	attach({...plain, request: {...plain.request, variants}}, watcher)
	await watcher.got(27)
	t.deepEqual(passedOver, ['jpeg.broken'])
	t.is(retries().length, 1)
	t.deepEqual(lines.filter(({msg}) => msg === 'opening').map(({template}) => template), ['jpeg', 'jpeg.broken', 'jpeg', 'jpeg'])
	t.deepEqual([watcher.names[20], watcher.names[24]], ['1.0', '2.0'])
})

test('the pauses begin anew only after 10 s of playing, and so does the time that is left', async t => {
	t.timeout(60_000)
	const {attach, retries} = startStreams(t, {retryForMs: 15_000})
	const long = 'K'.repeat(120)
	const played = await script([{frames: 'K', end: 'eos'}, {frames: 'K', end: 'eos'}, {frames: long, everyMs: 100, end: 'eos'}, {frames: 'K…'}])
	const watcher = new Watcher()
	attach(played, watcher)
	await watcher.got(125, 40_000)
	const pauses = retries().map(({pauseMs}) => Number(pauseMs))
	t.is(pauses.length, 3)
	t.true((pauses[1] ?? 0) >= 750, pauses.join())
	t.true((pauses[2] ?? Infinity) <= 626, pauses.join())
	t.deepEqual(watcher.failures, [])
})

// Then the real server with real cameras.

/** Without variants: no checks of theirs among the workers, and no better one that follows the first. */
async function plainTemplates(): Promise<string> {
	const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
	for (const name of ['jpeg.gst', 'h264.gst']) await copyFile(path.join('pipelines', name), path.join(directory, name))
	return directory
}

async function startPlainSluice(t: ExecutionContext, flags: string[], env: NodeJS.ProcessEnv = {}): Promise<Sluice> {
	return startSluice(t, ['--pipelines', await plainTemplates(), ...flags], env)
}

/** The process ids of a server's workers, the spare among them. */
function workersOf({pid}: Sluice): number[] {
	return childrenOf(pid)
}

function ended(pid: number): boolean {
	return !existsSync(`/proc/${pid}/stat`)
}

const count = ({lines}: {lines: Line[]}, event: string) => lines.filter(line => line['event'] === event).length
const messages = ({lines}: Sluice, msg: string) => lines.filter(line => line['msg'] === msg)

/** Sessions that the camera plays. It prints nothing for a client that never asked it to play. */
const sessions = (camera: Camera) => count(camera, 'connected') - count(camera, 'closed')

async function restartCamera(t: ExecutionContext, {port}: Camera, flags: string[]): Promise<Camera> {
	return startCamera(t, [...flags, '--port', String(port)])
}

async function kill({child, exit}: Camera): Promise<void> {
	child.kill('SIGKILL')
	await exit
}

test.serial('--share: one session and one worker for the same camera, template and parameters; else one each', async t => {
	const camera = await startCamera(t, small)
	const sluice = await startPlainSluice(t, ['--share'])
	const rtsp_url = camera.url('/h264')
	/** How many sessions there are when this viewer has its picture as well. */
	const plays = async (query: Record<string, string>) => {
		await view(t, sluice.stream(query)).received(2)
		return count(camera, 'play')
	}
	t.is(await plays({rtsp_url}), 1)
	t.is(await plays({rtsp_url}), 1)
	t.is(messages(sluice, 'opening').length, 1)
	await until(() => workersOf(sluice).length === 2, 5000, 'one worker and the spare')
	t.is(await plays({rtsp_url, quality: '50'}), 2)
	t.is(await plays({rtsp_url, quality: '50', max_fps: '10'}), 3)
	// What is the same in other words is the same: the order, a default that is given, a number written otherwise.
	t.is(await plays({max_fps: '10', quality: '50', rtsp_url}), 3)
	t.is(await plays({rtsp_url, quality: '80', pipeline: 'jpeg', transport: 'tcp'}), 3)
	t.is(await plays({rtsp_url, quality: '050'}), 3)
	t.is(await plays({rtsp_url, pipeline: 'h264'}), 4)
	await until(() => workersOf(sluice).length === 5, 5000, 'four workers and the spare')
	// Each time with other credentials, right ones or wrong ones: the camera is asked itself.
	const secret = (credentials: string) => ({rtsp_url: camera.url('/secret', credentials)})
	t.is(await plays(secret('demo:secret')), 5)
	t.is(await plays(secret('demo:secret')), 5)
	for (const credentials of ['demo:wrong', 'other:secret', 'demo:']) t.is((await view(t, sluice.stream(secret(credentials))).closed).error?.['code'], 'camera_unauthorized')
	t.is((await view(t, sluice.stream({rtsp_url: camera.url('/secret')})).closed).error?.['code'], 'camera_unauthorized')
	t.is(count(camera, 'play'), 5)
	await view(t, sluice.stream({rtsp_url: camera.url('/h264', 'demo:secret')})).received(1)
	t.is(count(camera, 'play'), 6)
})

test.serial('without --share each viewer has a session and a worker of its own, that end with it', async t => {
	const camera = await startCamera(t, small)
	const sluice = await startPlainSluice(t, ['--linger', '60'])
	const url = sluice.stream({rtsp_url: camera.url('/h264')})
	const viewers = [view(t, url), view(t, url)] as const
	await Promise.all(viewers.map(async viewer => viewer.received(2)))
	t.is(count(camera, 'play'), 2)
	await until(() => workersOf(sluice).length === 3, 5000, 'two workers and the spare')
	viewers[0].socket.close()
	await until(() => sessions(camera) === 1 && workersOf(sluice).length === 2, 2000, 'its worker ends')
	await viewers[1].received(viewers[1].frames.length + 10)
})

test.serial('a template that is edited while a shared stream runs serves the next viewer; the others keep theirs', async t => {
	const directory = await plainTemplates()
	const camera = await startCamera(t, small)
	const sluice = await startSluice(t, ['--pipelines', directory, '--share'])
	const url = sluice.stream({rtsp_url: camera.url('/h264')})
	const old = view(t, url)
	await old.received(2)
	const file = path.join(directory, 'jpeg.gst')
	await writeFile(file, (await readFile(file, 'utf8')).replace('max_width=16384', 'max_width=160'))
	const fresh = view(t, url)
	await fresh.received(2)
	t.is(jpegSize(fresh.frames[0])?.width, 160)
	const before = old.frames.length
	await old.received(before + 5)
	t.is(jpegSize(old.frames[before + 4])?.width, 320)
	const another = view(t, url)
	await another.received(2)
	t.is(jpegSize(another.frames[0])?.width, 160)
	t.is(count(camera, 'play'), 2)
})

test.serial('a late viewer has its first picture at once, also where the camera is silent just then', async t => {
	const camera = await startCamera(t, small)
	const sluice = await startPlainSluice(t, ['--share', '--frame-timeout', '20'])
	const url = sluice.stream({rtsp_url: camera.url('/h264')})
	const early = view(t, url)
	await early.received(5)
	camera.child.kill('SIGSTOP')
	// Until what is on its way has come.
	let received = -1
	await until(async () => {
		const still = early.frames.length === received
		received = early.frames.length
		await delay(300)
		return still
	}, 10_000, 'nothing comes any more')
	const startedMs = performance.now()
	const late = view(t, url)
	await late.received(1)
	const tookMs = performance.now() - startedMs
	t.true(tookMs < 1500, `${tookMs} ms`)
	t.deepEqual(late.frames[0], early.frames.at(-1))
	const snapshot = await fetch(`${sluice.http}/snapshot.jpg?${new URLSearchParams({rtsp_url: camera.url('/h264'), max_age_ms: '60000'}).toString()}`)
	t.deepEqual(Buffer.from(await snapshot.arrayBuffer()), early.frames.at(-1))
	camera.child.kill('SIGCONT')
	await late.received(5)
	t.is(count(camera, 'play'), 1)
})

test.serial('a late viewer of coded video has the key frame and all that follows it, each byte and in order', async t => {
	const camera = await startCamera(t, ['--width', '320', '--height', '180', '--fps', '25', '--key-interval', '10'])
	const sluice = await startPlainSluice(t, ['--share'])
	const url = sluice.stream({rtsp_url: camera.url('/h264'), pipeline: 'h264'})
	const early = view(t, url)
	await early.received(75)
	const startedMs = performance.now()
	const late = view(t, url)
	await late.received(75)
	const tookMs = performance.now() - startedMs
	// Three seconds of video, and no three seconds.
	t.true(tookMs < 2000, `${tookMs} ms`)
	await late.received(150)
	const latest = view(t, url)
	await Promise.all([late.received(300), latest.received(300), early.received(310)])
	for (const viewer of [late, latest]) {
		t.true(isKeyFrame(viewer.frames[0] ?? Buffer.alloc(0)))
		const first = early.frames.findIndex(frame => frame.equals(viewer.frames[0] ?? Buffer.alloc(0)))
		t.is(first, 0)
		const wrong = viewer.frames.slice(0, 300).findIndex((frame, index) => !frame.equals(early.frames[index] ?? Buffer.alloc(0)))
		t.is(wrong, -1)
		t.is(viewer.texts.length, 1)
		t.deepEqual(viewer.texts, early.texts)
	}
	t.is(early.frames.filter(frame => isKeyFrame(frame)).length, 2)
	t.is(count(camera, 'play'), 1)
})

test.serial('after its last viewer a shared stream lives for --linger, and no longer; who comes back meanwhile has a picture at once', async t => {
	const camera = await startCamera(t, small)
	const sluice = await startPlainSluice(t, ['--share', '--linger', '3'])
	const url = sluice.stream({rtsp_url: camera.url('/h264')})
	const first = view(t, url)
	await first.received(3)
	first.socket.close()
	await first.closed
	await delay(1500)
	t.is(sessions(camera), 1)
	const startedMs = performance.now()
	const second = view(t, url)
	await second.received(1)
	t.true(performance.now() - startedMs < 1000)
	// The time before does not count any more.
	await second.received(30)
	second.socket.terminate()
	const leftMs = performance.now()
	await sluice.line(line => line['msg'] === 'viewer gone' && line['closeCode'] === 1006)
	await until(() => sessions(camera) === 0, 10_000, 'the session ends')
	const lingeredMs = performance.now() - leftMs
	t.true(lingeredMs > 2900 && lingeredMs < 5000, `${lingeredMs} ms`)
	t.is(count(camera, 'play'), 1)
	await until(() => workersOf(sluice).length === 1, 3000, 'the worker ends')
	await view(t, url).received(1)
	t.is(count(camera, 'play'), 2)
})

test.serial('--linger 0: a shared stream ends with its last viewer, and not before', async t => {
	const camera = await startCamera(t, small)
	const sluice = await startPlainSluice(t, ['--share', '--linger', '0'])
	const url = sluice.stream({rtsp_url: camera.url('/h264')})
	const [first, second] = [view(t, url), view(t, url)]
	await Promise.all([first.received(3), second.received(3)])
	first.socket.close()
	await first.closed
	await second.received(second.frames.length + 15)
	t.is(count(camera, 'teardown'), 0)
	second.socket.close()
	await until(() => sessions(camera) === 0, 1500, 'the session ends')
	await view(t, url).received(1)
	t.is(count(camera, 'play'), 2)
})

/** The TCP connection below a WebSocket. */
async function tcpOf({socket}: TestViewer): Promise<Socket> {
	const [{socket: tcp}] = await once(socket, 'upgrade') as [http.IncomingMessage]
	return tcp
}

for (const pipeline of ['jpeg', 'h264']) {
	test.serial(`${pipeline}: a viewer that reads nothing, one that floods and some that reset take nothing from the others`, async t => {
		const camera = await startCamera(t, ['--width', '640', '--height', '360', '--fps', '25'])
		const sluice = await startPlainSluice(t, ['--share'])
		const url = sluice.stream({rtsp_url: camera.url('/h264'), pipeline})
		const steady = view(t, url)
		await steady.received(25)
		let lastMs = performance.now()
		let longestGapMs = 0
		steady.socket.on('message', () => {
			longestGapMs = Math.max(longestGapMs, performance.now() - lastMs)
			lastMs = performance.now()
		})
		const silent = view(t, url)
		await silent.received(1)
		silent.socket.pause()
		const flooding = view(t, url)
		await flooding.received(1)
		const message = Buffer.alloc(1000)
		const flood = setInterval(() => {
			for (let index = 0; index < 50; index++) flooding.socket.send(message, () => undefined)
		}, 5)
		t.teardown(() => { clearInterval(flood) })
		const resetting = async () => {
			const viewer = view(t, url)
			const tcp = await tcpOf(viewer)
			await viewer.received(3)
			tcp.resetAndDestroy()
			await viewer.closed
		}
		const startedMs = performance.now()
		const before = steady.frames.length
		for (let round = 0; round < 3; round++) await Promise.all([resetting(), resetting()])
		await steady.received(before + 100)
		const fps = (steady.frames.length - before) * 1000 / (performance.now() - startedMs)
		t.true(fps > 20, `${fps} frames a second`)
		t.true(longestGapMs < 1000, `${longestGapMs} ms`)
		t.is((await flooding.closed).code, 1006)
		t.is(count(camera, 'play'), 1)
		t.deepEqual(messages(sluice, 'retrying'), [])
	})
}

/** A small generator of random numbers from 0 to 1, the same for the same seed: mulberry32. */
function seeded(seed: number): () => number {
	let state = seed
	return () => {
		state = (state + 0x6D2B79F5) | 0
		let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
		mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)
		return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
	}
}

test.serial('1,000 random joins and leaves leave no worker, no session, no descriptor and no memory behind', async t => {
	t.timeout(240_000)
	const tiny = ['--width', '176', '--height', '144', '--fps', '5']
	const cameras = await Promise.all([startCamera(t, tiny), startCamera(t, tiny)])
	const sluice = await startPlainSluice(t, ['--share', '--linger', '0.1', '--open-timeout', '60'], countable)
	// GStreamer's own server now and then hangs where one session ends while another begins: each camera keeps one all the time.
	const keeper = await startPlainSluice(t, [])
	await Promise.all(cameras.map(async camera => view(t, keeper.stream({rtsp_url: camera.url('/h264'), pipeline: 'h264'}), {keep: 0}).received(1)))
	const random = seeded(20_251)
	const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T
	const queries = cameras.flatMap(camera => [{}, {quality: '50'}, {pipeline: 'h264'}].map(query => ({rtsp_url: camera.url('/h264'), ...query})))
	const visitWebSocket = async (query: Record<string, string>, end: string, stayMs: number) => {
		const viewer = view(t, sluice.stream(query), {keep: 0})
		if (end === 'close after a picture') await viewer.received(1, 60_000)
		else if (end !== 'destroy in the handshake') await once(viewer.socket, 'open')
		else await delay(stayMs / 50)
		if (end === 'terminate' || end === 'close') await delay(stayMs)
		if (end.startsWith('close')) viewer.socket.close()
		else viewer.socket.terminate()
		await viewer.closed
	}
	const visitHttp = async (route: string, query: Record<string, string>, stayMs: number) => {
		const request = http.get(`${sluice.http}${route}?${new URLSearchParams(query).toString()}`, response => { response.on('error', () => undefined).resume() })
		const closed = new Promise(resolve => { request.on('error', () => undefined).once('close', resolve) })
		await delay(stayMs)
		request.destroy()
		await closed
	}
	const visit = async () => {
		const query = pick(queries)
		const stayMs = random() * 300
		const way = random()
		if (way < 0.1 && !('pipeline' in query)) await visitHttp(pick(['/stream.mjpeg', '/snapshot.jpg']), query, stayMs)
		else await visitWebSocket(query, pick(['close after a picture', 'close', 'terminate', 'destroy in the handshake']), stayMs)
	}
	const visits = async (total: number) => {
		let left = total
		await Promise.all(Array.from({length: 10}, async () => {
			while (left-- > 0) await visit()
		}))
		await onlySpare(sluice, 30_000)
		await until(() => cameras.every(camera => sessions(camera) === 1), 10_000, 'no camera has another session')
	}
	const descriptors = () => readdirSync(`/proc/${sluice.pid}/fd`).length
	await visits(150)
	const before = {descriptors: descriptors(), megabytes: await megabytesOf(sluice)}
	await visits(850)
	const after = await megabytesOf(sluice)
	t.log(`${before.descriptors} → ${descriptors()} descriptors, ${before.megabytes} → ${after} MB, ${messages(sluice, 'opening').length} pipelines`)
	await until(() => descriptors() <= before.descriptors, 10_000, `no more than ${before.descriptors} descriptors`)
	// 10 KB a visit would be the 8 MB.
	t.true(after < before.megabytes + 8, `${before.megabytes} → ${after} MB`)
	t.deepEqual(sluice.lines.filter(({level}) => level === 'error'), [])
	for (const query of queries) await view(t, sluice.stream(query)).received(3)
})

/** A viewer of /stream.mjpeg. */
function viewMjpeg(t: ExecutionContext, sluice: Sluice, query: Record<string, string>): {pictures: () => number; ended: Promise<void>} {
	let pictures = 0
	let end: () => void = () => undefined
	const closed = new Promise<void>(resolve => { end = resolve })
	const request = http.get(`${sluice.http}/stream.mjpeg?${new URLSearchParams(query).toString()}`, response => {
		// Each picture's header comes in one piece, as it was written.
		response.on('data', (chunk: Buffer) => { pictures += chunk.toString('latin1').split('Content-Length:').length - 1 })
		response.on('error', () => undefined)
		response.once('close', end)
	})
	request.on('error', () => { end() })
	t.teardown(() => { request.destroy() })
	return {pictures: () => pictures, ended: closed}
}

test.serial('a camera that reboots comes back by itself, for every kind of viewer, shared or not', async t => {
	t.timeout(150_000)
	const camera = await startCamera(t, [...small, '--key-interval', '2'])
	const servers = await Promise.all([startPlainSluice(t, []), startPlainSluice(t, ['--share'])])
	const rtsp_url = camera.url('/h264')
	const images = servers.flatMap(sluice => [view(t, sluice.stream({rtsp_url})), view(t, sluice.stream({rtsp_url}))])
	const coded = servers.map(sluice => view(t, sluice.stream({rtsp_url, pipeline: 'h264'})))
	const mjpeg = servers.map(sluice => viewMjpeg(t, sluice, {rtsp_url}))
	await Promise.all([...images, ...coded].map(async viewer => viewer.received(5)))
	await until(() => mjpeg.every(({pictures}) => pictures() >= 3), 10_000, 'pictures over HTTP')
	await kill(camera)
	await Promise.all(servers.map(async sluice => sluice.line(line => line['msg'] === 'retrying')))
	// As long as a camera is gone that reboots.
	await delay(20_000)
	const before = {images: images.map(({frames}) => frames.length), mjpeg: mjpeg.map(({pictures}) => pictures())}
	/** What came after the reboot, in its order. */
	const events = coded.map(({socket}) => {
		const order: (string | Buffer)[] = []
		socket.on('message', (data, isBinary) => { order.push(isBinary ? data as Buffer : (data as Buffer).toString()) })
		return order
	})
	await restartCamera(t, camera, ['--width', '480', '--height', '272', '--fps', '15', '--key-interval', '2'])
	await Promise.all(images.map(async (viewer, index) => viewer.received((before.images[index] ?? 0) + 10, 30_000)))
	await until(() => events.every(({length}) => length >= 10), 30_000, 'coded video')
	await until(() => mjpeg.every(({pictures}, index) => pictures() >= (before.mjpeg[index] ?? 0) + 5), 30_000, 'pictures over HTTP')
	for (const {frames} of images) t.deepEqual(jpegSize(frames.at(-1)), {width: 480, height: 272})
	for (const [caps, first, ...rest] of events) {
		t.like(JSON.parse(String(caps)), {caps: {name: 'video/x-h264', width: 480, height: 272}})
		t.true(Buffer.isBuffer(first) && isKeyFrame(first))
		t.true(rest.every(event => Buffer.isBuffer(event)))
	}
	const [alone, shared] = servers.map(sluice => new Set(messages(sluice, 'retrying').map(({worker, viewer}) => worker ?? viewer)).size)
	t.is(alone, 4)
	t.is(shared, 1)
})

test.serial('a camera that froze while its viewers waited: coded video goes on with a key frame', async t => {
	const camera = await startCamera(t, [...small, '--key-interval', '3'])
	const sluice = await startPlainSluice(t, ['--share', '--frame-timeout', '1'])
	const viewer = view(t, sluice.stream({rtsp_url: camera.url('/h264'), pipeline: 'h264'}))
	// It has one more viewer, so its encoder does not start anew for ours.
	const other = await startPlainSluice(t, ['--frame-timeout', '60'])
	await view(t, other.stream({rtsp_url: camera.url('/h264'), pipeline: 'h264'})).received(5)
	await viewer.received(10)
	camera.child.kill('SIGSTOP')
	await sluice.line(line => line['msg'] === 'retrying')
	const before = viewer.frames.length
	camera.child.kill('SIGCONT')
	await viewer.received(before + 20, 30_000)
	t.true(isKeyFrame(viewer.frames[before] ?? Buffer.alloc(0)))
})

test.serial('a camera that does not come back: growing pauses, then camera_lost, with how long and why', async t => {
	const camera = await startCamera(t, small)
	const sluice = await startPlainSluice(t, ['--retry-for', '5'])
	const query = {rtsp_url: camera.url('/h264')}
	const viewer = view(t, sluice.stream(query))
	const mjpeg = viewMjpeg(t, sluice, query)
	await viewer.received(5)
	await until(() => mjpeg.pictures() > 0, 5000, 'a picture over HTTP')
	const lostMs = performance.now()
	await kill(camera)
	const {code, error} = await viewer.closed
	const lastedMs = performance.now() - lostMs
	t.is(code, 4502)
	t.deepEqual(error, {error: 'The camera stopped sending', code: 'camera_lost', detail: `tried again for 5 s: 127.0.0.1:${camera.port} refused the connection; is the port right?`})
	t.true(lastedMs > 4000 && lastedMs < 7500, `${lastedMs} ms`)
	await mjpeg.ended
	const pauses = messages(sluice, 'retrying').filter(({viewer: name}) => name === messages(sluice, 'retrying')[0]?.['viewer']).map(({pauseMs}) => Number(pauseMs))
	const [first = 0, second = 0, third = 0] = pauses
	t.true(first >= 375 && first <= 626 && second >= 750 && second <= 1251 && third > 0, pauses.join())
	await until(() => workersOf(sluice).length === 1, 3000, 'only the spare is left')
})

test.serial('a camera that is back with another password ends its viewers at once', async t => {
	const camera = await startCamera(t, small)
	const sluice = await startPlainSluice(t, [])
	const viewer = view(t, sluice.stream({rtsp_url: camera.url('/secret', 'demo:secret')}))
	await viewer.received(3)
	await kill(camera)
	await restartCamera(t, camera, [...small, '--password', 'changed'])
	const {code, error} = await viewer.closed
	t.is(code, 4502)
	t.is(error?.['code'], 'camera_unauthorized')
	t.is(error?.['error'], 'The camera refused the user name or password')
})

test.serial('a worker that is killed is replaced, while its viewers wait', async t => {
	const camera = await startCamera(t, small)
	const sluice = await startPlainSluice(t, ['--share', '--max-pipelines', '1'])
	const url = sluice.stream({rtsp_url: camera.url('/h264')})
	const viewers = [view(t, url), view(t, url)]
	await Promise.all(viewers.map(async viewer => viewer.received(3)))
	process.kill(Number(messages(sluice, 'playing')[0]?.['worker']), 'SIGKILL')
	await sluice.line(line => line['msg'] === 'retrying')
	const before = viewers.map(({frames}) => frames.length)
	await Promise.all(viewers.map(async (viewer, index) => viewer.received((before[index] ?? 0) + 10)))
	t.like(messages(sluice, 'retrying'), {length: 1})
	t.is(messages(sluice, 'retrying')[0]?.['code'], 'pipeline_failed')
	t.is(messages(sluice, 'playing').length, 2)
	t.deepEqual(viewers.flatMap(({texts}) => texts), [])
})

for (const state of ['retrying', 'lingering', 'starting'] as const) {
	test.serial(`SIGTERM while streams are ${state}: exit code 0 within 5 seconds, and nothing is left`, async t => {
		const camera = await startCamera(t, small)
		const sluice = await startPlainSluice(t, ['--share', '--linger', '60'])
		const query = {rtsp_url: camera.url('/h264')}
		const viewers = [view(t, sluice.stream(query)), view(t, sluice.stream(query))]
		if (state === 'starting') {
			camera.child.kill('SIGSTOP')
			await sluice.line(line => line['msg'] === 'opening')
		} else {
			await Promise.all(viewers.map(async viewer => viewer.received(3)))
			if (state === 'retrying') await kill(camera)
			else for (const {socket} of viewers) socket.close()
			if (state === 'retrying') await sluice.line(line => line['msg'] === 'retrying')
			else await Promise.all(viewers.map(async viewer => viewer.closed))
		}
		const workers = workersOf(sluice)
		t.true(workers.length > 0)
		const startedMs = performance.now()
		sluice.child.kill('SIGTERM')
		t.deepEqual(await sluice.exit, {code: 0, signal: null})
		t.true(performance.now() - startedMs < 5000)
		if (state !== 'lingering') for (const viewer of viewers) t.is((await viewer.closed).code, 1001)
		await until(() => workers.every(ended), 1000, 'no worker is left')
		if (state === 'lingering') await until(() => sessions(camera) === 0, 2000, 'no session is left')
	})
}
