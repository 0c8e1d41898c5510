import {once} from 'node:events'
import {readdirSync, readFileSync} from 'node:fs'
import test from 'ava'
import {countable, megabytesOf} from '../support/memory.js'
import {startCamera, startSluice} from '../support/processes.js'
import {onlySpare, until, view} from '../support/viewer.js'
import {openSession, webrtcWorkerOf} from '../support/webrtc-sessions.js'

const memoryOf = (pid: number) =>
	Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024

test.serial(
	'200 connects and disconnects leave descriptors, processes and memory where they were',
	async t => {
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
			for (let index = from; index < to; index += 4)
				await Promise.all([0, 1, 2, 3].map(async offset => visit(index + offset)))
			await onlySpare(sluice, 30_000)
		}
		await visits(0, 40)
		const before = {descriptors: descriptors(), megabytes: await megabytesOf(sluice)}
		await visits(40, 240)
		const after = await megabytesOf(sluice)
		t.log(`${before.descriptors} → ${descriptors()} descriptors, ${before.megabytes} → ${after} MB`)
		// 40 KB a connection would be the 8 MB.
		t.true(after < before.megabytes + 8, `${before.megabytes} → ${after} MB`)
		await until(
			() => descriptors() <= before.descriptors,
			30_000,
			`no more than ${before.descriptors} descriptors`
		)
		await view(t, url).received(5)
	}
)

test.serial('a session that has ended leaves no pictures in the WebRTC worker', async t => {
	const [camera, sluice] = await Promise.all([
		startCamera(t, ['--key-interval', '60', '--kbit', '4000']),
		startSluice(t, ['--share'])
	])
	const url = camera.url('/h264')
	// Keeps the stream, and with it the pictures since its only key frame.
	await view(t, sluice.stream({rtsp_url: url, pipeline: 'h264'}), {keep: 0}).received(200)
	const cycle = async (count: number) => {
		for (let done = 0; done < count; done++)
			await fetch((await openSession(sluice, url)).location, {method: 'DELETE'})
	}
	// A late viewer's pictures are 3 MB and more by now. Some 60 MB of garbage wait for V8 to collect them: that much is no leak.
	await cycle(30)
	const before = memoryOf(webrtcWorkerOf(sluice))
	await cycle(60)
	const grown = memoryOf(webrtcWorkerOf(sluice)) - before
	t.true(grown < 60, `${Math.round(grown)} MB more after 60 sessions more`)
})
