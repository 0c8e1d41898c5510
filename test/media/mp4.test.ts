import {spawn} from 'node:child_process'
import {createHash} from 'node:crypto'
import {once} from 'node:events'
import http from 'node:http'
import type {AddressInfo} from 'node:net'
import test, {type ExecutionContext} from 'ava'
import {parseCaps} from '../../dist/media/caps.js'
import {timescale} from '../../dist/media/mp4-boxes.js'
import {Mp4Muxer} from '../../dist/media/mp4-muxer.js'
import {Mp4Timeline} from '../../dist/media/mp4-timeline.js'
import {boxes, inside, readFragment} from '../support/boxes.js'
import {cameraFlags, launchBrowser, newPage} from '../support/browser.js'
import {startLink} from '../support/link.js'
import {startCamera, startSluice} from '../support/processes.js'
import {until, view} from '../support/viewer.js'

const h264Caps = parseCaps(
	'video/x-h264, stream-format=(string)avc, alignment=(string)au, codec_data=(buffer)01640029ffe100046764002901000468ee3cb0, pixel-aspect-ratio=(fraction)4/3, width=(int)640, height=(int)360'
)
const idr = [0, 0, 0, 2, 0x09, 0x10, 0, 0, 0, 3, 0x65, 0x88, 0x84]
const slice = [0, 0, 0, 2, 0x09, 0x30, 0, 0, 0, 2, 0x41, 0x9a]
const unit = (data: readonly number[], ptsNs?: number) => ({
	ptsNs,
	durationNs: undefined,
	data: Buffer.from(data)
})

test('the muxer takes any bytes', t => {
	const muxer = new Mp4Muxer(0)
	muxer.begin(h264Caps)
	for (const data of [
		[],
		[0],
		[0, 0, 0],
		[0, 0, 0, 0],
		[0, 0, 0, 1],
		[0xff, 0xff, 0xff, 0xff, 0x09, 0x65],
		[0, 0, 0, 1, 0x09, 0xff, 0xff, 0xff, 0xff],
		[0, 0, 0, 1, 0x09, 0, 0, 0, 9]
	]) {
		t.false(muxer.add(unit(data)).keyFrame, String(data))
	}
	for (let length = 0; length < 300; length++)
		t.notThrows(() => muxer.add(unit(Array.from({length}, () => Math.random() * 8))))
})

test('the muxer makes an initialization segment of caps, and fragments of access units', t => {
	const muxer = new Mp4Muxer(0)
	const {caps, init: start} = muxer.begin(h264Caps)
	t.deepEqual(caps, {name: 'video/mp4', width: 640, height: 360, codec: 'avc1.640029'})
	const init = Buffer.from(start)
	t.deepEqual(
		boxes(init).map(({type}) => type),
		['ftyp', 'moov']
	)
	const entry = inside(
		inside(init, 'moov', 'trak', 'mdia', 'minf', 'stbl', 'stsd').subarray(8),
		'avc1'
	)
	t.is(entry.readUInt16BE(24), 640)
	t.is(entry.readUInt16BE(26), 360)
	t.is(inside(entry.subarray(78), 'avcC').toString('hex'), '01640029ffe100046764002901000468ee3cb0')
	t.deepEqual([...inside(entry.subarray(78), 'pasp')], [0, 0, 0, 4, 0, 0, 0, 3])

	const first = muxer.add(unit(idr, 1_000_000_000))
	t.true(first.keyFrame)
	t.deepEqual(
		boxes(Buffer.from(first.data)).map(({type}) => type),
		['moof', 'mdat']
	)
	t.like(readFragment(Buffer.from(first.data)), {
		decode: 0,
		shown: 1,
		keyFrame: true,
		data: Buffer.from(idr)
	})
	const second = muxer.add(unit(slice, 1_040_000_000))
	t.false(second.keyFrame)
	t.like(readFragment(Buffer.from(second.data)), {
		decode: 0.04,
		shown: 1.04,
		keyFrame: false,
		data: Buffer.from(slice)
	})

	t.like(
		muxer.begin({
			...h264Caps,
			width: 1280,
			codec_data: String(h264Caps['codec_data']).replaceAll('640029', '42c01e')
		}).caps,
		{width: 1280, codec: 'avc1.42c01e'}
	)
})

test('the muxer says what it cannot take', t => {
	const wrong = [
		{name: 'image/jpeg'},
		{alignment: 'nal'},
		{codec_data: undefined},
		{codec_data: '01640029fce100046764002901000468ee3cb0'},
		{codec_data: '016400'},
		{width: 0},
		{width: -1},
		{width: 65_536},
		{height: NaN},
		{height: '360'}
	]
	for (const fields of wrong)
		t.throws(
			() => new Mp4Muxer(0).begin({...h264Caps, ...fields}),
			{message: /^MP4 needs video\/x-h264/},
			JSON.stringify(fields)
		)
})

/** Runs a camera's times, in ms, through a timeline. */
function times(pts: (number | undefined)[], durationMs = 40) {
	const timeline = new Mp4Timeline(0)
	return pts
		.map(ms => timeline.next(ms === undefined ? undefined : ms * 1e6, durationMs * 1e6))
		.map(({decodeTime, duration, compositionOffset}) => ({
			decode: decodeTime,
			duration,
			shown: decodeTime + compositionOffset,
			offset: compositionOffset
		}))
}

/** What a media source takes for a hole, and drops all up to the next key frame for. */
function isWhole(samples: {decode: number; duration: number}[]): boolean {
	return samples.every(({decode}, index) => {
		const before = samples[index - 1]
		return !before || (decode >= before.decode && decode - before.decode <= 2 * before.duration)
	})
}

test('the timeline: a steady camera has its own times, from 1 s on', t => {
	const samples = times(Array.from({length: 500}, (_, index) => 7777 + index * 40))
	t.true(
		samples.every(
			({decode, duration, shown}, index) =>
				decode === index * 3600 && duration === 3600 && shown === timescale + index * 3600
		)
	)
})

test('the timeline: what a media source takes for a hole never comes, whatever the camera does', t => {
	const ramp = (from: number, count: number, interval: number) =>
		Array.from({length: count}, (_, index) => from + index * interval)
	for (const [name, pts] of Object.entries({
		'slower in the dark': [...ramp(0, 100, 33), ...ramp(3300, 100, 200)],
		faster: [...ramp(0, 100, 200), ...ramp(20_000, 300, 33)],
		'silent for three seconds': [...ramp(0, 100, 40), ...ramp(7000, 200, 40)],
		'the clock is set back': [...ramp(1e7, 100, 40), ...ramp(0, 100, 40)],
		'the clock is set on': [...ramp(0, 100, 40), ...ramp(1e9, 100, 40)],
		'no times': Array.from({length: 100}, () => undefined),
		'the same time': ramp(500, 300, 0)
	})) {
		const samples = times(pts)
		t.true(isWhole(samples), name)
		t.true(
			samples.every(
				({offset, duration}) =>
					Math.abs(offset) < 8 * timescale && duration > 0 && duration < timescale
			),
			name
		)
		t.true(
			Math.abs((samples.at(-1)?.offset ?? NaN) - timescale) < timescale / 2 ||
				name === 'the same time',
			`${name}: decoding follows`
		)
	}
	t.is(
		times([...Array.from({length: 100}, (_, index) => index * 40), 0]).at(-1)?.shown,
		timescale,
		'a picture out of order, not a clock that was set'
	)
	const back = times([1e7, 1e7 + 40, 40, 80])
	t.deepEqual(
		back.map(({shown}) => shown),
		[0, 1, 2, 3].map(index => timescale + index * 3600)
	)
})

test('the timeline: pictures out of order keep the times that they are shown at', t => {
	const order = [
		0,
		...Array.from({length: 100}, (_, index) => [3 * index + 3, 3 * index + 1, 3 * index + 2]).flat()
	]
	const samples = times(order.map(index => index * 40))
	t.deepEqual(
		samples.map(({shown}) => shown),
		order.map(index => timescale + index * 3600)
	)
	t.true(isWhole(samples))
	t.true(samples.every(({offset, duration}) => offset > 0 && duration > 2000 && duration < 5400))
})

interface Decoded {
	ptsMs: number[]
	complaints: string
}

/** Reads a file's bytes with GStreamer's own demuxer and decoder; resolves with the time of each picture. */
async function decode(t: ExecutionContext, mp4: Buffer): Promise<Decoded> {
	const child = spawn(
		'gst-launch-1.0',
		[
			'-v',
			'fdsrc',
			'!',
			'qtdemux',
			'!',
			'h264parse',
			'!',
			'avdec_h264',
			'!',
			'fakesink',
			'silent=false',
			'sync=false'
		],
		{
			env: {...process.env, GST_DEBUG: 'qtdemux:3,libav:3,h264parse:3'},
			stdio: ['pipe', 'pipe', 'pipe']
		}
	)
	t.teardown(() => {
		child.kill('SIGKILL')
	})
	let text = ''
	let complaints = ''
	child.stdout.on('data', chunk => {
		text += String(chunk)
	})
	child.stderr.on('data', chunk => {
		complaints += String(chunk)
	})
	child.stdin.on('error', () => undefined)
	child.stdin.end(mp4)
	const [code] = (await once(child, 'close')) as [number | null]
	t.is(code, 0, complaints)
	return {
		complaints,
		ptsMs: [...text.matchAll(/chain +\*+ .*?pts: (\d+):(\d\d):([\d.]+)/g)].map(
			([, hours, minutes, seconds]) =>
				(Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1000
		)
	}
}

/** What came, in order: texts as JSON, everything else as bytes. */
function record(viewer: ReturnType<typeof view>): (Buffer | {caps?: Record<string, unknown>})[] {
	const seen: (Buffer | {caps?: Record<string, unknown>})[] = []
	viewer.socket.on('message', (data: Buffer, isBinary) =>
		seen.push(isBinary ? data : (JSON.parse(data.toString()) as {caps?: Record<string, unknown>}))
	)
	return seen
}

const isInit = (bytes: Buffer) => bytes.toString('latin1', 4, 8) === 'ftyp'

for (const mount of ['/h264', '/b-frames', '/no-rate']) {
	test.serial(
		`${mount}: caps, initialization segment, then fragments, which another demuxer and decoder reads`,
		async t => {
			const camera = await startCamera(t, cameraFlags)
			const sluice = await startSluice(t)
			const viewer = view(t, sluice.stream({rtsp_url: camera.url(mount), pipeline: 'mp4'}))
			const seen = record(viewer)
			await viewer.received(101)
			const [told, init, ...rest] = seen
			t.true(!Buffer.isBuffer(told))
			t.like((told as {caps: unknown}).caps, {name: 'video/mp4', width: 640, height: 360})
			t.regex(String((told as {caps: Record<string, unknown>}).caps['codec']), /^avc1\.[\da-f]{6}$/)
			t.true(Buffer.isBuffer(init) && isInit(init))
			const fragments = rest.filter(one => Buffer.isBuffer(one)).slice(0, 100)
			const samples = fragments.map(readFragment)
			t.true(samples[0]?.keyFrame)
			t.true(
				samples.every(({duration}) => duration > 0 && duration <= 0.1),
				'none is longer than 100 ms'
			)
			t.true(isWhole(samples.map(({decode: at, duration}) => ({decode: at, duration}))))
			t.true(samples.filter(({keyFrame}) => keyFrame).length > 4)
			const decoded = await decode(t, Buffer.concat([init as Buffer, ...fragments]))
			// The demuxer starts at 0.
			const shown = samples.map(({shown: at}) => at * 1000).sort((a, b) => a - b)
			t.is(decoded.ptsMs.length, 100, 'every picture is decoded')
			for (const [index, ptsMs] of decoded.ptsMs.entries()) {
				const expected = (shown[index] ?? NaN) - (shown[0] ?? NaN) + (decoded.ptsMs[0] ?? NaN)
				t.true(Math.abs(ptsMs - expected) < 2, `${index}: ${ptsMs} in place of ${expected}`)
			}
			const intervals = shown.slice(1).map((at, index) => at - (shown[index] ?? NaN))
			if (mount !== '/no-rate')
				t.true(
					intervals.every(ms => Math.abs(ms - 40) < 1),
					intervals.join(' ')
				)
			t.notRegex(decoded.complaints, /ERROR|WARN/)
		}
	)
}

test.serial(
	'a late viewer of a shared stream has caps, initialization segment, and all since the last key frame',
	async t => {
		const camera = await startCamera(t, [...cameraFlags, '--key-interval', '2'])
		const sluice = await startSluice(t, ['--share'])
		const url = sluice.stream({rtsp_url: camera.url('/h264'), pipeline: 'mp4'})
		const early = view(t, url)
		const all = record(early)
		// Of the second group some have come.
		await early.received(1 + 50 + 20)
		const late = view(t, url)
		const seen = record(late)
		await late.received(1 + 60)
		await until(() => all.length > 130, 10_000, 'the early one has them too')
		t.deepEqual(seen.slice(0, 2), all.slice(0, 2))
		const [, , ...fragments] = seen
		const first = all.findIndex(one => Buffer.isBuffer(one) && one.equals(fragments[0] as Buffer))
		t.true(first > 2, 'not from the beginning')
		t.true(readFragment(fragments[0] as Buffer).keyFrame)
		const count = Math.min(fragments.length, all.length - first)
		t.true(count >= 55)
		t.deepEqual(fragments.slice(0, count), all.slice(first, first + count))
		const decoded = await decode(
			t,
			Buffer.concat([seen[1] as Buffer, ...fragments.filter(one => Buffer.isBuffer(one))])
		)
		t.is(decoded.ptsMs.length, fragments.length)
	}
)

test.serial(
	'on a link that is too slow fragments are dropped up to one with a key frame, and have no hole otherwise',
	async t => {
		const camera = await startCamera(t, ['--kbit', '4000', '--key-interval', '1'])
		const sluice = await startSluice(t, ['--share'])
		const query = {rtsp_url: camera.url('/h264'), pipeline: 'mp4'}
		const digest = (bytes: Buffer) => createHash('sha1').update(bytes).digest('hex')
		const all: string[] = []
		const neighbour = view(t, sluice.stream(query), {keep: 0})
		neighbour.socket.on('message', (data: Buffer, isBinary) => {
			if (isBinary) all.push(digest(data))
		})
		await neighbour.received(10)
		const port = await startLink(t, sluice.port, {bytesPerSecond: 250_000})
		const slow = view(t, sluice.stream(query).replace(`:${sluice.port}/`, `:${port}/`))
		await slow.received(101, 60_000)
		const [init, ...fragments] = slow.frames
		t.true(init && isInit(init))
		await until(
			() => all.includes(digest(fragments.at(-1) ?? Buffer.alloc(0))),
			5000,
			'the neighbour has them too'
		)
		let jumps = 0
		let before: number | undefined
		for (const bytes of fragments) {
			const index = all.indexOf(digest(bytes))
			if (before === undefined || index !== before + 1) {
				if (before !== undefined) jumps++
				t.true(
					readFragment(bytes).keyFrame,
					`${String(before)} is followed by ${index}, which is no key frame`
				)
			}
			before = index
		}
		t.true(jumps > 0)
		t.is(slow.texts.length, 1)
		const decoded = await decode(t, Buffer.concat(slow.frames))
		t.is(decoded.ptsMs.length, fragments.length)
	}
)

test.serial(
	'a camera that comes back begins with caps and an initialization segment again',
	async t => {
		const camera = await startCamera(t, cameraFlags)
		const sluice = await startSluice(t)
		const viewer = view(t, sluice.stream({rtsp_url: camera.url('/two-seconds'), pipeline: 'mp4'}))
		const seen = record(viewer)
		await until(
			() =>
				seen.filter(one => !Buffer.isBuffer(one)).length === 2 &&
				!seen.slice(-2).some(one => !Buffer.isBuffer(one)),
			30_000,
			'caps twice, and what follows'
		)
		const again = seen.findLastIndex(one => !Buffer.isBuffer(one))
		t.true(again > 30)
		const [told, init, fragment] = seen.slice(again)
		t.deepEqual(told, seen[0])
		t.true(Buffer.isBuffer(init) && isInit(init))
		const last = readFragment(seen[again - 1] as Buffer)
		const first = readFragment(fragment as Buffer)
		t.true(first.keyFrame)
		t.true(
			first.shown > last.shown && first.shown < last.shown + 15,
			'a player that knows nothing of it goes on'
		)
		t.is(seen.filter(one => Buffer.isBuffer(one) && isInit(one)).length, 2)
	}
)

test.serial('a camera with another codec is told so', async t => {
	const camera = await startCamera(t, cameraFlags)
	const sluice = await startSluice(t)
	const {error} = await view(t, sluice.stream({rtsp_url: camera.url('/h265'), pipeline: 'mp4'}))
		.closed
	t.is(error?.['code'], 'camera_unsupported')
})

/** Plays a stream as a page would that knows nothing but the contract. Runs in the page. */
async function playIn(
	address: string
): Promise<{
	pictures: {clock: number; media: number}[]
	error: string
	secure: boolean
	webCodecs: boolean
}> {
	const video = document.createElement('video')
	video.muted = true
	const source = new MediaSource()
	video.src = URL.createObjectURL(source)
	await new Promise(resolve => {
		source.addEventListener('sourceopen', resolve, {once: true})
	})
	const queue: ArrayBuffer[] = []
	let buffer: SourceBuffer | undefined
	const append = () => {
		const next = buffer?.updating === false ? queue.shift() : undefined
		if (next) buffer?.appendBuffer(next)
	}
	const socket = new WebSocket(address)
	socket.binaryType = 'arraybuffer'
	socket.onmessage = ({data}: MessageEvent<string | ArrayBuffer>) => {
		if (typeof data === 'string') {
			const {
				caps: {codec}
			} = JSON.parse(data) as {caps: {codec: string}}
			// The camera has come back.
			if (buffer) return
			buffer = source.addSourceBuffer(`video/mp4; codecs="${codec}"`)
			buffer.onupdateend = () => {
				const {length} = video.buffered
				if (length > 0 && video.currentTime < video.buffered.start(length - 1))
					video.currentTime = video.buffered.start(length - 1)
				if (video.paused) video.play().catch(() => undefined)
				append()
			}
			return
		}
		queue.push(data)
		append()
	}
	const canvas = new OffscreenCanvas(640, 1).getContext('2d', {willReadFrequently: true})
	const pictures: {clock: number; media: number}[] = []
	await new Promise<void>(resolve => {
		setTimeout(resolve, 30_000)
		video.onerror = () => {
			resolve()
		}
		const onPicture = (_now: number, {mediaTime}: VideoFrameCallbackMetadata) => {
			// scripts/camera.py's clock, 14 pixels a block.
			canvas?.drawImage(video, 0, 7, 640, 1, 0, 0, 640, 1)
			const row = canvas?.getImageData(0, 0, 640, 1).data
			const bits = Array.from({length: 42}, (_, index) =>
				(row?.[Math.floor((index + 0.5) * 14) * 4] ?? 0) > 127 ? '1' : '0'
			).join('')
			pictures.push({clock: Number.parseInt(bits.slice(2, 34), 2), media: mediaTime})
			if (pictures.length >= 60) resolve()
			else video.requestVideoFrameCallback(onPicture)
		}
		video.requestVideoFrameCallback(onPicture)
	})
	socket.close()
	return {
		pictures,
		error: video.error?.message ?? '',
		secure: isSecureContext,
		webCodecs: 'VideoDecoder' in window
	}
}

// The last one ends before it has all the pictures that are waited for, and begins again.
for (const mount of ['/h264', '/b-frames', '/two-seconds']) {
	test.serial(
		`${mount} plays in a browser's video element, on a page of plain http without WebCodecs, each picture in its turn`,
		async t => {
			const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
			const web = http.createServer((_request, response) => {
				response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>viewer</title>')
			})
			t.teardown(() => {
				web.close()
			})
			web.listen(0, '127.0.0.1')
			await once(web, 'listening')
			// Only 127.0.0.1 and localhost count as secure without https.
			const browser = await launchBrowser(['--host-resolver-rules=MAP viewer.test 127.0.0.1'])
			t.teardown(async () => browser.close())
			const {page, errors} = await newPage(t, browser)
			await page.goto(`http://viewer.test:${(web.address() as AddressInfo).port}/`)
			const {pictures, error, secure, webCodecs} = await page.evaluate(
				playIn,
				sluice.stream({rtsp_url: camera.url(mount), pipeline: 'mp4'})
			)
			t.false(secure)
			t.false(webCodecs)
			t.is(error, '')
			t.true(pictures.length >= 60, `${pictures.length} pictures`)
			for (const [index, {clock, media}] of pictures.entries()) {
				const before = pictures[index - 1]
				if (before)
					t.true(
						clock > before.clock && media > before.media,
						JSON.stringify({before, clock, media})
					)
			}
			t.deepEqual(errors, [])
		}
	)
}
