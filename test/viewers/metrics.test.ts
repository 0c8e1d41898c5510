import test from 'ava'
import {Adaptive} from '../../dist/viewers/adaptive.js'
import {errorTable} from '../../dist/base/errors.js'
import {Metrics} from '../../dist/viewers/metrics.js'
import {startCamera, startSluice} from '../support/processes.js'
import {until, view} from '../support/viewer.js'

/** The samples of Prometheus' text format: `name{label="value"}` → value. */
function samples(text: string): Map<string, number> {
	const lines = text.split('\n').filter(line => line !== '' && !line.startsWith('#'))
	return new Map(
		lines.map(line => [
			line.slice(0, line.lastIndexOf(' ')),
			Number(line.slice(line.lastIndexOf(' ') + 1))
		])
	)
}

test('counters add up, gauges say what is, and a viewer that closes twice has gone once', async t => {
	const metrics = new Metrics({
		streamStates: () => ['playing', 'playing', 'retrying'],
		workers: () => ({running: 3, spare: 1})
	})
	const one = metrics.viewer('websocket')
	const other = metrics.viewer('mjpeg')
	const adaptive = new Adaptive([
		{parameter: 'q', element: 'e', property: 'quality', lowest: 25, greatest: 80}
	])
	one.adapts(adaptive)
	one.sent(1000)
	one.sent(500)
	one.dropped(3)
	one.stepped('down')
	one.failed('camera_lost')
	metrics.failed('camera_lost')
	metrics.retried()
	metrics.counted('whep', {frames: 30, bytes: 900, dropped: 2})
	other.close()
	other.close()
	const read = samples(await metrics.text())
	for (const [name, value] of Object.entries({
		'sluice_streams{state="playing"}': 2,
		'sluice_streams{state="retrying"}': 1,
		'sluice_streams{state="failed"}': 0,
		'sluice_viewers{output="websocket"}': 1,
		'sluice_viewers{output="mjpeg"}': 0,
		'sluice_workers{state="running"}': 3,
		'sluice_workers{state="spare"}': 1,
		'sluice_frames_sent_total{output="websocket"}': 2,
		'sluice_frames_sent_total{output="mjpeg"}': 0,
		'sluice_frames_dropped_total{output="websocket"}': 3,
		'sluice_bytes_sent_total{output="websocket"}': 1500,
		'sluice_viewers{output="whep"}': 0,
		'sluice_frames_sent_total{output="whep"}': 30,
		'sluice_bytes_sent_total{output="whep"}': 900,
		'sluice_frames_dropped_total{output="whep"}': 2,
		'sluice_failures_total{code="camera_lost"}': 2,
		sluice_retries_total: 1,
		sluice_adaptive_viewers: 1,
		sluice_adaptive_level: 1,
		'sluice_adaptive_steps_total{direction="down"}': 1
	}))
		t.is(read.get(name), value, name)
	one.close()
	t.is(samples(await metrics.text()).get('sluice_adaptive_viewers'), 0)
})

test.serial('GET /metrics tells of viewers, workers and failures, and of no camera', async t => {
	const camera = await startCamera(t, ['--width', '640', '--height', '360'])
	const sluice = await startSluice(t)
	const read = async () => {
		const response = await fetch(`${sluice.http}/metrics`)
		return {type: response.headers.get('content-type'), text: await response.text()}
	}
	const viewer = view(t, sluice.stream({rtsp_url: camera.url('/secret', 'demo:secret')}))
	await viewer.received(20)
	const failed = view(t, sluice.stream({rtsp_url: camera.url('/nothing', 'demo:secret')}))
	t.is((await failed.closed).reason, 'camera_not_found')
	await fetch(`${sluice.http}/nothing`)
	const {type, text} = await read()
	t.regex(type ?? '', /^text\/plain; version=0\.0\.4/)
	const values = samples(text)
	t.is(values.get('sluice_viewers{output="websocket"}'), 1)
	t.is(values.get('sluice_streams{state="playing"}'), 1)
	t.true((values.get('sluice_workers{state="running"}') ?? 0) >= 1)
	t.true((values.get('sluice_frames_sent_total{output="websocket"}') ?? 0) >= 20)
	t.true(
		(values.get('sluice_bytes_sent_total{output="websocket"}') ?? 0) >=
			viewer.frames.slice(0, 20).reduce((sum, {length}) => sum + length, 0)
	)
	t.is(values.get('sluice_failures_total{code="camera_not_found"}'), 1)
	t.is(values.get('sluice_failures_total{code="not_found"}'), 1)
	for (const secret of ['rtsp', 'secret', 'demo', '127.0.0.1', String(camera.port)])
		t.false(text.includes(secret), secret)
	for (const name of values.keys()) {
		const label = /\{(.*)\}/.exec(name)?.[1] ?? ''
		t.regex(label, /^$|^(state|output|direction)="[a-z]+"$|^code="[a-z_]+"$/)
		const code = /code="(.*)"/.exec(label)?.[1]
		t.true(code === undefined || code in errorTable, name)
	}
	viewer.socket.close()
	await until(
		async () => samples((await read()).text).get('sluice_viewers{output="websocket"}') === 0,
		10_000,
		'the viewer is not counted any more'
	)
})

test.serial('adaptive=on where it cannot be is refused with the reason', async t => {
	const [sluice, sharing] = await Promise.all([startSluice(t), startSluice(t, ['--share'])])
	for (const [url, reason] of [
		[sluice.stream({pipeline: 'test', adaptive: 'yes'}), /adaptive must be on or off/],
		[
			sluice.stream({rtsp_url: 'rtsp://127.0.0.1/', pipeline: 'jpeg.mjpeg', adaptive: 'on'}),
			/has no @adaptive line/
		],
		[sharing.stream({pipeline: 'test', adaptive: 'on'}), /--share/]
	] as const) {
		const {code, error} = await view(t, url).closed
		t.is(code, 4400)
		t.is(error?.['code'], 'bad_request')
		t.regex(error?.['detail'] ?? '', reason)
	}
	const snapshot = await fetch(`${sluice.http}/snapshot.jpg?pipeline=test&adaptive=on`)
	t.is(snapshot.status, 400)
	t.regex(await snapshot.text(), /a snapshot is one image/)
	t.is((await fetch(`${sluice.http}/snapshot.jpg?pipeline=test&adaptive=off`)).status, 200)
	for (const [server, count] of [
		[sluice, 2],
		[sharing, 0]
	] as const) {
		const {pipelines} = (await (await fetch(`${server.http}/pipelines`)).json()) as {
			pipelines: {name: string; adaptive: unknown[]}[]
		}
		t.is(pipelines.find(({name}) => name === 'jpeg')?.adaptive.length, count)
	}
})
