import {once} from 'node:events'
import {readdirSync} from 'node:fs'
import http from 'node:http'
import {setTimeout as delay} from 'node:timers/promises'
import test from 'ava'
import {countable, megabytesOf} from '../support/memory.js'
import {messages, sessions, startPlainSluice} from '../support/plain-sluice.js'
import {startCamera} from '../support/processes.js'
import {onlySpare, until, view} from '../support/viewer.js'

/** A small generator of random numbers from 0 to 1, the same for the same seed: mulberry32. */
function seeded(seed: number): () => number {
	let state = seed
	return () => {
		state = (state + 0x6d2b79f5) | 0
		let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
		mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)
		return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
	}
}

test.serial(
	'1,000 random joins and leaves leave no worker, no session, no descriptor and no memory behind',
	async t => {
		t.timeout(240_000)
		const tiny = ['--width', '176', '--height', '144', '--fps', '5']
		const cameras = await Promise.all([startCamera(t, tiny), startCamera(t, tiny)])
		const sluice = await startPlainSluice(
			t,
			['--share', '--linger', '0.1', '--open-timeout', '60'],
			countable
		)
		// GStreamer's own server now and then hangs where one session ends while another begins: each camera keeps one all the time.
		const keeper = await startPlainSluice(t, [])
		await Promise.all(
			cameras.map(async camera =>
				view(t, keeper.stream({rtsp_url: camera.url('/h264'), pipeline: 'h264'}), {
					keep: 0
				}).received(1)
			)
		)
		const random = seeded(20_251)
		const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T
		const queries = cameras.flatMap(camera =>
			[{}, {quality: '50'}, {pipeline: 'h264'}].map(query => ({
				rtsp_url: camera.url('/h264'),
				...query
			}))
		)
		const visitWebSocket = async (query: Record<string, string>, end: string, stayMs: number) => {
			const viewer = view(t, sluice.stream(query), {keep: 0})
			if (end === 'close after a picture') await viewer.received(1, 60_000)
			else if (end !== 'destroy in the handshake') await once(viewer.socket, 'open')
			else await delay(stayMs / 50)
			if (end === 'terminate' || end === 'close') await delay(stayMs)
			if (end.startsWith('close')) viewer.socket.close()
			else viewer.socket.terminate()
			await viewer.closed
		}
		const visitHttp = async (route: string, query: Record<string, string>, stayMs: number) => {
			const request = http.get(
				`${sluice.http}${route}?${new URLSearchParams(query).toString()}`,
				response => {
					response.on('error', () => undefined).resume()
				}
			)
			const closed = new Promise(resolve => {
				request.on('error', () => undefined).once('close', resolve)
			})
			await delay(stayMs)
			request.destroy()
			await closed
		}
		const visit = async () => {
			const query = pick(queries)
			const stayMs = random() * 300
			const way = random()
			if (way < 0.1 && !('pipeline' in query))
				await visitHttp(pick(['/stream.mjpeg', '/snapshot.jpg']), query, stayMs)
			else
				await visitWebSocket(
					query,
					pick(['close after a picture', 'close', 'terminate', 'destroy in the handshake']),
					stayMs
				)
		}
		const visits = async (total: number) => {
			let left = total
			await Promise.all(
				Array.from({length: 10}, async () => {
					while (left-- > 0) await visit()
				})
			)
			await onlySpare(sluice, 60_000)
			await until(
				() => cameras.every(camera => sessions(camera) === 1),
				60_000,
				'no camera has another session'
			)
		}
		const descriptors = () => readdirSync(`/proc/${sluice.pid}/fd`).length
		await visits(150)
		const before = {descriptors: descriptors(), megabytes: await megabytesOf(sluice)}
		await visits(850)
		const after = await megabytesOf(sluice)
		t.log(
			`${before.descriptors} → ${descriptors()} descriptors, ${before.megabytes} → ${after} MB, ${messages(sluice, 'opening').length} pipelines`
		)
		await until(
			() => descriptors() <= before.descriptors,
			60_000,
			`no more than ${before.descriptors} descriptors`
		)
		// 10 KB a visit would be the 8 MB.
		t.true(after < before.megabytes + 8, `${before.megabytes} → ${after} MB`)
		t.deepEqual(
			sluice.lines.filter(({level}) => level === 'error'),
			[]
		)
		for (const query of queries) await view(t, sluice.stream(query)).received(3)
	}
)
