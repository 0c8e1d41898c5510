import test from 'ava'
import {BFrameFinder} from '../../dist/media/b-frames.js'
import {isKeyFrame, type NalCodec, nalUnits, withLengths} from '../../dist/media/nal-units.js'

/** An access unit of NAL units, each with a start code of three or four bytes. */
function accessUnit(...units: number[][]): Uint8Array {
	return Uint8Array.from(
		units.flatMap((unit, index) => [...(index === 0 ? [0, 0, 0, 1] : [0, 0, 1]), ...unit])
	)
}

const h264 = {
	delimiter: [0x09, 0xf0],
	sps: [0x67, 0x42, 0xc0, 0x1f],
	pps: [0x68, 0xce, 0x3c, 0x80],
	sei: [0x06, 0x05, 0x01, 0x65],
	idr: [0x65, 0x88, 0x84],
	slice: [0x41, 0x9a, 0x24]
}
const h265 = {
	delimiter: [0x46, 0x01, 0x50],
	vps: [0x40, 0x01],
	sps: [0x42, 0x01],
	pps: [0x44, 0x01],
	idr: [0x26, 0x01, 0xaf],
	cra: [0x2a, 0x01, 0xaf],
	slice: [0x02, 0x01, 0xd0]
}

test('isKeyFrame: H.264', t => {
	t.true(isKeyFrame(accessUnit(h264.idr)))
	t.true(
		isKeyFrame(
			accessUnit(h264.delimiter, h264.sps, h264.pps, h264.sei, h264.idr, h264.slice),
			'H264'
		)
	)
	t.false(isKeyFrame(accessUnit(h264.delimiter, h264.slice)))
	t.false(isKeyFrame(accessUnit(h264.slice, h264.idr)), 'the first slice decides')
	t.false(isKeyFrame(accessUnit(h264.sps, h264.pps)), 'no slice')
})

test('isKeyFrame: H.265', t => {
	t.true(isKeyFrame(accessUnit(h265.delimiter, h265.vps, h265.sps, h265.pps, h265.idr), 'H265'))
	t.true(isKeyFrame(accessUnit(h265.cra), 'H265'))
	t.false(isKeyFrame(accessUnit(h265.delimiter, h265.slice, h265.idr), 'H265'))
	t.false(isKeyFrame(accessUnit(h265.vps, h265.sps, h265.pps), 'H265'))
})

test('isKeyFrame takes any bytes', t => {
	for (const codec of ['H264', 'H265'] as const) {
		for (const bytes of [
			[],
			[0],
			[0, 0],
			[0, 0, 1],
			[0, 0, 0, 1],
			[0, 0, 0, 0, 0],
			[0x65, 0x88],
			[1, 0, 0, 1]
		])
			t.false(isKeyFrame(Uint8Array.from(bytes), codec), String(bytes))
		for (let length = 0; length < 200; length++)
			t.notThrows(() =>
				isKeyFrame(
					Uint8Array.from({length}, () => Math.random() * 4),
					codec
				)
			)
	}
})

test('isKeyFrame takes 16 MB without a slice', t => {
	t.false(isKeyFrame(new Uint8Array(16 * 1024 * 1024)))
})

test("nalUnits: the bytes between start codes, with the unit's type", t => {
	t.deepEqual(
		[...nalUnits(accessUnit(h264.sps, h264.idr), 'H264')],
		[
			{type: 7, start: 4, end: 8},
			{type: 5, start: 11, end: 14}
		]
	)
	t.deepEqual(
		[...nalUnits(accessUnit(h265.vps, h265.cra), 'H265')].map(({type}) => type),
		[32, 21]
	)
	t.deepEqual(
		[...nalUnits(Uint8Array.from([0, 0, 1, 0x65, 0x88, 0, 0, 1]), 'H264')],
		[{type: 5, start: 3, end: 5}],
		'a start code at the end begins nothing'
	)
	t.deepEqual([...nalUnits(Uint8Array.from([0x65, 0x88]), 'H264')], [])
})

test('withLengths: each unit behind its length, whatever its start code', t => {
	const lengths = (...bytes: number[]) => [...withLengths(Buffer.from(bytes))]
	t.deepEqual(lengths(...accessUnit(h264.sps, h264.idr)), [
		0,
		0,
		0,
		4,
		...h264.sps,
		0,
		0,
		0,
		3,
		...h264.idr
	])
	t.deepEqual(
		lengths(0, 0, 1, 0x65, 0x88, 0, 0, 0, 0, 1, 0x41, 0, 3, 0),
		[0, 0, 0, 2, 0x65, 0x88, 0, 0, 0, 3, 0x41, 0, 3],
		'zeros behind a unit are none of it'
	)
	t.deepEqual(
		lengths(7, 7, 0, 0, 1, 0x65, 0, 0, 1),
		[0, 0, 0, 1, 0x65],
		'what stands before the first start code, and a start code at the end'
	)
	for (const none of [[], [0], [0, 0, 1], [0, 0, 1, 0, 0, 0, 1], [0x65, 0x88]])
		t.deepEqual(lengths(...none), [], String(none))
	const shortest = [0, 0, 1, 0x41]
	t.deepEqual(
		lengths(...Array.from({length: 1000}, () => shortest).flat()),
		Array.from({length: 1000}, () => [0, 0, 0, 1, 0x41]).flat()
	)
})

test('withLengths finds the units that nalUnits finds', t => {
	for (let length = 0; length < 2000; length++) {
		const bytes = Buffer.from(Array.from({length}, () => Math.floor(Math.random() * 3)))
		const expected = [...nalUnits(bytes, 'H264')]
			.map(({start, end}) => bytes.toString('hex', start, end).replace(/(00)+$/, ''))
			.filter(unit => unit !== '')
		const lengths = withLengths(bytes)
		const found: string[] = []
		for (let at = 0; at < lengths.length;) {
			const end = at + 4 + lengths.readUInt32BE(at)
			found.push(lengths.toString('hex', at + 4, end))
			at = end
		}
		t.deepEqual(found, expected, bytes.toString('hex'))
	}
})

test('withLengths takes 16 MB of start codes or of zeros', t => {
	const codes = Buffer.alloc(16 * 1024 * 1024, Buffer.from([0, 0, 1, 0x41]))
	t.is(withLengths(codes).length, (codes.length * 5) / 4)
	t.is(withLengths(Buffer.alloc(16 * 1024 * 1024)).length, 0)
})

/** Looks for B-frames in access units, each given as its NAL units in hexadecimal. */
function bFrames(codec: NalCodec, ...units: string[][]): boolean | undefined {
	const finder = new BFrameFinder(codec)
	for (const unit of units) finder.add(accessUnit(...unit.map(hex => [...Buffer.from(hex, 'hex')])))
	return finder.found
}

test('B-frames: H.264, as x264 begins its frames', t => {
	const key = [
		'091000',
		'674d401eeca05017fcb80b5060606a50000003001000000303c8f162d960',
		'68ce3c80',
		'658884003682180020000803'
	]
	t.false(bFrames('H264', key, ['093000', '419a20228d041fffffc42fc3', '4100f09a20228d041fffffff']))
	t.true(
		bFrames(
			'H264',
			key,
			['093000', '419a2300ca2c0c1ffffffe1c'],
			['095000', '419e41402e8abd020ccf0df0']
		),
		'a B-frame that others refer to'
	)
	t.true(
		bFrames(
			'H264',
			key,
			['093000', '419a2300ca2c0c1ffffffe1c'],
			['095000', '019e624055157a04199f2c31']
		),
		'one that none refers to'
	)
	t.is(bFrames('H264', ['674d401e', '68ce3c80']), undefined, 'no slice')
	t.is(
		bFrames('H264', ['41'], ['4100'], ['4180'], ['410000000000000000']),
		undefined,
		'no readable slice'
	)
})

test('B-frames are ruled out where H.264 says so itself', t => {
	const ruledOut = (sps: string) => {
		const finder = new BFrameFinder('H264')
		finder.add(accessUnit([...Buffer.from(sps, 'hex')]))
		return finder.ruledOut
	}
	t.true(ruledOut('6742c01ed901e0089f970110000003001000000303c0f162e480'), 'baseline')
	t.true(
		ruledOut('674d401ed900a02ff97016a0c0c0d4a0000003002000000791e2c5c9'),
		'main, as x264 writes it without B-frames'
	)
	t.true(ruledOut('6764001eacb201405ff2e02d418181a940000003004000000f23c58b92'), 'high without')
	t.false(ruledOut('6764001eacd940a02ff97016a0c0c0d4a0000003002000000791e2c5b2c0'), 'high with')
	t.false(ruledOut('674d401eeca05017fcb80b5060606a50000003001000000303c8f162d960'), 'main with')
	for (const part of ['67', '674d', '6764001e', '6764001eac'])
		t.false(ruledOut(part), `cut off: ${part}`)
})

const sequence =
	'42010101600000030090000003000003005aa005020171f2e5ba4a4c2fff000100016a0c0c0c08000003000800000300f040'
const picture = '4401c0718312'

test('B-frames: H.265, as x265 begins its frames', t => {
	const key = [sequence, picture, '2801ac231838b1900cc02800']
	t.false(
		bFrames(
			'H265',
			key,
			['0201d009788138c1a4a00080'],
			['0201d011fe205c3069a38012'],
			['0201d019fe205c306907402a']
		)
	)
	t.true(
		bFrames(
			'H265',
			[sequence, picture, '2801ac231838bb300b001400'],
			['0201d0195e204c3069d08010'],
			['0201e0449782044306891400']
		)
	)
	t.is(
		bFrames('H265', ['0201d009788138c1a4a00080']),
		undefined,
		'without its parameter sets a slice cannot be read'
	)
})

test("B-frames: H.265 whose slices are all B, as many cameras' are, counts by the order of its pictures", t => {
	// first_slice_segment_in_pic_flag 1, slice_pic_parameter_set_id 0 (1), slice_type B (1), then eight bits of the order.
	const slice = (order: number) => [`0201${((0b111 << 13) | (order << 5)).toString(16)}80`]
	const key = [sequence, picture, '2801ac23']
	t.false(bFrames('H265', key, slice(1), slice(2), slice(3)))
	t.true(bFrames('H265', key, slice(3), slice(1), slice(2)))
	t.false(
		bFrames('H265', key, slice(127), slice(254), slice(255), slice(0), slice(1)),
		'the count begins anew after 255'
	)
	t.true(bFrames('H265', key, slice(127), slice(254), slice(1), slice(255)))
	t.false(bFrames('H265', key, slice(100), key, slice(1)), 'and at a key frame')
	t.true(bFrames('H265', key, slice(100), key, slice(254)), 'frames shown before their key frame')
})

test('B-frames: any bytes are taken', t => {
	for (const codec of ['H264', 'H265'] as const) {
		const finder = new BFrameFinder(codec)
		for (let round = 0; round < 3000; round++) {
			const body = Uint8Array.from({length: Math.random() * 60}, () => Math.random() * 256)
			const header = [0x41, 0x65, 0x42, 0x44, 0x02, 0x28][round % 6] ?? 0
			t.notThrows(() => {
				finder.add(accessUnit([header, 0x01, ...body], [...body]))
			})
		}
	}
})
