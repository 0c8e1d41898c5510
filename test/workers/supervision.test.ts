import {execFileSync, spawn} from 'node:child_process'
import {existsSync, statSync} from 'node:fs'
import {once} from 'node:events'
import {copyFile, mkdtemp, rm, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import path from 'node:path'
import process from 'node:process'
import type {Duplex} from 'node:stream'
import test, {type ExecutionContext} from 'ava'
import {readCommand} from '../../dist/config/config.js'
import {createLog} from '../../dist/base/log.js'
import {Server} from '../../dist/http/server.js'
import {channelFd, framePipeFd, writeMessage} from '../../dist/workers/channel.js'

import {childrenOf, ended, startCamera, startSluice, watchdogOf} from '../support/processes.js'
import {until, view} from '../support/viewer.js'

/** The real server, in this process, with a program in the place of its pipeline workers. */
async function startServer(
	t: ExecutionContext,
	worker: string,
	flags: string[] = []
): Promise<string> {
	// Without variants, for a worker that checks one would be another child.
	const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
	await copyFile('pipelines/jpeg.gst', path.join(directory, 'jpeg.gst'))
	const command = readCommand(
		[
			'--host',
			'127.0.0.1',
			'--port',
			'0',
			'--log-level',
			'silent',
			'--pipelines',
			directory,
			'--retry-for',
			'0',
			...flags
		],
		{}
	)
	if (!('run' in command)) throw new Error('no configuration')
	const server = new Server(command.run, createLog('silent'), `test/support/workers/${worker}.mjs`)
	t.teardown(async () => server.close())
	return `ws://127.0.0.1:${await server.listen()}/ws/stream?rtsp_url=rtsp%3A%2F%2Fcamera%2F`
}

test.serial("a worker that cannot start ends the server with the worker's own words", async t => {
	const error = await t.throwsAsync(startServer(t, 'dies-at-start'))
	t.is(
		error.message,
		'the worker ended before it was ready (exit code 1): cannot open shared object file: libgstreamer-1.0.so.0'
	)
})

test.serial('a worker that crashes costs its viewer only, who is told', async t => {
	const url = await startServer(t, 'crashes')
	for (const attempt of [1, 2, 3]) {
		const {code, error} = await view(t, url).closed
		t.is(code, 4500, `attempt ${attempt}`)
		t.deepEqual(error, {
			error: 'The pipeline failed',
			code: 'pipeline_failed',
			detail: 'the worker died: SIGSEGV'
		})
	}
})

test.serial('a worker that hangs is noticed by its silence, and ends with its viewer', async t => {
	const url = await startServer(t, 'hangs', ['--frame-timeout', '1'])
	const first = view(t, url)
	const {error} = await first.closed
	t.is(error?.['code'], 'camera_lost')
	await until(() => childrenOf(process.pid).length <= 1, 60_000, 'only the spare is left')

	const second = view(t, url)
	await second.received(1)
	await until(() => childrenOf(process.pid).length === 2, 60_000, 'the worker and another spare')
	second.socket.close()
	await until(() => childrenOf(process.pid).length <= 1, 60_000, 'only the spare is left')
})

test.serial(
	"a worker that floods is killed, and the server's memory stays where it was",
	async t => {
		const url = await startServer(t, 'floods')
		const before = process.memoryUsage.rss()
		const {error} = await view(t, url, {keep: 0}).closed
		t.deepEqual(error, {
			error: 'The pipeline failed',
			code: 'pipeline_failed',
			detail: 'the worker sent more than 1000 frames in a second'
		})
		await until(() => childrenOf(process.pid).length <= 1, 60_000, 'only the spare is left')
		const grown = (process.memoryUsage.rss() - before) / 1e6
		t.true(grown < 200, `${grown} MB`)
	}
)

test.serial(
	'a worker that writes to standard error without end fills no memory and stops no frame',
	async t => {
		const url = await startServer(t, 'chatters')
		const before = process.memoryUsage.rss()
		await view(t, url).received(100)
		const grown = (process.memoryUsage.rss() - before) / 1e6
		t.true(grown < 100, `${grown} MB`)
	}
)

test.serial('a frame larger than any picture ends its pipeline', async t => {
	const {error} = await view(t, await startServer(t, 'huge')).closed
	t.is(error?.['code'], 'pipeline_failed')
	t.regex(error?.['detail'] ?? '', /a frame of 73400320 bytes/)
})

test.serial(
	'--max-pipelines bounds the processes: one viewer more is told so, and served once there is room',
	async t => {
		const url = await startServer(t, 'chatters', ['--max-pipelines', '2'])
		const viewers = [view(t, url), view(t, url)]
		await Promise.all(viewers.map(async viewer => viewer.received(1)))
		const {code, error} = await view(t, url).closed
		t.is(code, 4503)
		t.is(error?.['code'], 'over_capacity')
		viewers[0]?.socket.close()
		const served = async () =>
			view(t, url)
				.received(1)
				.then(
					() => true,
					() => false
				)
		await until(served, 60_000, 'a viewer is served in its place')
		t.is((await view(t, url).closed).code, 4503)
	}
)

test.serial(
	'--max-viewers bounds the viewers, also where they share a pipeline; those that are refused take no place',
	async t => {
		const url = await startServer(t, 'chatters', ['--max-viewers', '2', '--share'])
		const viewers = [view(t, url), view(t, url)]
		await Promise.all(viewers.map(async viewer => viewer.received(1)))
		const refused = await Promise.all(Array.from({length: 5}, async () => view(t, url).closed))
		for (const {code, error} of refused) {
			t.is(code, 4503)
			t.like(error, {
				code: 'over_capacity',
				detail: '2 viewers watch already; --max-viewers allows no more'
			})
		}
		const http = url.replace(/^ws/, 'http')
		for (const output of ['stream.mjpeg', 'snapshot.jpg']) {
			const response = await fetch(http.replace('ws/stream', output))
			t.is(response.status, 503)
			t.truthy(response.headers.get('Retry-After'))
			t.like(await response.json(), {code: 'over_capacity'})
		}
		viewers[0]?.socket.close()
		await viewers[0]?.closed
		await until(
			async () =>
				view(t, url)
					.received(1)
					.then(
						() => true,
						() => false
					),
			60_000,
			'a viewer is served in its place'
		)
	}
)

test.serial('a spare that dies is replaced', async t => {
	const url = await startServer(t, 'chatters')
	const [spare] = childrenOf(process.pid)
	process.kill(spare ?? 0, 'SIGKILL')
	await until(() => childrenOf(process.pid).some(pid => pid !== spare), 60_000, 'another spare')
	const viewer = view(t, url)
	await viewer.received(1)
	t.false(childrenOf(process.pid).some(pid => pid === spare))
})

test.serial(
	'a real worker killed with SIGKILL: its viewer is told at once, another one sees no gap',
	async t => {
		const camera = await startCamera(t, ['--width', '640', '--height', '360'])
		const sluice = await startSluice(t, ['--retry-for', '0'])
		const url = sluice.stream({rtsp_url: camera.url('/h264')})
		const victim = view(t, url)
		await victim.received(5)
		const {worker} = await sluice.line(line => line['msg'] === 'playing')
		const other = view(t, url)
		await other.received(5)
		process.kill(Number(worker), 'SIGKILL')
		const {code, error} = await victim.closed
		t.is(code, 4500)
		t.deepEqual(error, {
			error: 'The pipeline failed',
			code: 'pipeline_failed',
			detail: 'the worker died: SIGKILL'
		})
		await other.received(60)
	}
)

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
	test.serial(
		`${signal}: viewers are closed with 1001, workers end, exit code 0, which tells that no deadline had to end it`,
		async t => {
			const camera = await startCamera(t, ['--width', '640', '--height', '360'])
			const sluice = await startSluice(t)
			const viewer = view(t, sluice.stream({rtsp_url: camera.url('/h264')}))
			await viewer.received(5)
			const children = childrenOf(sluice.pid)
			const watchdog = watchdogOf(sluice.pid) ?? 0
			t.true(children.length > 0)
			sluice.child.kill(signal)
			const {code} = await viewer.closed
			t.is(code, 1001)
			t.deepEqual(await sluice.exit, {code: 0, signal: null})
			for (const pid of children) t.true(ended(pid))
			await until(() => ended(watchdog), 60_000, 'what watches over them has ended too')
			await camera.line(line => line['event'] === 'teardown')
		}
	)
}

test.serial(
	'a viewer that does not answer the closing handshake does not delay the shutdown',
	async t => {
		const camera = await startCamera(t, ['--width', '640', '--height', '360'])
		const sluice = await startSluice(t)
		const deaf = view(t, sluice.stream({rtsp_url: camera.url('/h264')}))
		await deaf.received(1)
		deaf.socket.pause()
		sluice.child.kill('SIGTERM')
		// Where it had waited for the viewer, its own deadline would have ended it with 1.
		t.deepEqual(await sluice.exit, {code: 0, signal: null})
	}
)

test.serial(
	'kill -9 of the server leaves no worker behind, also where the camera is frozen',
	async t => {
		const camera = await startCamera(t, ['--width', '640', '--height', '360'])
		const sluice = await startSluice(t)
		await view(t, sluice.stream({rtsp_url: camera.url('/h264')})).received(5)
		const children = childrenOf(sluice.pid)
		await until(() => childrenOf(sluice.pid).length === 2, 60_000, 'a worker and a spare')
		camera.child.kill('SIGSTOP')
		sluice.child.kill('SIGKILL')
		await sluice.exit
		await until(() => children.every(ended), 60_000, 'the workers are gone')
		t.true(children.length > 0)
	}
)

test.serial(
	'a pipeline that cannot be stopped is gone all the same, after its viewer and after its server',
	async t => {
		const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
		// The element sleeps for a minute at each frame, deaf to the change of state, as a decoder that hangs. The thread that brings the
		// first frame there has written it to the file right before.
		const file = path.join(directory, 'frame')
		await writeFile(
			path.join(directory, 'stuck.gst'),
			`rtspsrc name=src protocols=tcp\n! application/x-rtp,media=video ! decodebin ! tee name=both\nboth. ! filesink location=${file} buffer-mode=unbuffered async=false\nboth. ! identity sleep-time=60000000 ! jpegenc ! appsink name=sink\n`
		)
		const camera = await startCamera(t, ['--width', '640', '--height', '360'])
		const sluice = await startSluice(t, ['--pipelines', directory, '--open-timeout', '60'])
		const url = sluice.stream({rtsp_url: camera.url('/h264'), pipeline: 'stuck'})
		const stuck = async (count: number) => {
			const viewer = view(t, url)
			await until(
				() => sluice.lines.filter(line => line['msg'] === 'opening').length === count,
				60_000,
				'the pipeline opens'
			)
			const {worker} = sluice.lines.filter(line => line['msg'] === 'opening').at(-1) ?? {}
			// Only with its first frame in the sleeping element is it stuck.
			await until(
				() => existsSync(file) && statSync(file).size > 0,
				60_000,
				'the first frame comes'
			)
			await rm(file)
			return {viewer, worker: Number(worker)}
		}
		const first = await stuck(1)
		first.viewer.socket.close()
		await until(() => ended(first.worker), 60_000, 'the worker is gone')
		const second = await stuck(2)
		t.false(ended(second.worker))
		sluice.child.kill('SIGKILL')
		await until(() => ended(second.worker), 60_000, 'the worker is gone')
	}
)

test.serial(
	'kill -9 of the server leaves no worker behind whose thread hangs in GStreamer',
	async t => {
		const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
		const fifo = path.join(directory, 'fifo')
		execFileSync('mkfifo', [fifo])
		// Opening a FIFO waits for somebody who writes to it: the worker hears neither messages nor signals, nor that its server is gone.
		await writeFile(
			path.join(directory, 'blocks.gst'),
			`# @camera none\nfilesrc name=src location=${fifo} ! jpegparse ! appsink name=sink max-buffers=1 drop=true\n`
		)
		// GStreamer says so right before it opens the file.
		const sluice = await startSluice(t, ['--pipelines', directory], {GST_DEBUG: 'filesrc:4'})
		// What watches over the workers may itself be killed; another starts with the next worker, the spare in this one's place.
		const first = watchdogOf(sluice.pid)
		if (first === undefined) throw new Error('nothing watches')
		process.kill(first, 'SIGKILL')
		view(t, sluice.stream({pipeline: 'blocks'}))
		const {worker} = await sluice.line(line => line['msg'] === 'opening')
		const pid = Number(worker)
		await sluice.line(
			line =>
				line['msg'] === 'worker stderr' && String(line['line']).includes(`opening file ${fifo}`)
		)
		t.false(ended(pid))
		await until(() => (watchdogOf(sluice.pid) ?? first) !== first, 60_000, 'another watches')
		const watchdog = watchdogOf(sluice.pid) ?? 0
		sluice.child.kill('SIGKILL')
		await sluice.exit
		await until(() => ended(pid), 60_000, 'the worker is gone')
		await until(() => ended(watchdog), 60_000, 'so is what has killed it')
	}
)

test.serial(
	'a real worker whose frames nobody reads waits with them, and stops like any other',
	async t => {
		const env = {...process.env, GST_DEBUG: 'GST_STATES:4', GST_DEBUG_NO_COLOR: '1'}
		const child = spawn(process.execPath, ['dist/pipeline/worker-main.js'], {
			env,
			stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe']
		})
		t.teardown(() => child.kill('SIGKILL'))
		const closed = once(child, 'close')
		let words = ''
		child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
			words += chunk
		})
		const [pipe, channel] = [child.stdio[framePipeFd], child.stdio[channelFd]] as Duplex[]
		if (!pipe || !channel) throw new Error('no pipes')
		// It is ready.
		await once(channel, 'data')
		// One image of noise is larger than all that the pipe and its reader take: its pipeline is stuck in writing the first.
		writeMessage(channel, {
			type: 'start',
			launch:
				'videotestsrc name=src pattern=snow ! video/x-raw,width=1280,height=720 ! jpegenc ! appsink name=sink max-buffers=1 drop=true sync=false',
			source: {location: ''}
		})
		// Its first bytes are there, and stay there.
		await once(pipe, 'readable')
		writeMessage(channel, {type: 'stop'})
		// What it wrote would keep the pipe open.
		await once(child, 'exit')
		pipe.resume()
		await closed
		// The process kills itself a second after a stop that hangs, and then the pipeline has not come so far.
		t.regex(words, /<pipeline0> completed state change to NULL/)
	}
)
