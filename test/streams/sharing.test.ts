import {once} from 'node:events'
import {readFile, writeFile} from 'node:fs/promises'
import type http from 'node:http'
import type {Socket} from 'node:net'
import path from 'node:path'
import test from 'ava'
import {isKeyFrame} from '../../dist/media/nal-units.js'
import {jpegSize} from '../support/jpeg.js'
import {
	count,
	messages,
	plainTemplates,
	sessions,
	startPlainSluice
} from '../support/plain-sluice.js'
import {childrenOf, startCamera, startSluice} from '../support/processes.js'
import {type TestViewer, until, view} from '../support/viewer.js'

// Who shares a stream, and what viewers of one notice of each other, with the real server and real cameras.

const small = ['--width', '320', '--height', '180', '--fps', '15']

test.serial(
	'--share: one session and one worker for the same camera, template and parameters; else one each',
	async t => {
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
		await until(() => childrenOf(sluice.pid).length === 2, 60_000, 'one worker and the spare')
		t.is(await plays({rtsp_url, quality: '50'}), 2)
		t.is(await plays({rtsp_url, quality: '50', max_fps: '10'}), 3)
		// What is the same in other words is the same: the order, a default that is given, a number written otherwise.
		t.is(await plays({max_fps: '10', quality: '50', rtsp_url}), 3)
		t.is(await plays({rtsp_url, quality: '80', pipeline: 'jpeg', transport: 'tcp'}), 3)
		t.is(await plays({rtsp_url, quality: '050'}), 3)
		t.is(await plays({rtsp_url, pipeline: 'h264'}), 4)
		await until(() => childrenOf(sluice.pid).length === 5, 60_000, 'four workers and the spare')
		// Each time with other credentials, right ones or wrong ones: the camera is asked itself.
		const secret = (credentials: string) => ({rtsp_url: camera.url('/secret', credentials)})
		t.is(await plays(secret('demo:secret')), 5)
		t.is(await plays(secret('demo:secret')), 5)
		for (const credentials of ['demo:wrong', 'other:secret', 'demo:'])
			t.is(
				(await view(t, sluice.stream(secret(credentials))).closed).error?.['code'],
				'camera_unauthorized'
			)
		t.is(
			(await view(t, sluice.stream({rtsp_url: camera.url('/secret')})).closed).error?.['code'],
			'camera_unauthorized'
		)
		t.is(count(camera, 'play'), 5)
		await view(t, sluice.stream({rtsp_url: camera.url('/h264', 'demo:secret')})).received(1)
		t.is(count(camera, 'play'), 6)
	}
)

test.serial(
	'without --share each viewer has a session and a worker of its own, that end with it',
	async t => {
		const camera = await startCamera(t, small)
		const sluice = await startPlainSluice(t, ['--linger', '60'])
		const url = sluice.stream({rtsp_url: camera.url('/h264')})
		const viewers = [view(t, url), view(t, url)] as const
		await Promise.all(viewers.map(async viewer => viewer.received(2)))
		t.is(count(camera, 'play'), 2)
		await until(() => childrenOf(sluice.pid).length === 3, 60_000, 'two workers and the spare')
		viewers[0].socket.close()
		await until(
			() => sessions(camera) === 1 && childrenOf(sluice.pid).length === 2,
			60_000,
			'its worker ends'
		)
		await viewers[1].received(viewers[1].frames.length + 10)
	}
)

test.serial(
	'a template that is edited while a shared stream runs serves the next viewer; the others keep theirs',
	async t => {
		const directory = await plainTemplates()
		const camera = await startCamera(t, small)
		const sluice = await startSluice(t, ['--pipelines', directory, '--share'])
		const url = sluice.stream({rtsp_url: camera.url('/h264')})
		const old = view(t, url)
		await old.received(2)
		const file = path.join(directory, 'jpeg.gst')
		await writeFile(
			file,
			(await readFile(file, 'utf8')).replace('max_width=16384', 'max_width=160')
		)
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
	}
)

test.serial(
	'a late viewer has its first picture at once, also where the camera is silent just then',
	async t => {
		const camera = await startCamera(t, small)
		const sluice = await startPlainSluice(t, ['--share', '--frame-timeout', '60'])
		const url = sluice.stream({rtsp_url: camera.url('/h264')})
		const early = view(t, url)
		await early.received(5)
		camera.child.kill('SIGSTOP')
		// A stopped camera sends nothing, so the late viewer's picture is one that was kept, or that was on its way still.
		const late = view(t, url)
		await late.received(1)
		const snapshot = `${sluice.http}/snapshot.jpg?${new URLSearchParams({rtsp_url: camera.url('/h264'), max_age_ms: '60000'}).toString()}`
		await until(
			async () => {
				const image = Buffer.from(await (await fetch(snapshot)).arrayBuffer())
				return [early, late].every(({frames}) => frames.at(-1)?.equals(image))
			},
			60_000,
			'all show the same picture'
		)
		t.true(early.frames.some(frame => frame.equals(late.frames[0] ?? Buffer.alloc(0))))
		camera.child.kill('SIGCONT')
		await late.received(5)
		t.is(count(camera, 'play'), 1)
	}
)

test.serial(
	'a late viewer of coded video has the key frame and all that follows it, each byte and in order',
	async t => {
		const framesPerGroup = 100
		const camera = await startCamera(t, [
			'--width',
			'320',
			'--height',
			'180',
			'--fps',
			'25',
			'--key-interval',
			'4'
		])
		const sluice = await startPlainSluice(t, ['--share'])
		const url = sluice.stream({rtsp_url: camera.url('/h264'), pipeline: 'h264'})
		const early = view(t, url)
		await early.received(40)
		const before = early.frames.length
		const late = view(t, url)
		await late.received(40)
		// Those were kept and came in one go; meanwhile the camera has sent far fewer.
		t.true(early.frames.length - before < 30, `${early.frames.length - before} frames meanwhile`)
		await late.received(60)
		const latest = view(t, url)
		await early.received(framesPerGroup + 30)
		for (const viewer of [late, latest]) {
			t.true(isKeyFrame(viewer.frames[0] ?? Buffer.alloc(0)))
			const first = early.frames.findIndex(frame =>
				frame.equals(viewer.frames[0] ?? Buffer.alloc(0))
			)
			// The machine may be so slow that the camera has begun another group when the latest comes.
			t.true(
				first === 0 || (viewer === latest && first === framesPerGroup),
				`from frame ${first} on`
			)
			await viewer.received(framesPerGroup + 20 - first)
			const wrong = viewer.frames
				.slice(0, framesPerGroup + 20 - first)
				.findIndex((frame, index) => !frame.equals(early.frames[first + index] ?? Buffer.alloc(0)))
			t.is(wrong, -1)
			t.is(viewer.texts.length, 1)
			t.deepEqual(viewer.texts, early.texts)
		}
		t.deepEqual(
			early.frames
				.slice(0, framesPerGroup + 20)
				.flatMap((frame, index) => (isKeyFrame(frame) ? [index] : [])),
			[0, framesPerGroup]
		)
		t.is(count(camera, 'play'), 1)
	}
)

test.serial(
	'after its last viewer a shared stream lives for --linger, and no longer; who comes back meanwhile joins it',
	async t => {
		const camera = await startCamera(t, small)
		for (const {lingerSeconds, sessionsInAll} of [
			{lingerSeconds: 60, sessionsInAll: 1},
			{lingerSeconds: 0.5, sessionsInAll: 3}
		]) {
			const sluice = await startPlainSluice(t, ['--share', '--linger', String(lingerSeconds)])
			const url = sluice.stream({rtsp_url: camera.url('/h264')})
			const first = view(t, url)
			await first.received(3)
			first.socket.terminate()
			await sluice.line(line => line['msg'] === 'viewer gone' && line['closeCode'] === 1006)
			if (lingerSeconds < 1) {
				// Of the other server one is left.
				await until(() => sessions(camera) === 1, 60_000, 'the session ends')
				await until(() => childrenOf(sluice.pid).length === 1, 60_000, 'the worker ends')
			}
			await view(t, url).received(1)
			t.is(count(camera, 'play'), sessionsInAll)
		}
	}
)

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
	await until(() => sessions(camera) === 0, 60_000, 'the session ends')
	await view(t, url).received(1)
	t.is(count(camera, 'play'), 2)
})

/** The TCP connection below a WebSocket. */
async function tcpOf({socket}: TestViewer): Promise<Socket> {
	const [{socket: tcp}] = (await once(socket, 'upgrade')) as [http.IncomingMessage]
	return tcp
}

for (const pipeline of ['jpeg', 'h264']) {
	test.serial(
		`${pipeline}: a viewer that reads nothing, one that floods and some that reset take nothing from the others`,
		async t => {
			const camera = await startCamera(t, ['--width', '640', '--height', '360', '--fps', '25'])
			const sluice = await startPlainSluice(t, ['--share'])
			const url = sluice.stream({rtsp_url: camera.url('/h264'), pipeline})
			const steady = view(t, url)
			await steady.received(25)
			const silent = view(t, url)
			await silent.received(1)
			silent.socket.pause()
			const flooding = view(t, url)
			await flooding.received(1)
			const message = Buffer.alloc(1000)
			const flood = setInterval(() => {
				for (let index = 0; index < 50; index++) flooding.socket.send(message, () => undefined)
			}, 5)
			t.teardown(() => {
				clearInterval(flood)
			})
			const resetting = async () => {
				const viewer = view(t, url)
				const tcp = await tcpOf(viewer)
				await viewer.received(3)
				tcp.resetAndDestroy()
				await viewer.closed
			}
			const before = steady.frames.length
			for (let round = 0; round < 3; round++) await Promise.all([resetting(), resetting()])
			await steady.received(before + 100)
			// How much later its frames come, if at all, bench/scenarios/lifecycle.mjs measures.
			t.is(steady.socket.readyState, steady.socket.OPEN)
			t.is((await flooding.closed).code, 1006)
			t.is(count(camera, 'play'), 1)
			t.deepEqual(messages(sluice, 'retrying'), [])
		}
	)
}
