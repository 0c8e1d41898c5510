import {createSocket} from 'node:dgram'
import {once} from 'node:events'
import {readdirSync, readFileSync} from 'node:fs'
import net, {type AddressInfo} from 'node:net'
import {setTimeout as delay} from 'node:timers/promises'
import {fileURLToPath} from 'node:url'
import test, {type ExecutionContext} from 'ava'
import {BFrameFinder} from '../dist/b-frames.js'
import {childrenOf, type Program, type Sluice, startCamera, startProgram, startSluice} from './processes.js'
import {chromiumOffer} from './sdp-offers.js'
import {until, view} from './viewer.js'

const clientPath = fileURLToPath(new URL('whep-client.js', import.meta.url))
const start = async (t: ExecutionContext, flags: string[] = []) => startSluice(t, ['--share', ...flags])
const event = (name: string) => (line: Record<string, unknown>) => line['event'] === name

/** The process of all WebRTC viewers, from the first one on. */
function webrtcWorkerOf({pid}: Program): number {
	return childrenOf(pid).find(child => readFileSync(`/proc/${child}/cmdline`, 'utf8').includes('webrtc-worker')) ?? -1
}

const memoryOf = (pid: number) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
const threadsOf = (pid: number) => readdirSync(`/proc/${pid}/task`).length

/** Opens a session that never connects. */
async function open({http}: Sluice, url: string): Promise<{location: string; etag: string}> {
	const response = await fetch(`${http}/whep?${new URLSearchParams({rtsp_url: url}).toString()}`, {method: 'POST', headers: {'Content-Type': 'application/sdp'}, body: chromiumOffer})
	await response.text()
	return {location: response.headers.get('Location') ?? '', etag: response.headers.get('ETag') ?? ''}
}

async function patch({location, etag}: {location: string; etag: string}, candidates: string[]): Promise<number> {
	const body = ['a=mid:0', ...candidates.map(candidate => `a=${candidate}`), ''].join('\r\n')
	const response = await fetch(location, {method: 'PATCH', headers: {'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': etag}, body})
	await response.text()
	return response.status
}

test.serial('SCTP, which nothing uses, seldom wakes up in the WebRTC worker', async t => {
	const [camera, sluice] = await Promise.all([startCamera(t), start(t)])
	t.not((await open(sluice, camera.url('/h264'))).location, '')
	const tasks = `/proc/${webrtcWorkerOf(sluice)}/task`
	const thread = readdirSync(tasks).find(task => readFileSync(`${tasks}/${task}/comm`, 'utf8').trim() === 'SCTP timer')
	const wakeUps = () => Number(/\nvoluntary_ctxt_switches:\s+(\d+)/.exec(readFileSync(`${tasks}/${thread ?? 'none'}/status`, 'utf8'))?.[1])
	const before = wakeUps()
	await delay(1000)
	const woken = wakeUps() - before
	// A hundred times where its timer is exact; and not never, for then this would look at another thread.
	t.true(woken > 0 && woken < 30, `${woken} times in a second`)
})

test.serial('a session that has ended leaves no pictures in the WebRTC worker', async t => {
	const [camera, sluice] = await Promise.all([startCamera(t, ['--key-interval', '60', '--kbit', '4000']), start(t)])
	const url = camera.url('/h264')
	// Keeps the stream, and with it the pictures since its only key frame.
	await view(t, sluice.stream({rtsp_url: url, pipeline: 'h264'}), {keep: 0}).received(200)
	const cycle = async (count: number) => {
		for (let done = 0; done < count; done++) await fetch((await open(sluice, url)).location, {method: 'DELETE'})
	}
	// A late viewer's pictures are 3 MB and more by now. Some 60 MB of garbage wait for V8 to collect them: that much is no leak.
	await cycle(30)
	const before = memoryOf(webrtcWorkerOf(sluice))
	await cycle(60)
	const grown = memoryOf(webrtcWorkerOf(sluice)) - before
	t.true(grown < 60, `${Math.round(grown)} MB more after 60 sessions more`)
})

test.serial('nothing is sent to an address that a viewer names in a candidate: SECURITY.md says so of --allow-rtsp-url off', async t => {
	const camera = await startCamera(t, ['--width', '320', '--height', '180'])
	const sluice = await start(t)
	const listener = createSocket('udp4')
	t.teardown(() => { listener.close() })
	listener.bind(0, '127.0.0.1')
	await once(listener, 'listening')
	let packets = 0
	listener.on('message', () => { packets++ })
	const session = await open(sluice, camera.url('/h264'))
	t.is(await patch(session, [`candidate:1 1 UDP 2122252543 127.0.0.1 ${(listener.address()).port} typ host`]), 204)
	await delay(2000)
	t.is(packets, 0)
})

test.serial('names in candidates are not looked up: each is a thread of the WebRTC worker for as long as that takes', async t => {
	const camera = await startCamera(t, ['--width', '320', '--height', '180'])
	const sluice = await start(t)
	const url = camera.url('/h264')
	await open(sluice, url)
	const before = threadsOf(webrtcWorkerOf(sluice))
	for (let session = 0; session < 4; session++) {
		const opened = await open(sluice, url)
		await patch(opened, Array.from({length: 32}, (_, index) => `candidate:${index} 1 UDP 2122252543 s${session}n${index}.invalid 9 typ host`))
	}
	const threads = threadsOf(webrtcWorkerOf(sluice)) - before
	t.true(threads < 20, `${threads} threads more`)
})

test.serial('a viewer that asks for everything again, again and again, gets a bounded amount', async t => {
	const [camera, sluice] = await Promise.all([startCamera(t, ['--width', '640', '--height', '360', '--fps', '25']), start(t)])
	const client = startProgram(t, process.execPath, [clientPath, `${sluice.http}/whep?${new URLSearchParams({rtsp_url: camera.url('/h264')}).toString()}`, '--no-nack'])
	await client.line(event('first'))
	await delay(2500)
	client.child.stdin?.write('flood\n')
	const {asked, relayed} = await client.line(event('flooded'))
	// Some 2500 packets are the video itself.
	t.true(Number(relayed) < 20_000, `${String(relayed)} packets in 3 s, for ${String(asked)} packets that asked`)
})

test.serial('a POST behind an answer without an end opens no session: it would not hear of the connection\'s end', async t => {
	const sluice = await start(t, ['--linger', '0'])
	const silent = net.createServer(socket => { socket.on('error', () => undefined) }).listen(0, '127.0.0.1')
	await once(silent, 'listening')
	t.teardown(() => { silent.close() })
	const camera = encodeURIComponent(`rtsp://127.0.0.1:${(silent.address() as AddressInfo).port}/`)
	const viewer = net.connect(sluice.port, '127.0.0.1').on('error', () => undefined).resume()
	t.teardown(() => { viewer.destroy() })
	viewer.write('GET /stream.mjpeg?pipeline=test HTTP/1.1\r\nHost: x\r\n\r\n')
	await once(viewer, 'data')
	viewer.write(`POST /whep?rtsp_url=${camera} HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: ${Buffer.byteLength(chromiumOffer)}\r\n\r\n${chromiumOffer}`)
	await delay(1000)
	viewer.destroy()
	const running = async () => /workers\{state="running"\} (\d+)/.exec(await (await fetch(`${sluice.http}/metrics`)).text())?.[1]
	await until(async () => await running() === '0', 3000, 'its pipelines have ended')
	// The camera behind the POST was never opened: one pipeline, that of the answer without an end, is all that ran.
	t.deepEqual(sluice.lines.filter(line => line['msg'] === 'opening').map(line => line['template']), ['test'])
})

test('an access unit that is full of start codes does not hold up whoever looks for B-frames', t => {
	// 6 MB, a million slices: a hostile camera's RTP carries such, and GStreamer hands it on.
	const accessUnit = Buffer.concat([Buffer.from([0, 0, 1, 0x65, 0x88, 0x84]), Buffer.alloc(6_000_000, Buffer.from([0, 0, 1, 0x65, 0x10, 0xC0]))])
	const finder = new BFrameFinder('H264')
	finder.add(accessUnit)
	const startedMs = performance.now()
	for (let frame = 0; frame < 5; frame++) finder.add(accessUnit)
	const tookMs = (performance.now() - startedMs) / 5
	t.true(tookMs < 20, `${Math.round(tookMs)} ms a frame`)
})
