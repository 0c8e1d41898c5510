import {once} from 'node:events'
import net, {type AddressInfo} from 'node:net'
import test from 'ava'
import {patient, startCamera, startSluice} from '../support/processes.js'
import {until, view} from '../support/viewer.js'

const small = ['--width', '640', '--height', '360']

test.serial(
	'two viewers on two cameras: one camera is killed, the other stream goes on',
	async t => {
		const sluice = await startSluice(t, ['--retry-for', '0'])
		const [doomed, steady] = await Promise.all([startCamera(t, small), startCamera(t, small)])
		const first = view(t, sluice.stream({rtsp_url: doomed.url('/h264')}))
		const second = view(t, sluice.stream({rtsp_url: steady.url('/h264')}))
		await Promise.all([first.received(10), second.received(10)])
		doomed.child.kill('SIGKILL')
		t.is((await first.closed).error?.['code'], 'camera_lost')
		await second.received(second.frames.length + 60)
		// A disturbed stream would stop, or start anew, in a third worker. How long its pauses are, bench/ measures.
		t.is(sluice.lines.filter(line => line['msg'] === 'opening').length, 2)
		t.deepEqual(
			sluice.lines.filter(line => line['msg'] === 'retrying'),
			[]
		)
	}
)

test.serial('six viewers of silent cameras take nothing from a seventh', async t => {
	const sockets = new Set<net.Socket>()
	const silent = net
		.createServer(socket => {
			sockets.add(socket.on('error', () => undefined))
		})
		.listen(0, '127.0.0.1')
	await once(silent, 'listening')
	t.teardown(() => silent.close())
	const silentUrl = `rtsp://127.0.0.1:${(silent.address() as AddressInfo).port}/`
	const camera = await startCamera(t, small)
	const sluice = await startSluice(t, await patient())
	const waiting = Array.from({length: 6}, () => view(t, sluice.stream({rtsp_url: silentUrl})))
	await until(() => sockets.size === 6, 30_000, 'all six wait')
	const seventh = view(t, sluice.stream({rtsp_url: camera.url('/h264')}))
	await seventh.received(60, 60_000)
	t.true(
		waiting.every(({socket}) => socket.readyState === socket.OPEN),
		'they wait still'
	)
	silent.close()
	for (const socket of sockets) socket.destroy()
	const ends = await Promise.all(waiting.map(async viewer => viewer.closed))
	t.deepEqual(
		ends.map(({error}) => error?.['code']),
		Array<string>(6).fill('camera_unreachable')
	)
})
