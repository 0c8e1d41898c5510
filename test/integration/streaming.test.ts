import {cp, mkdtemp, readFile, writeFile} from 'node:fs/promises'
import {existsSync} from 'node:fs'
import net from 'node:net'
import {tmpdir} from 'node:os'
import path from 'node:path'
import process from 'node:process'
import test from 'ava'
import {jpegSize} from '../support/jpeg.js'
import {clockOf, luma} from '../support/picture.js'
import {startCamera, startSluice} from '../support/processes.js'
import {until, view} from '../support/viewer.js'

const small = ['--width', '640', '--height', '360']

/** How many of these pictures the camera took in a second, by its own clock. */
async function rateOf(frames: Buffer[]): Promise<number> {
	const [first = NaN, last = NaN] = await Promise.all(
		[frames[0], frames.at(-1)].map(async frame => clockOf(frame ?? Buffer.alloc(0)))
	)
	return ((frames.length - 1) * 1000) / (last - first)
}

for (const codec of ['h264', 'h265', 'mjpeg']) {
	test.serial(
		`a camera that sends ${codec} arrives as complete JPEG images, each once`,
		async t => {
			const camera = await startCamera(t, [...small, '--fps', '25'])
			const sluice = await startSluice(t)
			const viewer = view(t, sluice.stream({rtsp_url: camera.url(`/${codec}`)}))
			await viewer.received(101)
			// How many a second, and how many of the camera's are lost, bench/scenarios/codecs.mjs measures.
			t.is(
				new Set(viewer.frames.map(frame => frame.toString('latin1'))).size,
				viewer.frames.length,
				'no frame comes twice'
			)
			for (const frame of viewer.frames) t.deepEqual(jpegSize(frame), {width: 640, height: 360})
			t.deepEqual(viewer.texts, [])
		}
	)
}

test.serial('1280x720 passes whole', async t => {
	const camera = await startCamera(t)
	const sluice = await startSluice(t)
	const viewer = view(t, sluice.stream({rtsp_url: camera.url('/h264')}))
	await viewer.received(90)
	// What a viewer that reads at once misses, bench/scenarios/one.mjs measures.
	for (const frame of viewer.frames) t.deepEqual(jpegSize(frame), {width: 1280, height: 720})
})

test.serial('a camera whose sound comes first shows its picture', async t => {
	const camera = await startCamera(t, small)
	const sluice = await startSluice(t)
	const viewer = view(t, sluice.stream({rtsp_url: camera.url('/sound-first')}))
	await viewer.received(10)
	t.deepEqual(jpegSize(viewer.frames[0]), {width: 640, height: 360})
})

test.serial(
	'a camera that does not say its frame rate plays, and its rate can be bounded',
	async t => {
		const camera = await startCamera(t, small)
		const sluice = await startSluice(t)
		const viewer = view(t, sluice.stream({rtsp_url: camera.url('/no-rate')}))
		await viewer.received(30)
		t.deepEqual(jpegSize(viewer.frames[0]), {width: 640, height: 360})
		const slower = view(t, sluice.stream({rtsp_url: camera.url('/no-rate'), max_fps: '5'}))
		await slower.received(15)
		t.true((await rateOf(slower.frames.slice(5, 15))) < 7)
	}
)

test.serial('a picture shows what the camera saw just now', async t => {
	const camera = await startCamera(t, small)
	const sluice = await startSluice(t)
	const viewer = view(t, sluice.stream({rtsp_url: camera.url('/h264')}))
	const monotonicMs = () => Number(process.hrtime.bigint() / 1_000_000n)
	const arrivals: number[] = []
	viewer.socket.on('message', () => {
		arrivals.push(monotonicMs())
	})
	await viewer.received(30)
	const [seen, nowMs] = [viewer.frames.length, monotonicMs()]
	await viewer.received(seen + 30)
	const clocks = await Promise.all(
		viewer.frames.slice(0, seen + 30).map(async frame => clockOf(frame))
	)
	for (const [index, clock = NaN] of clocks.entries()) {
		t.true(clock <= (arrivals[index] ?? 0) % 2 ** 32, 'no picture is of the future')
		t.true(index === 0 || clock > (clocks[index - 1] ?? NaN), 'each is newer than the one before')
	}
	// So many pictures at most are on their way. How old they are bench/scenarios/one.mjs measures.
	t.true(clocks.slice(seen).some(clock => clock !== undefined && clock > nowMs % 2 ** 32))
})

for (const codec of ['h264', 'h265']) {
	test.serial(`who joins ${codec} between two key frames sees whole pictures only`, async t => {
		const camera = await startCamera(t, [...small, '--key-interval', '3', '--deaf'])
		const sluice = await startSluice(t)
		const url = sluice.stream({rtsp_url: camera.url(`/${codec}`)})
		await view(t, url).received(30)
		const late = view(t, url)
		await late.received(1)
		const pixels = await luma(late.frames[0] ?? Buffer.alloc(0))
		// A decoder that lacks its key frame paints grey.
		const grey = pixels.filter(value => Math.abs(value - 128) < 4).length / pixels.length
		t.is(pixels.length, 640 * 360)
		t.true(grey < 0.5, `${Math.round(grey * 100)} % grey`)
	})
}

test.serial('h265 whose packets are lost goes on without waiting for key frames', async t => {
	const camera = await startCamera(t, [...small, '--fps', '15', '--key-interval', '2', '--deaf'])
	const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
	const shipped = await readFile('pipelines/jpeg.gst', 'utf8')
	// The source's own jitter buffer sees no loss, for TCP has none; behind the loss there is another one.
	const lossy = shipped.replace(
		'! queue leaky',
		'! identity drop-probability=0.02 ! rtpjitterbuffer latency=100 do-lost=true\n! queue leaky'
	)
	t.not(lossy, shipped)
	await Promise.all(
		[
			['jpeg.gst', shipped],
			['lossy.gst', lossy]
		].map(async ([name = '', text = '']) => writeFile(path.join(directory, name), text))
	)
	const sluice = await startSluice(t, ['--pipelines', directory, '--open-timeout', '60'])
	const viewer = view(t, sluice.stream({rtsp_url: camera.url('/h265'), pipeline: 'lossy'}))
	// The first picture needs a key frame without a loss, of which there is one in two seconds.
	await viewer.received(1, 60_000)
	const whole = view(t, sluice.stream({rtsp_url: camera.url('/h265')}))
	await whole.received(1)
	const [lossyBefore, wholeBefore] = [viewer.frames.length, whole.frames.length]
	await whole.received(wholeBefore + 60)
	const share = (viewer.frames.length - lossyBefore) / 60
	// Waiting for key frames leaves a tenth.
	t.true(share > 0.33, `${share} of the pictures`)
})

for (const auth of ['basic', 'digest']) {
	test.serial(
		`${auth} credentials: right ones play, wrong and missing ones are refused`,
		async t => {
			// A password as cameras' owners choose them: none of its signs may need escaping.
			const password = 'p@ss:w/rd#1%'
			const camera = await startCamera(t, [...small, '--auth', auth, '--password', password])
			const sluice = await startSluice(t)
			for (const written of [password, encodeURIComponent(password)]) {
				const right = view(t, sluice.stream({rtsp_url: camera.url('/secret', `demo:${written}`)}))
				await right.received(5)
				right.socket.close()
			}
			for (const credentials of ['demo:wrong', 'nobody:x', undefined]) {
				const url = camera.url('/secret', credentials)
				const {code, error} = await view(t, sluice.stream({rtsp_url: url})).closed
				t.is(code, 4502)
				t.deepEqual(error, {
					error: `无法打开RTSP流: ${url}`,
					code: 'camera_unauthorized',
					detail: 'the camera answered Unauthorized (401)'
				})
			}
		}
	)
}

test.serial('parameters change the pipeline: size, rate, quality, transport', async t => {
	const camera = await startCamera(t, small)
	const sluice = await startSluice(t)
	const rtsp_url = camera.url('/h264')
	const first = async (parameters: Record<string, string>) => {
		const viewer = view(t, sluice.stream({rtsp_url, ...parameters}))
		await viewer.received(5)
		viewer.socket.close()
		return viewer.frames.at(-1) ?? Buffer.alloc(0)
	}
	t.deepEqual(jpegSize(await first({max_width: '320'})), {width: 320, height: 180})
	t.deepEqual(jpegSize(await first({max_height: '90'})), {width: 160, height: 90})
	t.deepEqual(jpegSize(await first({max_width: '16'})), {width: 16, height: 9})
	t.deepEqual(jpegSize(await first({max_width: '4000'})), {width: 640, height: 360})
	const fine = await first({quality: '95'})
	const coarse = await first({quality: '10'})
	t.true(fine.length > 2 * coarse.length, `${fine.length} and ${coarse.length} bytes`)
	t.truthy(jpegSize(await first({transport: 'udp'})))
	const slow = view(t, sluice.stream({rtsp_url, max_fps: '5'}))
	// The first frames of a busy machine come late and close together.
	await slow.received(25)
	t.true((await rateOf(slow.frames.slice(5, 25))) < 6)
})

for (const [scheme, transport] of [
	['rtspt', 'tcp'],
	['rtspu', 'udp'],
	['rtsph', 'HTTP']
]) {
	test.serial(`${scheme ?? ''}:// plays over ${transport ?? ''}`, async t => {
		const camera = await startCamera(t, small)
		const sluice = await startSluice(t)
		const viewer = view(
			t,
			sluice.stream({rtsp_url: camera.url('/h264').replace('rtsp', scheme ?? '')})
		)
		await viewer.received(5)
		t.deepEqual(jpegSize(viewer.frames[0]), {width: 640, height: 360})
	})
}

test.serial('an edit of a template, and a new one, serve the next connection', async t => {
	const pipelines = path.join(await mkdtemp(path.join(tmpdir(), 'sluice-')), 'pipelines')
	await cp('pipelines', pipelines, {recursive: true})
	const camera = await startCamera(t, small)
	const sluice = await startSluice(t, ['--pipelines', pipelines])
	const before = view(t, sluice.stream({rtsp_url: camera.url('/h264')}))
	await before.received(5)
	const text = await readFile(path.join(pipelines, 'jpeg.gst'), 'utf8')
	await writeFile(
		path.join(pipelines, 'jpeg.gst'),
		text.replace('! videoconvert', '! videocrop right=320 ! videoconvert')
	)
	await writeFile(path.join(pipelines, 'tiny.gst'), text.replaceAll('=16384', '=160'))
	const after = view(t, sluice.stream({rtsp_url: camera.url('/h264')}))
	const tiny = view(t, sluice.stream({rtsp_url: camera.url('/h264'), pipeline: 'tiny'}))
	await after.received(5)
	await tiny.received(5)
	t.deepEqual(jpegSize(before.frames[4]), {width: 640, height: 360})
	t.deepEqual(jpegSize(after.frames[4]), {width: 320, height: 360})
	t.deepEqual(jpegSize(tiny.frames[4]), {width: 160, height: 90})
})

test.serial('the template test needs no camera', async t => {
	const sluice = await startSluice(t)
	const viewer = view(t, sluice.stream({pipeline: 'test', fps: '10'}))
	await viewer.received(5)
	t.deepEqual(jpegSize(viewer.frames[4]), {width: 1280, height: 720})
})

for (const [how, leave] of [
	[
		'closes',
		(socket: import('ws').WebSocket) => {
			socket.close()
		}
	],
	[
		'resets the connection',
		(socket: import('ws').WebSocket) => {
			;(socket as unknown as {_socket: net.Socket})._socket.resetAndDestroy()
		}
	]
] as const) {
	test.serial(`a viewer that ${how} leaves no worker and no RTSP session`, async t => {
		const camera = await startCamera(t, small)
		const sluice = await startSluice(t)
		const viewer = view(t, sluice.stream({rtsp_url: camera.url('/h264')}))
		await viewer.received(5)
		const playing = await sluice.line(line => line['msg'] === 'playing')
		const worker = `/proc/${String(playing['worker'])}`
		t.true(existsSync(worker))
		leave(viewer.socket)
		await Promise.all([
			until(() => !existsSync(worker), 60_000, 'the worker is gone'),
			camera.line(line => line['event'] === 'teardown')
		])
	})
}

test('a viewer that vanished without a word is noticed by its silence', async t => {
	const camera = await startCamera(t, small)
	const sluice = await startSluice(t)
	const viewer = view(t, sluice.stream({rtsp_url: camera.url('/h264')}))
	await viewer.received(10)
	// From here on nothing is read and no ping answered, as where the link is cut.
	viewer.socket.pause()
	const vanished = await sluice.line(line => line['msg'] === 'viewer vanished', 60_000)
	await camera.line(line => line['event'] === 'teardown')
	const gone = await sluice.line(line => line['msg'] === 'viewer gone')
	t.is(gone['viewer'], vanished['viewer'])
	// Nobody is given up before that, however slow the machine is; how soon bench/scenarios/lifecycle.mjs measures.
	t.true(Number(gone['seconds']) >= 14, `${String(gone['seconds'])} s`)
})

test('a viewer whose pings are swallowed on the way still gets pictures, for longer than a silent one is waited for', async t => {
	const camera = await startCamera(t, small)
	const sluice = await startSluice(t)
	const viewer = view(t, sluice.stream({rtsp_url: camera.url('/h264')}), {autoPong: false})
	// A ping without content is the heartbeat's, every four seconds. With the fourth a viewer who once did answer would be given up.
	let beats = 0
	viewer.socket.on('ping', (content: Buffer) => {
		if (content.length === 0) beats++
	})
	await until(() => beats >= 4, 60_000, 'four heartbeats')
	await viewer.received(viewer.frames.length + 10)
	t.is(viewer.socket.readyState, viewer.socket.OPEN)
	t.false(sluice.lines.some(line => line['msg'] === 'viewer vanished'))
})

test.serial(
	'what a viewer sends is ignored, along with the handshake and later; too much of it ends the viewer',
	async t => {
		const camera = await startCamera(t, small)
		const sluice = await startSluice(t)
		const url = new URL(sluice.stream({rtsp_url: camera.url('/h264')}))
		// A masked text frame "hi" in the same packet as the handshake.
		const socket = net.connect(sluice.port, '127.0.0.1')
		t.teardown(() => {
			socket.destroy()
		})
		const message = Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69])
		socket.write(
			Buffer.concat([
				Buffer.from(
					`GET ${url.pathname}${url.search} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n`
				),
				message
			])
		)
		let bytes = 0
		socket.on('data', chunk => {
			bytes += chunk.length
		})
		await until(() => bytes > 200_000, 60_000, 'frames come after a message in the handshake')

		const talker = view(t, url.href)
		await talker.received(1)
		for (let index = 0; index < 50; index++) talker.socket.send(Buffer.alloc(1000))
		talker.socket.ping()
		await talker.received(20)
		for (let index = 0; index < 1000; index++) talker.socket.send('x')
		t.is((await talker.closed).code, 1006)

		const shouter = view(t, url.href)
		await shouter.received(1)
		shouter.socket.send(Buffer.alloc(100_000))
		t.is((await shouter.closed).code, 1009)
	}
)

test.serial('no URL can add an element to the pipeline', async t => {
	const camera = await startCamera(t, small)
	const sluice = await startSluice(t)
	const file = path.join(await mkdtemp(path.join(tmpdir(), 'sluice-')), 'written')
	const base = camera.url('/h264')
	for (const [suffix, expected] of [
		[` ! filesink location=${file}`, 'bad_request'],
		[`" ! filesink location="${file}`, 'bad_request'],
		[`\n! filesink location=${file}`, 'bad_request'],
		[`\u0000 ! filesink location=${file}`, 'bad_request'],
		[`%0a!%20filesink%20location=${file}`, 'bad_request'],
		[`%00!filesink`, 'bad_request'],
		[`%20!%20filesink%20location=${file}`, 'camera_not_found'],
		[`"!filesink/location="${file}"`, 'camera_not_found'],
		[`'!filesink\\location=${file}`, 'camera_not_found'],
		[`{quality}`, 'camera_not_found']
	] as const) {
		const {error} = await view(t, sluice.stream({rtsp_url: base + suffix})).closed
		t.is(error?.['code'], expected, suffix)
	}
	t.false(existsSync(file))
})
