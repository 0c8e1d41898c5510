import {once} from 'node:events'
import {readdirSync} from 'node:fs'
import net, {type AddressInfo} from 'node:net'
import test from 'ava'
import {countable, megabytesOf} from './memory.js'
import {startCamera, startSluice} from './processes.js'
import {onlySpare, until, view} from './viewer.js'

const small = ['--width', '640', '--height', '360']

test.serial('two viewers on two cameras: one camera is killed, the other viewer misses nothing', async t => {
	const sluice = await startSluice(t, ['--retry-for', '0'])
	const [doomed, steady] = await Promise.all([startCamera(t, small), startCamera(t, small)])
	const first = view(t, sluice.stream({rtsp_url: doomed.url('/h264')}))
	const second = view(t, sluice.stream({rtsp_url: steady.url('/h264')}))
	await Promise.all([first.received(10), second.received(10)])
	let lastMs = performance.now()
	let longestGapMs = 0
	second.socket.on('message', () => {
		longestGapMs = Math.max(longestGapMs, performance.now() - lastMs)
		lastMs = performance.now()
	})
	doomed.child.kill('SIGKILL')
	t.is((await first.closed).error?.['code'], 'camera_lost')
	await second.received(second.frames.length + 60)
	// A disturbed stream would stop, or start anew; a busy machine's own pauses are far shorter.
	t.true(longestGapMs < 1000, `${longestGapMs} ms`)
})

test.serial('six viewers of silent cameras take nothing from a seventh', async t => {
	const silent = net.createServer(() => undefined).listen(0, '127.0.0.1')
	await once(silent, 'listening')
	t.teardown(() => silent.close())
	const silentUrl = `rtsp://127.0.0.1:${(silent.address() as AddressInfo).port}/`
	const camera = await startCamera(t, small)
	const sluice = await startSluice(t)
	const waiting = Array.from({length: 6}, () => view(t, sluice.stream({rtsp_url: silentUrl})))
	const seventh = view(t, sluice.stream({rtsp_url: camera.url('/h264')}))
	const ends = await Promise.all(waiting.map(async viewer => viewer.closed))
	t.deepEqual(ends.map(({error}) => error?.['code']), Array<string>(6).fill('camera_timeout'))
	t.true(seventh.frames.length > 60, `${seventh.frames.length} frames meanwhile`)
})

test.serial('200 connects and disconnects leave descriptors, processes and memory where they were', async t => {
	t.timeout(240_000)
	const camera = await startCamera(t, ['--width', '320', '--height', '180', '--fps', '10'])
	const sluice = await startSluice(t, [], countable)
	const url = sluice.stream({rtsp_url: camera.url('/h264')})
	const descriptors = () => readdirSync(`/proc/${sluice.pid}/fd`).length
	/** Leaves at every stage: during the handshake, before the pipeline plays, after the first picture, with a reset. */
	const visit = async (index: number) => {
		const viewer = view(t, url)
		if (index % 4 === 0) await viewer.received(1)
		else if (index % 4 !== 1) await once(viewer.socket, 'open')
		if (index % 4 === 3) viewer.socket.terminate()
		else viewer.socket.close()
		await viewer.closed
	}
	const visits = async (from: number, to: number) => {
		for (let index = from; index < to; index += 4) await Promise.all([0, 1, 2, 3].map(async offset => visit(index + offset)))
		await onlySpare(sluice, 10_000)
	}
	await visits(0, 40)
	const before = {descriptors: descriptors(), megabytes: await megabytesOf(sluice)}
	await visits(40, 240)
	const after = await megabytesOf(sluice)
	t.log(`${before.descriptors} → ${descriptors()} descriptors, ${before.megabytes} → ${after} MB`)
	// 40 KB a connection would be the 8 MB.
	t.true(after < before.megabytes + 8, `${before.megabytes} → ${after} MB`)
	await until(() => descriptors() <= before.descriptors, 10_000, `no more than ${before.descriptors} descriptors`)
	await view(t, url).received(5)
})
