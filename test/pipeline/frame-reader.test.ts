import {spawnSync} from 'node:child_process'
import test from 'ava'
import {parseCaps} from '../../dist/media/caps.js'
import {FrameReader, type Sample} from '../../dist/pipeline/frame-reader.js'
import {type GdpPacket, gdpReader} from '../../dist/pipeline/gdp.js'

/** As gdppay writes it. */
function packet(
	type: number,
	data: Uint8Array | readonly number[],
	{pts = 2n ** 64n - 1n, duration = 2n ** 64n - 1n, flags = 0} = {}
): Buffer {
	const head = Buffer.alloc(62)
	head[0] = 1
	head.writeUInt16BE(type, 4)
	head.writeUInt32BE(data.length, 6)
	head.writeBigUInt64BE(pts, 10)
	head.writeBigUInt64BE(duration, 18)
	head.writeUInt16BE(flags, 42)
	return Buffer.concat([head, Uint8Array.from(data)])
}

const caps = (text: string) => packet(2, Buffer.from(`${text}\0`))
const event = packet(0x284e, [1, 2, 3])

function packets(...chunks: Buffer[]): GdpPacket[] {
	const read: GdpPacket[] = []
	const reader = gdpReader(one => read.push(one))
	for (const chunk of chunks) reader.read(chunk)
	return read
}

function samples(...chunks: Buffer[]): Sample[] {
	const read: Sample[] = []
	const reader = new FrameReader({
		onSample: sample => read.push(sample),
		onUnusable: words => {
			throw new Error(words)
		}
	})
	for (const chunk of chunks) reader.read(chunk)
	return read
}

test('GDP: buffers with their times and flags, and caps; events are left out', t => {
	const written = Buffer.concat([
		event,
		caps('video/x-h264'),
		packet(1, [5, 6], {pts: 194_000_000n, duration: 33_333_333n}),
		event,
		packet(1, [], {flags: 0x2000})
	])
	const expected = [
		{type: 'caps', text: 'video/x-h264'},
		{type: 'buffer', ptsNs: 194e6, durationNs: 33_333_333, delta: false, data: Buffer.from([5, 6])},
		{type: 'buffer', ptsNs: undefined, durationNs: undefined, delta: true, data: Buffer.alloc(0)}
	] satisfies GdpPacket[]
	t.deepEqual(packets(written), expected)
	for (const size of [1, 2, 61, 62, 63, 100]) {
		const chunks = Array.from({length: Math.ceil(written.length / size)}, (_, index) =>
			written.subarray(index * size, (index + 1) * size)
		)
		t.deepEqual(packets(...chunks), expected, `in pieces of ${size}`)
	}
})

test('GDP: what is none is refused, and so is what is too large, by its header', t => {
	t.throws(() => packets(Buffer.alloc(62, 0xff)), {message: /no GDP/})
	t.deepEqual(packets(Buffer.alloc(61, 0xff)), [])
	const large = packet(1, [])
	large.writeUInt32BE(33 * 2 ** 20, 6)
	t.throws(() => packets(large), {
		message: 'a frame of 34603008 bytes is more than the 33554432 that are taken'
	})
	large.writeUInt16BE(2, 4)
	t.throws(() => packets(large), {message: /^caps of 34603008 bytes/})
	large.writeUInt16BE(0x284e, 4)
	t.throws(() => packets(large), {message: /^a frame of 34603008 bytes/})
	// A second may pass on the way, so these are more than two may hold.
	t.throws(() => packets(Buffer.concat(Array<Buffer>(6001).fill(event))), {
		message: 'the worker sent more than 3000 packets in a second'
	})
})

test('caps are read as GStreamer writes them', t => {
	t.deepEqual(
		parseCaps(
			'video/x-h264, level=(string)4, width=(int)1280, bit-depth-luma=(uint)8, framerate=(fraction)30/1, parsed=(boolean)true, multiview-flags=(GstVideoMultiviewFlagsSet)0:ffffffff:/right-view-first/left-flipped, a="x", text=(string)"a\\ \\,\\;\\"\\303\\244", gain=(double)-0.5, list=(string){ a, b }, array=(int)< 1, 2 >, range=(int)[ 1, 2 ]'
		),
		{
			name: 'video/x-h264',
			level: '4',
			width: 1280,
			'bit-depth-luma': 8,
			framerate: '30/1',
			parsed: true,
			'multiview-flags': '0:ffffffff:/right-view-first/left-flipped',
			a: 'x',
			text: 'a ,;"ä',
			gain: -0.5,
			list: '{ a, b }',
			array: '< 1, 2 >',
			range: '[ 1, 2 ]'
		}
	)
	t.deepEqual(parseCaps('video/x-raw(memory:NVMM), name=(string)no'), {name: 'video/x-raw'})
	t.deepEqual(parseCaps(''), {name: ''})
})

test('caps: any text is read, a long one too', t => {
	for (const text of [', =', ',a=(', ',a="', 'x,a=<,b={,c=[', ', __proto__=(int)1', '\\', ',a="\\'])
		t.notThrows(() => parseCaps(text), text)
	t.is(Object.getPrototypeOf(parseCaps('x, __proto__=(int)1')), Object.prototype)
	for (const part of [',a=<', ',a="', ',a="\\', ',a={', ',a=[', ',a=(', ',', '"']) {
		for (let offset = 0; offset < 6; offset++)
			t.regex(String(parseCaps(`x${'y'.repeat(offset)}${part.repeat(10_000)}`)['name']), /^xy*"*$/)
	}
})

test('samples: caps are one object for as long as they are the same', t => {
	const [first, second, third] = samples(
		caps('image/png, width=(int)1'),
		packet(1, [1]),
		caps('image/png, width=(int)1'),
		packet(1, [2]),
		caps('image/png, width=(int)2'),
		packet(1, [3])
	)
	t.deepEqual(first?.caps, {name: 'image/png', width: 1})
	t.is(second?.caps, first?.caps)
	t.deepEqual(third?.caps, {name: 'image/png', width: 2})
})

test('samples: caps that change without end are refused', t => {
	t.is(samples(...Array.from({length: 30}, (_, index) => caps(`x, a=(int)${index}`))).length, 0)
	t.throws(() => samples(...Array.from({length: 31}, (_, index) => caps(`x, a=(int)${index}`))), {
		message: /^the caps changed more than 30 times/
	})
})

test('samples: key frames are those of the bytes where they are H.264 or H.265, and those of GStreamer elsewhere', t => {
	const delta = {flags: 0x2000}
	const keys = (name: string, ...buffers: Buffer[]) =>
		samples(caps(name), ...buffers).map(({keyFrame}) => keyFrame)
	t.deepEqual(
		keys(
			'video/x-h264, stream-format=(string)byte-stream',
			packet(1, [0, 0, 1, 0x65], delta),
			packet(1, [0, 0, 1, 0x41])
		),
		[true, false]
	)
	t.deepEqual(
		keys('video/x-h265', packet(1, [0, 0, 1, 0x26, 1], delta), packet(1, [0, 0, 1, 2, 1])),
		[true, false]
	)
	t.deepEqual(keys('video/x-vp8', packet(1, [1]), packet(1, [1], delta)), [true, false])
	for (const name of ['image/png', 'video/webm', 'video/mpegts'])
		t.deepEqual(keys(name, packet(1, [1], delta), packet(1, [1])), [true, true])
})

test('samples: an image without its last marker gets it', t => {
	const [cut, whole] = samples(
		caps('image/jpeg'),
		packet(1, [0xff, 0xd8, 1]),
		packet(1, [0xff, 0xd8, 0xff, 0xd9])
	)
	t.deepEqual([...(cut?.data ?? [])], [0xff, 0xd8, 1, 0xff, 0xd9])
	t.deepEqual([...(whole?.data ?? [])], [0xff, 0xd8, 0xff, 0xd9])
})

test('samples: H.264 as MP4 holds it becomes fragments, with an initialization segment for each set of caps', t => {
	const avc =
		'video/x-h264, stream-format=(string)avc, alignment=(string)au, codec_data=(buffer)01640029ffe100046764002901000468ee3cb0, width=(int)640, height=(int)360'
	const picture = packet(1, [0, 0, 0, 3, 0x65, 0x88, 0x84], {pts: 1n})
	const [first, second, third] = samples(
		caps(avc),
		picture,
		picture,
		caps(avc.replace('640,', '1280,')),
		picture
	)
	t.like(first?.caps, {name: 'video/mp4', width: 640})
	t.true(first?.keyFrame)
	t.is(second?.init, first?.init)
	t.like(third?.caps, {width: 1280})
	t.not(third?.init, first?.init)
	t.throws(() => samples(caps('video/x-h264, stream-format=(string)avc')), {message: /^MP4 needs/})
	// What h264parse would have added.
	t.throws(() => samples(caps(avc.replace(/, width.*/, ''))), {
		message: /with width, height and codec_data, as h264parse makes it.*"codec_data":"19 bytes"/
	})
	t.throws(() => samples(caps('application/x-gdp')), {message: /^gdppay stands before the sink/})
})

test('samples: coded video without start codes, or in parts of pictures, is refused with what to do', t => {
	for (const [name, format, alignment] of [
		['video/x-h264', 'avc3', 'au'],
		['video/x-h264', 'byte-stream', 'nal'],
		['video/x-h265', 'hvc1', 'au'],
		['video/x-h265', 'avc', 'au']
	] as const) {
		const refused = () =>
			samples(caps(`${name}, stream-format=(string)${format}, alignment=(string)${alignment}`))
		t.throws(refused, {
			message: new RegExp(
				`not ${format} and ${alignment}: put "h26[45]parse ! ${name},stream-format=byte-stream,alignment=au" before the sink`
			)
		})
	}
})

test('what GStreamer itself writes is read', t => {
	const {stdout} = spawnSync(
		'gst-launch-1.0',
		[
			'-q',
			...'videotestsrc num-buffers=6 ! video/x-raw,width=320,height=240 ! x264enc tune=zerolatency key-int-max=3 ! h264parse ! video/x-h264,stream-format=byte-stream,alignment=au ! gdppay ! fdsink'.split(
				' '
			)
		],
		{maxBuffer: 2 ** 24}
	)
	const read = samples(stdout)
	t.deepEqual(
		read.map(({keyFrame}) => keyFrame),
		[true, false, false, true, false, false]
	)
	t.like(read.at(-1)?.caps, {
		name: 'video/x-h264',
		'stream-format': 'byte-stream',
		width: 320,
		framerate: '30/1',
		parsed: true
	})
	t.deepEqual(
		packets(stdout).flatMap(one => (one.type === 'buffer' ? [one.delta] : [])),
		[false, true, true, false, true, true]
	)
})
