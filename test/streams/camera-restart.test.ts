import http from 'node:http'
import process from 'node:process'
import test, {type ExecutionContext} from 'ava'
import {isKeyFrame} from '../../dist/media/nal-units.js'
import {jpegSize} from '../support/jpeg.js'
import {kill, messages, sessions, startPlainSluice} from '../support/plain-sluice.js'
import {type Camera, childrenOf, ended, type Sluice, startCamera} from '../support/processes.js'
import {until, view} from '../support/viewer.js'

// Cameras and workers that end while somebody watches, with the real server and real cameras.

const small = ['--width', '320', '--height', '180', '--fps', '15']

async function restartCamera(
	t: ExecutionContext,
	{port}: Camera,
	flags: string[]
): Promise<Camera> {
	return startCamera(t, [...flags, '--port', String(port)])
}

/** A viewer of /stream.mjpeg. */
function viewMjpeg(
	t: ExecutionContext,
	sluice: Sluice,
	query: Record<string, string>
): {pictures: () => number; ended: Promise<void>} {
	let pictures = 0
	let end: () => void = () => undefined
	const closed = new Promise<void>(resolve => {
		end = resolve
	})
	const request = http.get(
		`${sluice.http}/stream.mjpeg?${new URLSearchParams(query).toString()}`,
		response => {
			// Each picture's header comes in one piece, as it was written.
			response.on('data', (chunk: Buffer) => {
				pictures += chunk.toString('latin1').split('Content-Length:').length - 1
			})
			response.on('error', () => undefined)
			response.once('close', end)
		}
	)
	request.on('error', () => {
		end()
	})
	t.teardown(() => {
		request.destroy()
	})
	return {pictures: () => pictures, ended: closed}
}

test('a camera that reboots comes back by itself, for every kind of viewer, shared or not', async t => {
	const camera = await startCamera(t, [...small, '--key-interval', '2'])
	const servers = await Promise.all([startPlainSluice(t, []), startPlainSluice(t, ['--share'])])
	const rtsp_url = camera.url('/h264')
	const images = servers.flatMap(sluice => [
		view(t, sluice.stream({rtsp_url})),
		view(t, sluice.stream({rtsp_url}))
	])
	const coded = servers.map(sluice => view(t, sluice.stream({rtsp_url, pipeline: 'h264'})))
	const mjpeg = servers.map(sluice => viewMjpeg(t, sluice, {rtsp_url}))
	await Promise.all([...images, ...coded].map(async viewer => viewer.received(5)))
	await until(() => mjpeg.every(({pictures}) => pictures() >= 3), 60_000, 'pictures over HTTP')
	await kill(camera)
	// A camera that reboots is gone for longer: it is tried again in vain first.
	const retried = (sluice: Sluice) =>
		messages(sluice, 'retrying').filter(({retry}) => retry === 3).length
	const [own, both] = servers
	await until(
		() => retried(own) >= 4 && retried(both) >= 2,
		60_000,
		'each stream was tried again three times'
	)
	const before = {
		images: images.map(({frames}) => frames.length),
		mjpeg: mjpeg.map(({pictures}) => pictures())
	}
	/** What came after the reboot, in its order. */
	const events = coded.map(({socket}) => {
		const order: (string | Buffer)[] = []
		socket.on('message', (data, isBinary) => {
			order.push(isBinary ? (data as Buffer) : (data as Buffer).toString())
		})
		return order
	})
	await restartCamera(t, camera, [
		'--width',
		'480',
		'--height',
		'272',
		'--fps',
		'15',
		'--key-interval',
		'2'
	])
	await Promise.all(
		images.map(async (viewer, index) => viewer.received((before.images[index] ?? 0) + 10))
	)
	await until(() => events.every(({length}) => length >= 10), 60_000, 'coded video')
	await until(
		() => mjpeg.every(({pictures}, index) => pictures() >= (before.mjpeg[index] ?? 0) + 5),
		60_000,
		'pictures over HTTP'
	)
	for (const {frames} of images) t.deepEqual(jpegSize(frames.at(-1)), {width: 480, height: 272})
	for (const [caps, first, ...rest] of events) {
		t.like(JSON.parse(String(caps)), {caps: {name: 'video/x-h264', width: 480, height: 272}})
		t.true(Buffer.isBuffer(first) && isKeyFrame(first))
		t.true(rest.every(event => Buffer.isBuffer(event)))
	}
	const [alone, shared] = servers.map(
		sluice => new Set(messages(sluice, 'retrying').map(({worker, viewer}) => worker ?? viewer)).size
	)
	t.is(alone, 4)
	t.is(shared, 1)
})

test('a camera that froze while its viewers waited: coded video goes on with a key frame', async t => {
	const camera = await startCamera(t, [...small, '--key-interval', '3'])
	const sluice = await startPlainSluice(t, ['--share', '--frame-timeout', '2'])
	const viewer = view(t, sluice.stream({rtsp_url: camera.url('/h264'), pipeline: 'h264'}))
	// It has one more viewer, so its encoder does not start anew for ours.
	const other = await startPlainSluice(t, ['--frame-timeout', '60'])
	await view(t, other.stream({rtsp_url: camera.url('/h264'), pipeline: 'h264'})).received(5)
	await viewer.received(10)
	// A busy machine may have had its silence before.
	const retries = messages(sluice, 'retrying').length
	camera.child.kill('SIGSTOP')
	await until(
		() => messages(sluice, 'retrying').length > retries,
		60_000,
		'the camera is tried again'
	)
	const before = viewer.frames.length
	camera.child.kill('SIGCONT')
	await viewer.received(before + 20)
	t.true(isKeyFrame(viewer.frames[before] ?? Buffer.alloc(0)))
})

test('a camera that does not come back: camera_lost, with how long it was tried again and why', async t => {
	const camera = await startCamera(t, small)
	const sluice = await startPlainSluice(t, ['--retry-for', '5'])
	const query = {rtsp_url: camera.url('/h264')}
	const viewer = view(t, sluice.stream(query))
	const mjpeg = viewMjpeg(t, sluice, query)
	await viewer.received(5)
	await until(() => mjpeg.pictures() > 0, 60_000, 'a picture over HTTP')
	await kill(camera)
	const {code, error} = await viewer.closed
	t.is(code, 4502)
	t.deepEqual(error, {
		error: 'The camera stopped sending',
		code: 'camera_lost',
		detail: `tried again for 5 s: 127.0.0.1:${camera.port} refused the connection; is the port right?`
	})
	await mjpeg.ended
	t.true(messages(sluice, 'retrying').length > 0)
	await until(() => childrenOf(sluice.pid).length === 1, 60_000, 'only the spare is left')
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
	await Promise.all(
		viewers.map(async (viewer, index) => viewer.received((before[index] ?? 0) + 10))
	)
	t.like(messages(sluice, 'retrying'), {length: 1})
	t.is(messages(sluice, 'retrying')[0]?.['code'], 'pipeline_failed')
	t.is(messages(sluice, 'playing').length, 2)
	t.deepEqual(
		viewers.flatMap(({texts}) => texts),
		[]
	)
})

for (const state of ['retrying', 'lingering', 'starting'] as const) {
	test.serial(
		`SIGTERM while streams are ${state}: exit code 0, which tells that no deadline had to end it, and nothing is left`,
		async t => {
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
			const workers = childrenOf(sluice.pid)
			t.true(workers.length > 0)
			sluice.child.kill('SIGTERM')
			t.deepEqual(await sluice.exit, {code: 0, signal: null})
			if (state !== 'lingering')
				for (const viewer of viewers) t.is((await viewer.closed).code, 1001)
			await until(() => workers.every(ended), 60_000, 'no worker is left')
			if (state === 'lingering')
				await until(() => sessions(camera) === 0, 60_000, 'no session is left')
		}
	)
}
