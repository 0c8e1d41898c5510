import {setTimeout as delay} from 'node:timers/promises'
import test, {type ExecutionContext} from 'ava'
import {type LinkOptions, startLink} from './link.js'
import {type Sluice, startCamera, startSluice} from './processes.js'
import {until, view} from './viewer.js'

/** 78 kB an image at quality 80, and 49 at 25: 1.4 and 0.9 MB/s. */
const framesPerSecond = 18
const cameraFlags = ['--fps', String(framesPerSecond)]

interface Arrival {
	atMs: number
	bytes: number
}

/** A viewer behind a link whose rate may be changed, that keeps no picture. */
async function viewThroughLink(t: ExecutionContext, sluice: Sluice, link: LinkOptions, query: Record<string, string>): Promise<Arrival[]> {
	const arrivals: Arrival[] = []
	const port = await startLink(t, sluice.port, link)
	const viewer = view(t, `ws://127.0.0.1:${port}/ws/stream?${new URLSearchParams(query).toString()}`, {keep: 0})
	viewer.socket.on('message', (data, isBinary) => { if (isBinary) arrivals.push({atMs: performance.now(), bytes: (data as Buffer).length}) })
	return arrivals
}

/** Of the frames of the last so many milliseconds. */
function recent(arrivals: Arrival[], ms: number): {perSecond: number; meanBytes: number} {
	const since = performance.now() - ms
	const list = arrivals.filter(({atMs}) => atMs > since)
	return {perSecond: list.length / ms * 1000, meanBytes: list.reduce((sum, {bytes}) => sum + bytes, 0) / list.length}
}

async function metric(sluice: Sluice, name: string): Promise<number> {
	const text = await (await fetch(`${sluice.http}/metrics`)).text()
	return Number(text.split('\n').find(line => line.startsWith(`${name} `))?.split(' ')[1])
}

test.serial('on a link of 5, 1 and 5 MB/s the images shrink, the rate is kept, and they grow again', async t => {
	const camera = await startCamera(t, cameraFlags)
	const sluice = await startSluice(t)
	const link = {bytesPerSecond: 5e6}
	const arrivals = await viewThroughLink(t, sluice, link, {rtsp_url: camera.url('/h264'), adaptive: 'on'})
	await until(() => arrivals.length > 5 * framesPerSecond, 20_000, 'five seconds of pictures')
	const fast = recent(arrivals, 3000)
	t.is(await metric(sluice, 'sluice_adaptive_viewers'), 1)
	t.is(await metric(sluice, 'sluice_adaptive_level'), 1)

	link.bytesPerSecond = 1e6
	// The rate alone would be kept for a moment by what is under way.
	await until(() => recent(arrivals, 3000).meanBytes < fast.meanBytes * 0.85 && recent(arrivals, 3000).perSecond > fast.perSecond * 0.9, 30_000, 'smaller pictures at the full rate')
	await until(async () => await metric(sluice, 'sluice_adaptive_level') < 1, 5000, 'the metrics tell')
	const small = recent(arrivals, 1000).meanBytes
	// On a busy machine the link is slower than it should be; what counts is that its viewer misses few of the frames that there are.
	const counted = async () => ({sent: await metric(sluice, 'sluice_frames_sent_total{output="websocket"}'), dropped: await metric(sluice, 'sluice_frames_dropped_total{output="websocket"}')})
	await until(async () => {
		const before = await counted()
		await delay(4000)
		const after = await counted()
		return after.sent > before.sent && (after.dropped - before.dropped) / (after.sent - before.sent) < 0.1
	}, 40_000, 'few dropped frames')

	link.bytesPerSecond = 5e6
	await until(() => recent(arrivals, 1000).meanBytes > small * 1.1, 60_000, 'greater pictures')
})

test.serial('a camera that comes back has the quality that the link carries', async t => {
	const camera = await startCamera(t, cameraFlags)
	const sluice = await startSluice(t)
	const arrivals = await viewThroughLink(t, sluice, {bytesPerSecond: 5e5}, {rtsp_url: camera.url('/h264'), adaptive: 'on'})
	await until(() => arrivals.length > 0, 20_000, 'a picture')
	const first = arrivals[0]?.bytes ?? 0
	// At the lowest quality this link is still too slow, so the rate is lowered too.
	await until(async () => await metric(sluice, 'sluice_adaptive_level') < 0.5, 30_000, 'lower quality and rate')
	camera.child.kill('SIGKILL')
	await camera.exit
	await sluice.line(line => line['msg'] === 'retrying')
	const before = arrivals.length
	await startCamera(t, [...cameraFlags, '--port', String(camera.port)])
	await until(() => arrivals.length > before + 5, 20_000, 'pictures again')
	for (const {bytes} of arrivals.slice(before, before + 5)) t.true(bytes < first * 0.8, `${bytes} of ${first}`)
	t.true(await metric(sluice, 'sluice_retries_total') >= 1)
})

test.serial('a viewer of MJPEG over HTTP is followed as well', async t => {
	const sluice = await startSluice(t)
	const port = await startLink(t, sluice.port, {bytesPerSecond: 3e5})
	const abort = new AbortController()
	t.teardown(() => { abort.abort() })
	const response = await fetch(`http://127.0.0.1:${port}/stream.mjpeg?pipeline=test&adaptive=on`, {signal: abort.signal})
	t.is(response.status, 200)
	const reading = response.body?.pipeTo(new WritableStream())
	reading?.catch(() => undefined)
	await until(async () => await metric(sluice, 'sluice_adaptive_level') < 1, 60_000, 'lower quality')
	t.is(await metric(sluice, 'sluice_viewers{output="mjpeg"}'), 1)
})

test.serial('the images of a JPEG camera are encoded anew, for only these can be made smaller', async t => {
	const camera = await startCamera(t, ['--width', '640', '--height', '360'])
	const sluice = await startSluice(t)
	await until(async () => {
		const {pipelines} = await (await fetch(`${sluice.http}/pipelines`)).json() as {pipelines: {name: string; available: boolean}[]}
		return pipelines.some(({name, available}) => name === 'jpeg.mjpeg' && available)
	}, 20_000, 'the variant is there')
	const untouched = view(t, sluice.stream({rtsp_url: camera.url('/mjpeg')}))
	await untouched.received(30)
	const adaptive = view(t, sluice.stream({rtsp_url: camera.url('/mjpeg'), adaptive: 'on'}))
	await adaptive.received(30)
	t.deepEqual(sluice.lines.filter(line => line['msg'] === 'opening').map(line => line['template']), ['jpeg', 'jpeg.mjpeg', 'jpeg'])
})
