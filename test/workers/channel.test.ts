import {spawn} from 'node:child_process'
import {once} from 'node:events'
import {readdirSync, readFileSync, writeFileSync} from 'node:fs'
import {mkdtemp, writeFile} from 'node:fs/promises'
import net, {type AddressInfo} from 'node:net'
import {tmpdir} from 'node:os'
import path from 'node:path'
import process from 'node:process'
import type {Duplex} from 'node:stream'
import test, {type ExecutionContext} from 'ava'
import {SluiceError} from '../../dist/base/errors.js'
import {createLog} from '../../dist/base/log.js'
import {readOffer} from '../../dist/webrtc/sdp-offer.js'
import {WebRtc} from '../../dist/webrtc/engine.js'
import {Worker} from '../../dist/workers/worker.js'
import {channelFd, writeMessage} from '../../dist/workers/channel.js'
import {
	type FromWorker,
	type PipelineWorker,
	readFromWorker,
	type ToWorker
} from '../../dist/pipeline/messages.js'
import {ended, type Program, startCamera, startProgram, startSluice} from '../support/processes.js'
import {chromiumOffer} from '../support/sdp-offers.js'
import {type TestViewer, until, view} from '../support/viewer.js'

/** What the worker does (test/support/workers/misbehaves.mjs), and what is said of it. */
const acts: readonly (readonly [string, RegExp])[] = [
	['raw bytes', /a message of 1819043176 bytes, where 1 to 65536 are taken/],
	['zeros', /a message of 0 bytes/],
	['2 GB', /a message of 2147483647 bytes/],
	['300 MB', /a message of 314572800 bytes/],
	['null', /a message is no object/],
	['number', /a message is no object/],
	['array', /a message is no object/],
	['no message', /a message is of no known type/],
	['unknown type', /a message is of no known type/],
	['further field', /the message ready is malformed: it has another field/],
	['prototype', /the message ready is malformed: it has another field/],
	['invalid UTF-8', /a message is not JSON/],
	['cut JSON', /a message is not JSON/],
	['deep nesting', /a message is no object/],
	['half a message', /its last message is cut short/],
	['no channel', /it has closed its channel/],
	['flood of ready', /too many messages came/]
]
const pipelineActs: typeof acts = [
	...acts,
	['missing field', /the message codec is malformed: it lacks codec/],
	['wrong field', /the message bus is malformed: message is of another type/],
	['wrong field of a field', /the message bus is malformed: message is of another type/],
	['deep nesting in a field', /the message codec is malformed: codec is of another type/],
	['flood of codecs', /too many messages came/]
]
const webrtcActs: typeof acts = [
	...acts,
	['negative count', /the message counted is malformed: frames is of another type/],
	['flood of counts', /too many messages came/]
]
/** A worker may make the server's memory grow by so much, for a moment. */
const maxGrownMegabytes = 40

const worker = 'test/support/workers/misbehaves.mjs'

/** Says when the worker misbehaves from now on, and how. */
type Script = (at: string, act: string) => void

async function startScript(): Promise<{file: string; script: Script}> {
	const file = path.join(await mkdtemp(path.join(tmpdir(), 'sluice-')), 'act')
	const script: Script = (at, act) => {
		writeFileSync(file, JSON.stringify({at, act}))
	}
	script('never', '')
	return {file, script}
}

/** Follows how much a process's memory grows, at its peak. */
function watchMemory(pid: number): () => number {
	const status = () => readFileSync(`/proc/${pid}/status`, 'utf8')
	const megabytes = (name: string) =>
		Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status())?.[1]) / 1000
	// Sets the peak back to what there is now, proc(5).
	writeFileSync(`/proc/${pid}/clear_refs`, '5')
	const before = megabytes('VmRSS')
	return () => megabytes('VmHWM') - before
}

interface Misbehaving extends Program {
	port: number
	script: Script
}

/** The real server, in a process of its own, whose pipeline or WebRTC workers misbehave. */
async function startServer(
	t: ExecutionContext,
	programs: readonly [string, string],
	flags: string[] = []
): Promise<Misbehaving> {
	const {file, script} = await startScript()
	const args = ['dist-test/support/server-with-workers.js', ...programs, ...flags]
	const program = startProgram(t, process.execPath, args, {
		stream: 'stderr',
		env: {MISBEHAVIOUR_FILE: file}
	})
	const {port} = await program.line(line => line['msg'] === 'listening')
	return {...program, port: Number(port), script}
}

/** No frame is missing, and all are of one worker. */
function assertBeats(t: ExecutionContext, {frames}: TestViewer): void {
	const beats = frames.map(frame => JSON.parse(frame.toString()) as {pid: number; beat: number})
	const [first] = beats
	t.true(beats.length > 0)
	t.deepEqual(
		beats,
		beats.map((_, index) => ({pid: first?.pid ?? 0, beat: (first?.beat ?? 0) + index}))
	)
}

/** The log's line of a worker that the server has ended itself. */
async function givenUp({lines}: Program, reason: RegExp, begin = 0): Promise<number> {
	const told = () =>
		lines
			.slice(begin)
			.find(({msg, reason: why}) => msg === 'worker given up' && reason.test(String(why)))
	await until(() => told() !== undefined, 5000, `the log says ${reason.source}`)
	return Number(told()?.['worker'])
}

for (const [at, moment] of [
	['begin', 'before it is ready'],
	['start', 'when it is to play']
] as const) {
	test.serial(
		`a pipeline worker that misbehaves ${moment} costs its viewer, and nobody else`,
		async t => {
			t.timeout(240_000)
			const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
			await writeFile(
				path.join(directory, 'beats.gst'),
				'# @camera none\n# @output video/x-vp8\nfakesrc name=src ! appsink name=sink\n'
			)
			const server = await startServer(t, [worker, '-'], ['--pipelines', directory])
			const url = `ws://127.0.0.1:${server.port}/ws/stream?pipeline=beats`
			const neighbour = view(t, url, {keep: Infinity})
			await neighbour.received(1)
			for (const [act, reason] of pipelineActs) {
				server.script(at, act)
				const begin = server.lines.length
				const grown = watchMemory(server.pid)
				const {code, error} = await view(t, url).closed
				t.is(code, 4500, act)
				t.is(error?.['code'], 'pipeline_failed', act)
				// The spare may have followed the act before this one.
				t.regex(error?.['detail'] ?? '', at === 'begin' ? /^the worker misbehaves: / : reason, act)
				const pid = await givenUp(server, reason, begin)
				await until(() => ended(pid), 5000, `the worker has ended: ${act}`)
				await neighbour.received(neighbour.frames.length + 5)
				const megabytes = grown()
				t.log(`${act}: ${Math.round(megabytes)} MB`)
				t.true(megabytes < maxGrownMegabytes, `${act}: ${megabytes} MB`)
			}
			assertBeats(t, neighbour)
		}
	)
}

for (const [at, moment] of [
	['begin', 'before it is ready'],
	['listen', 'when it is to listen'],
	['open', 'when a viewer comes']
] as const) {
	test.serial(`a WebRTC worker that misbehaves ${moment} fails, and nothing else does`, async t => {
		t.timeout(240_000)
		const {file, script} = await startScript()
		process.env['MISBEHAVIOUR_FILE'] = file
		const answers: typeof acts = at === 'open' ? [['no answer', /the answer is not one/]] : []
		for (const [act, reason] of [...webrtcActs, ...answers]) {
			script(at, act)
			const log = createLog('silent')
			const webrtc = new WebRtc({
				path: worker,
				host: '127.0.0.1',
				port: 0,
				onCounted: () => undefined,
				log
			})
			t.teardown(async () => webrtc.close())
			const grown = watchMemory(process.pid)
			const engine = webrtc.engine()
			const source = engine.source({requestKeyFrame: () => undefined})
			source.hold()
			const listener = {onConnected: () => undefined, onClosed: () => undefined}
			const {signal} = new AbortController()
			const opening = engine.open('session', readOffer(chromiumOffer), source, listener, signal)
			const error = await t.throwsAsync(opening, {instanceOf: SluiceError})
			t.is(error.code, 'webrtc_failed', act)
			t.regex(error.detail, reason, act)
			t.like(await engine.ended, {expected: false, reason: error.detail})
			source.release()
			const megabytes = grown()
			t.true(megabytes < maxGrownMegabytes, `${act}: ${megabytes} MB`)
			await webrtc.close()
		}
	})
}

test.serial(
	'a WebRTC worker that misbehaves costs its viewers, who are told, and no stream',
	async t => {
		const camera = await startCamera(t, ['--width', '320', '--height', '180'])
		const url = (address: string) =>
			`${address}?${new URLSearchParams({rtsp_url: camera.url('/h264')}).toString()}`
		const few = webrtcActs.filter(([act]) =>
			['raw bytes', '300 MB', 'null', 'flood of counts'].includes(act)
		)
		for (const [act, reason] of few) {
			const server = await startServer(t, ['-', worker])
			const neighbour = view(t, url(`ws://127.0.0.1:${server.port}/ws/stream`))
			await neighbour.received(1)
			server.script('open', act)
			const grown = watchMemory(server.pid)
			const headers = {'Content-Type': 'application/sdp'}
			const answer = await fetch(url(`http://127.0.0.1:${server.port}/whep`), {
				method: 'POST',
				headers,
				body: chromiumOffer
			})
			t.is(answer.status, 503, act)
			const problem = (await answer.json()) as Record<string, string>
			t.is(problem['code'], 'webrtc_failed', act)
			t.regex(problem['detail'] ?? '', reason, act)
			const pid = await givenUp(server, reason)
			await until(() => ended(pid), 5000, 'the worker has ended')
			await neighbour.received(neighbour.frames.length + 10)
			const megabytes = grown()
			t.log(`${act}: ${Math.round(megabytes)} MB`)
			t.true(megabytes < maxGrownMegabytes, `${act}: ${megabytes} MB`)
		}
	}
)

test.serial(
	'however often a worker says that its camera cannot be reached, the camera is asked once why',
	async t => {
		let asked = 0
		const camera = net
			.createServer(socket => {
				asked++
				socket.on('error', () => undefined)
			})
			.listen(0, '127.0.0.1')
		await once(camera, 'listening')
		t.teardown(() => {
			camera.close()
		})
		const server = await startServer(t, [worker, '-'])
		server.script('start', 'flood of failures')
		const rtspUrl = `rtsp://127.0.0.1:${(camera.address() as AddressInfo).port}/`
		const {error} = await view(
			t,
			`ws://127.0.0.1:${server.port}/ws/stream?${new URLSearchParams({rtsp_url: rtspUrl}).toString()}`
		).closed
		// The answer may come before the flood is too much.
		t.true(['camera_unreachable', 'pipeline_failed'].includes(error?.['code'] ?? ''))
		t.is(asked, 1)
	}
)

test.serial('a worker that reads nothing is ended when a bounded amount waits for it', async t => {
	const stopped = new Worker<ToWorker, FromWorker>(
		'test/support/workers/chatters.mjs',
		createLog('silent'),
		readFromWorker
	)
	t.teardown(async () => stopped.close())
	await stopped.ready
	process.kill(stopped.pid ?? 0, 'SIGSTOP')
	let sent = 0
	// A hundred times what is let wait.
	while (sent < 1_000_000 && stopped.send({type: 'key-frame'})) sent++
	t.true(sent > 1000 && sent < 100_000, `${sent} messages`)
	const {signal, expected, reason} = await stopped.exited
	t.is(signal, 'SIGKILL')
	t.false(expected)
	t.regex(reason ?? '', /bytes wait in the channel, and nobody reads them/)
	t.false(stopped.send({type: 'key-frame'}))
})

test.serial(
	'a message that is too long ends the worker that it was for, and not the server',
	async t => {
		const other = new Worker<ToWorker, FromWorker>(
			'test/support/workers/chatters.mjs',
			createLog('silent'),
			readFromWorker
		)
		t.teardown(async () => other.close())
		await other.ready
		t.false(other.send({type: 'examine', launch: '\n'.repeat(40_000)}))
		const {reason} = await other.exited
		t.is(
			reason,
			'the worker cannot be told anything: a message of 80030 bytes, where 65536 are taken'
		)
	}
)

test.serial(
	'words of GStreamer that are too long are cut, a launch text that is too long is told as such',
	async t => {
		const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
		const name = 'x'.repeat(30_000)
		const template = async (file: string, middle: string) => {
			const launch = `videotestsrc name=src ! ${middle} ! jpegenc ! appsink name=sink`
			await writeFile(path.join(directory, `${file}.gst`), `# @camera none\n${launch}\n`)
		}
		await template('error', `identity error-after=2 name=${name}`)
		await template('parser', name)
		await template('lines', `${'\n'.repeat(31_000)} queue`)
		const sluice = await startSluice(t, ['--pipelines', directory, '--retry-for', '0'])
		const failure = async (pipeline: string) =>
			(await view(t, sluice.stream({pipeline})).closed).error
		const [error, parser, lines] = [
			await failure('error'),
			await failure('parser'),
			await failure('lines')
		]
		t.is(error?.['code'], 'pipeline_failed')
		t.regex(error?.['detail'] ?? '', /^….*: Failed after iterations as requested/s)
		t.is(parser?.['code'], 'template_invalid')
		t.regex(parser?.['detail'] ?? '', /no element "x{1000,}…$/)
		t.is(lines?.['code'], 'template_invalid')
		t.regex(
			lines?.['detail'] ?? '',
			/^lines.gst: the launch text has 62\d{3} bytes as JSON; at most 60416 are taken$/
		)
		t.deepEqual(
			sluice.lines.filter(({msg}) => msg === 'worker given up'),
			[]
		)
	}
)

test.serial(
	'a real worker whose server reads nothing ends when a bounded amount waits',
	async t => {
		const child = spawn(process.execPath, ['dist/pipeline/worker-main.js'], {
			stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe']
		})
		t.teardown(() => child.kill('SIGKILL'))
		const exited = once(child, 'exit')
		const channel = child.stdio[channelFd] as Duplex
		channel.on('error', () => undefined)
		let words = ''
		child.stderr?.setEncoding('utf8').on('data', (text: string) => {
			words += text
		})
		// Each answer is as long as a text may be.
		for (let asked = 0; asked < 10_000 && channel.writable; asked++) {
			writeMessage(channel, {type: 'examine', launch: 'x'.repeat(3000)})
			if (channel.writableNeedDrain) await once(channel, 'drain').catch(() => undefined)
		}
		t.deepEqual(await exited, [1, null])
		t.regex(words, /bytes wait in the channel, and nobody reads them/)
	}
)

test.serial('what a worker leaves behind holds none of the server’s descriptors', async t => {
	const start = (program: string): PipelineWorker =>
		new Worker(`test/support/workers/${program}.mjs`, createLog('silent'), readFromWorker)
	// The first worker brings what watches over all of them.
	const first = start('crashes')
	await first.ready
	await first.close()
	const descriptors = () => readdirSync('/proc/self/fd').length
	const before = descriptors()
	const worker = start('leaves-a-child')
	const left = new Promise<number>(resolve => {
		worker.onMessage = message => {
			if (message.type === 'codec') resolve(Number(message.codec))
		}
	})
	await worker.ready
	worker.send({type: 'start', launch: '', source: {location: ''}})
	const pid = await left
	t.teardown(() => process.kill(pid, 'SIGKILL'))
	await worker.exited
	await until(() => descriptors() <= before, 30_000, 'its pipes are let go of')
	t.false(ended(pid), 'what it left still holds them')
})
