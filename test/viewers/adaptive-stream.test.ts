import test, {type ExecutionContext} from 'ava'
import {type LinkOptions, startLink} from '../support/link.js'
import {type Sluice, startCamera, startSluice} from '../support/processes.js'
import {until, view} from '../support/viewer.js'

/** 78 kB an image at quality 80, and 49 at 25: 1.4 and 0.9 MB/s. */
const framesPerSecond = 18
const cameraFlags = ['--fps', String(framesPerSecond)]

/** A viewer behind a link whose rate may be changed: the sizes of its pictures, in bytes. */
async function viewThroughLink(
	t: ExecutionContext,
	sluice: Sluice,
	link: LinkOptions,
	query: Record<string, string>
): Promise<number[]> {
	const arrivals: number[] = []
	const port = await startLink(t, sluice.port, link)
	const viewer = view(
		t,
		`ws://127.0.0.1:${port}/ws/stream?${new URLSearchParams(query).toString()}`,
		{keep: 0}
	)
	viewer.socket.on('message', (data, isBinary) => {
		if (isBinary) arrivals.push((data as Buffer).length)
	})
	return arrivals
}

/** The size of a picture, as a mean of the last ones. */
const recentBytes = (arrivals: number[]) =>
	arrivals.slice(-framesPerSecond).reduce((sum, bytes) => sum + bytes, 0) / framesPerSecond

async function metric(sluice: Sluice, name: string): Promise<number> {
	const text = await (await fetch(`${sluice.http}/metrics`)).text()
	return Number(
		text
			.split('\n')
			.find(line => line.startsWith(`${name} `))
			?.split(' ')[1]
	)
}

test.serial(
	'on a link of 5, 1 and 5 MB/s the images shrink, the rate is kept, and they grow again',
	async t => {
		t.timeout(600_000)
		const camera = await startCamera(t, cameraFlags)
		const sluice = await startSluice(t)
		const link = {bytesPerSecond: 5e6}
		const arrivals = await viewThroughLink(t, sluice, link, {
			rtsp_url: camera.url('/h264'),
			adaptive: 'on'
		})
		await until(() => arrivals.length > 5 * framesPerSecond, 60_000, 'pictures')
		const fastBytes = recentBytes(arrivals)
		t.is(await metric(sluice, 'sluice_adaptive_viewers'), 1)
		t.is(await metric(sluice, 'sluice_adaptive_level'), 1)

		link.bytesPerSecond = 1e6
		await until(() => recentBytes(arrivals) < fastBytes * 0.85, 60_000, 'smaller pictures')
		await until(
			async () => (await metric(sluice, 'sluice_adaptive_level')) < 1,
			30_000,
			'the metrics tell'
		)
		// The rate is kept where the viewer misses few of the frames that there are, however many a busy machine makes.
		const counted = async () => ({
			sent: await metric(sluice, 'sluice_frames_sent_total{output="websocket"}'),
			dropped: await metric(sluice, 'sluice_frames_dropped_total{output="websocket"}')
		})
		let before = await counted()
		await until(
			async () => {
				const {sent, dropped} = await counted()
				if (sent - before.sent < 4 * framesPerSecond) return false
				const share = (dropped - before.dropped) / (sent - before.sent)
				before = {sent, dropped}
				return share < 0.1
			},
			60_000,
			'few dropped frames'
		)
		const smallBytes = recentBytes(arrivals)

		link.bytesPerSecond = 5e6
		await until(
			() => recentBytes(arrivals) > smallBytes * 1.1,
			300_000,
			'greater pictures: on a busy machine frames are lost now and then, and each loss puts that off'
		)
	}
)

test.serial('a camera that comes back has the quality that the link carries', async t => {
	const camera = await startCamera(t, cameraFlags)
	const sluice = await startSluice(t)
	const arrivals = await viewThroughLink(
		t,
		sluice,
		{bytesPerSecond: 5e5},
		{rtsp_url: camera.url('/h264'), adaptive: 'on'}
	)
	await until(() => arrivals.length > 0, 60_000, 'a picture')
	const first = arrivals[0] ?? 0
	// At the lowest quality this link is still too slow, so the rate is lowered too.
	await until(
		async () => (await metric(sluice, 'sluice_adaptive_level')) < 0.5,
		60_000,
		'lower quality and rate'
	)
	camera.child.kill('SIGKILL')
	await camera.exit
	await sluice.line(line => line['msg'] === 'retrying')
	const before = arrivals.length
	await startCamera(t, [...cameraFlags, '--port', String(camera.port)])
	await until(() => arrivals.length > before + 5, 60_000, 'pictures again')
	for (const bytes of arrivals.slice(before, before + 5))
		t.true(bytes < first * 0.8, `${bytes} of ${first}`)
	t.true((await metric(sluice, 'sluice_retries_total')) >= 1)
})

test.serial('a viewer of MJPEG over HTTP is followed as well', async t => {
	const sluice = await startSluice(t)
	const port = await startLink(t, sluice.port, {bytesPerSecond: 3e5})
	const abort = new AbortController()
	t.teardown(() => {
		abort.abort()
	})
	const response = await fetch(`http://127.0.0.1:${port}/stream.mjpeg?pipeline=test&adaptive=on`, {
		signal: abort.signal
	})
	t.is(response.status, 200)
	const reading = response.body?.pipeTo(new WritableStream())
	reading?.catch(() => undefined)
	await until(
		async () => (await metric(sluice, 'sluice_adaptive_level')) < 1,
		60_000,
		'lower quality'
	)
	t.is(await metric(sluice, 'sluice_viewers{output="mjpeg"}'), 1)
})

test.serial(
	'the images of a JPEG camera are encoded anew, for only these can be made smaller',
	async t => {
		const camera = await startCamera(t, ['--width', '640', '--height', '360'])
		const sluice = await startSluice(t)
		await until(
			async () => {
				const {pipelines} = (await (await fetch(`${sluice.http}/pipelines`)).json()) as {
					pipelines: {name: string; available: boolean}[]
				}
				return pipelines.some(({name, available}) => name === 'jpeg.mjpeg' && available)
			},
			60_000,
			'the variant is there'
		)
		const untouched = view(t, sluice.stream({rtsp_url: camera.url('/mjpeg')}))
		await untouched.received(30)
		const adaptive = view(t, sluice.stream({rtsp_url: camera.url('/mjpeg'), adaptive: 'on'}))
		await adaptive.received(30)
		t.deepEqual(
			sluice.lines.filter(line => line['msg'] === 'opening').map(line => line['template']),
			['jpeg', 'jpeg.mjpeg', 'jpeg']
		)
	}
)
