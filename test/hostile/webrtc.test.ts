import {createSocket} from 'node:dgram'
import {once} from 'node:events'
import {readdirSync, readFileSync} from 'node:fs'
import net, {type AddressInfo} from 'node:net'
import {fileURLToPath} from 'node:url'
import test, {type ExecutionContext} from 'ava'
import {BFrameFinder} from '../../dist/media/b-frames.js'
import {
	type Program,
	type Sluice,
	startCamera,
	startProgram,
	startSluice
} from '../support/processes.js'
import {chromiumOffer} from '../support/sdp-offers.js'
import {openSession as open, webrtcWorkerOf} from '../support/webrtc-sessions.js'
import {until} from '../support/viewer.js'

const clientPath = fileURLToPath(new URL('../support/whep-client.js', import.meta.url))
const start = async (t: ExecutionContext, flags: string[] = []) =>
	startSluice(t, ['--share', ...flags])
const event = (name: string) => (line: Record<string, unknown>) => line['event'] === name

const threadsOf = (pid: number) => readdirSync(`/proc/${pid}/task`).length

async function patch(
	{location, etag}: {location: string; etag: string},
	candidates: string[]
): Promise<number> {
	const body = ['a=mid:0', ...candidates.map(candidate => `a=${candidate}`), ''].join('\r\n')
	const response = await fetch(location, {
		method: 'PATCH',
		headers: {'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': etag},
		body
	})
	await response.text()
	return response.status
}

/** Starts a real viewer and resolves when it has received so many packets. */
async function watch(
	t: ExecutionContext,
	{http}: Sluice,
	url: string,
	packets: number
): Promise<Program> {
	const client = startProgram(t, process.execPath, [
		clientPath,
		`${http}/whep?${new URLSearchParams({rtsp_url: url}).toString()}`,
		'--no-nack'
	])
	await client.line(event('first'), 60_000)
	await until(
		() => {
			client.child.stdin?.write('stats\n')
			return client.lines.some(
				line => line['event'] === 'stats' && Number(line['packets']) >= packets
			)
		},
		60_000,
		`${packets} packets`
	)
	return client
}

test.serial('SCTP, which nothing uses, seldom wakes up in the WebRTC worker', async t => {
	const [camera, sluice] = await Promise.all([startCamera(t), start(t)])
	t.not((await open(sluice, camera.url('/h264'))).location, '')
	const tasks = `/proc/${webrtcWorkerOf(sluice)}/task`
	const thread = readdirSync(tasks).find(
		task => readFileSync(`${tasks}/${task}/comm`, 'utf8').trim() === 'SCTP timer'
	)
	const wakeUps = () =>
		Number(
			/\nvoluntary_ctxt_switches:\s+(\d+)/.exec(
				readFileSync(`${tasks}/${thread ?? 'none'}/status`, 'utf8')
			)?.[1]
		)
	const before = wakeUps()
	const startedMs = performance.now()
	// That it wakes up at all tells that this looks at the right thread.
	await until(() => wakeUps() >= before + 10, 60_000, 'it wakes up')
	const woken = wakeUps() - before
	// Where its timer is exact, each takes 10 ms. No event tells that, and a slow machine only makes it more.
	const eachMs = (performance.now() - startedMs) / woken
	t.true(eachMs > 1000 / 30, `${eachMs} ms`)
})

test.serial(
	'nothing is sent to an address that a viewer names in a candidate: SECURITY.md says so of --allow-rtsp-url off',
	async t => {
		const camera = await startCamera(t, ['--width', '320', '--height', '180'])
		const sluice = await start(t)
		const listener = createSocket('udp4')
		t.teardown(() => {
			listener.close()
		})
		listener.bind(0, '127.0.0.1')
		await once(listener, 'listening')
		let packets = 0
		listener.on('message', () => {
			packets++
		})
		const session = await open(sluice, camera.url('/h264'))
		t.is(
			await patch(session, [
				`candidate:1 1 UDP 2122252543 127.0.0.1 ${listener.address().port} typ host`
			]),
			204
		)
		// What the server had to send for it would have left before these: the worker takes its messages in turn.
		await watch(t, sluice, camera.url('/h264'), 100)
		t.is(packets, 0)
	}
)

test.serial(
	'names in candidates are not looked up: each is a thread of the WebRTC worker for as long as that takes',
	async t => {
		const camera = await startCamera(t, ['--width', '320', '--height', '180'])
		const sluice = await start(t)
		const url = camera.url('/h264')
		await open(sluice, url)
		const before = threadsOf(webrtcWorkerOf(sluice))
		for (let session = 0; session < 4; session++) {
			const opened = await open(sluice, url)
			await patch(
				opened,
				Array.from(
					{length: 32},
					(_, index) =>
						`candidate:${index} 1 UDP 2122252543 s${session}n${index}.invalid 9 typ host`
				)
			)
		}
		const threads = threadsOf(webrtcWorkerOf(sluice)) - before
		t.true(threads < 20, `${threads} threads more`)
	}
)

test.serial(
	'a viewer that asks for everything again, again and again, gets a bounded amount',
	async t => {
		const [camera, sluice] = await Promise.all([
			startCamera(t, ['--width', '640', '--height', '360', '--fps', '25']),
			start(t)
		])
		// As many as the server keeps: it could send all of these again.
		const client = await watch(t, sluice, camera.url('/h264'), 1100)
		client.child.stdin?.write('flood\n')
		const {asked, relayed} = await client.line(event('flooded'), 60_000)
		t.true(
			Number(relayed) < 20_000,
			`${String(relayed)} packets for ${String(asked)} that asked for a thousand each`
		)
		await sluice.line(
			line => line['reason'] === 'the viewer asked for too many packets again',
			60_000
		)
	}
)

test.serial(
	"a POST behind an answer without an end opens no session: it would not hear of the connection's end",
	async t => {
		const sluice = await start(t, ['--linger', '0'])
		const silent = net
			.createServer(socket => {
				socket.on('error', () => undefined)
			})
			.listen(0, '127.0.0.1')
		await once(silent, 'listening')
		t.teardown(() => {
			silent.close()
		})
		const camera = encodeURIComponent(`rtsp://127.0.0.1:${(silent.address() as AddressInfo).port}/`)
		const viewer = net
			.connect(sluice.port, '127.0.0.1')
			.on('error', () => undefined)
			.resume()
		t.teardown(() => {
			viewer.destroy()
		})
		viewer.write('GET /stream.mjpeg?pipeline=test HTTP/1.1\r\nHost: x\r\n\r\n')
		await once(viewer, 'data')
		viewer.write(
			`POST /whep?rtsp_url=${camera} HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: ${Buffer.byteLength(chromiumOffer)}\r\n\r\n${chromiumOffer}`
		)
		// Pictures that come behind it: had the server read it as a request, its pipeline would be opening by now.
		for (let more = 0; more < 20; more++) await once(viewer, 'data')
		viewer.destroy()
		const running = async () =>
			/workers\{state="running"\} (\d+)/.exec(
				await (await fetch(`${sluice.http}/metrics`)).text()
			)?.[1]
		await until(async () => (await running()) === '0', 30_000, 'its pipelines have ended')
		// The camera behind the POST was never opened: one pipeline, that of the answer without an end, is all that ran.
		t.deepEqual(
			sluice.lines.filter(line => line['msg'] === 'opening').map(line => line['template']),
			['test']
		)
	}
)

test('access units that are full of start codes are no B-frames', t => {
	// 6 MB, a million slices: a hostile camera's RTP carries such, and GStreamer hands it on.
	const accessUnit = Buffer.concat([
		Buffer.from([0, 0, 1, 0x65, 0x88, 0x84]),
		Buffer.alloc(6_000_000, Buffer.from([0, 0, 1, 0x65, 0x10, 0xc0]))
	])
	const finder = new BFrameFinder('H264')
	for (let frame = 0; frame < 6; frame++) finder.add(accessUnit)
	t.not(finder.found, true)
})
