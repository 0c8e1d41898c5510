import {spawn} from 'node:child_process'
import {once} from 'node:events'
import process from 'node:process'
import test from 'ava'
import {jpegSize} from '../support/jpeg.js'
import {startCamera, startSluice} from '../support/processes.js'
import {until, view} from '../support/viewer.js'

// A still picture without noise, with colours in its top, its middle and its bottom.
const still = ['--width', '640', '--height', '360', '--fps', '25', '--pattern', 'smpte-rp-219']

interface Picture {
	/** Luma, blue and red differences; a row of samples each. */
	planes: {width: number; height: number; samples: Buffer}[]
	/** What the decoder complained of. */
	complaints: string
}

type Chroma = '420' | '422'

/** Runs elements that end in raw pictures of this chroma and size, and reads the first. */
async function run(
	elements: string[],
	input: Buffer,
	chroma: Chroma,
	{width, height}: {width: number; height: number}
): Promise<Picture> {
	const format = chroma === '420' ? 'I420' : 'Y42B'
	const child = spawn(
		'gst-launch-1.0',
		[
			'-q',
			...elements,
			'!',
			`video/x-raw,format=${format},width=${width},height=${height}`,
			'!',
			'fdsink'
		],
		{
			stdio: ['pipe', 'pipe', 'pipe'],
			timeout: 60_000,
			env: {...process.env, GST_DEBUG: 'libav:2', GST_DEBUG_NO_COLOR: '1'}
		}
	)
	child.stdin.end(input)
	const exit = once(child, 'exit')
	const [pixels, words] = await Promise.all([
		child.stdout.toArray() as Promise<Buffer[]>,
		child.stderr.toArray() as Promise<Buffer[]>
	])
	await exit
	const data = Buffer.concat(pixels)
	let at = 0
	const planes = [0, 1, 2].map(index => {
		const plane =
			index === 0
				? {width, height}
				: {width: Math.ceil(width / 2), height: chroma === '420' ? Math.ceil(height / 2) : height}
		// GStreamer's rows are as long as the next multiple of four.
		const stride = Math.ceil(plane.width / 4) * 4
		const samples = Buffer.alloc(plane.width * plane.height)
		for (let y = 0; y < plane.height; y++)
			data.copy(samples, y * plane.width, at + y * stride, at + y * stride + plane.width)
		at += stride * plane.height
		return {...plane, samples}
	})
	if (data.length < at)
		throw new Error(
			`${data.length} bytes of a picture of ${at}: ${Buffer.concat(words).toString()}`
		)
	return {planes, complaints: Buffer.concat(words).toString()}
}

/** Decodes with libavcodec, which tells of every deviation, where GStreamer's jpegdec is silent. */
async function decode(jpeg: Buffer, chroma: Chroma): Promise<Picture> {
	const size = jpegSize(jpeg)
	if (!size) throw new Error('no complete JPEG')
	return run(
		[
			'fdsrc',
			`blocksize=${jpeg.length}`,
			'!',
			'image/jpeg,parsed=true,framerate=1/1',
			'!',
			'avdec_mjpeg'
		],
		jpeg,
		chroma,
		size
	)
}

/** What the camera saw. */
async function original(chroma: Chroma, size: {width: number; height: number}): Promise<Picture> {
	return run(
		['videotestsrc', 'num-buffers=1', 'pattern=smpte-rp-219'],
		Buffer.alloc(0),
		chroma,
		size
	)
}

/** How much two pictures differ, a mean for each plane, where both have pixels. */
function differences(a: Picture, b: Picture): number[] {
	return a.planes.map((plane, index) => {
		const other = b.planes[index] ?? plane
		const [width, height] = [
			Math.min(plane.width, other.width),
			Math.min(plane.height, other.height)
		]
		let sum = 0
		for (let y = 0; y < height; y++) {
			for (let x = 0; x < width; x++)
				sum += Math.abs(
					(plane.samples[y * plane.width + x] ?? 0) - (other.samples[y * other.width + x] ?? 0)
				)
		}
		return sum / (width * height)
	})
}

/** What the headers of a JPEG say of its coding. */
function coding(jpeg: Buffer): {
	chroma: Chroma | undefined
	restartInterval: number
	lumaTable: number[]
} {
	const found = {
		chroma: undefined as Chroma | undefined,
		restartInterval: 0,
		lumaTable: [] as number[]
	}
	for (
		let at = 2;
		at + 4 < jpeg.length && jpeg.readUInt16BE(at) !== 0xff_da;
		at += 2 + jpeg.readUInt16BE(at + 2)
	) {
		const marker = jpeg.readUInt16BE(at)
		if (marker === 0xff_c0) found.chroma = ({0x22: '420', 0x21: '422'} as const)[jpeg[at + 11] ?? 0]
		if (marker === 0xff_dd) found.restartInterval = jpeg.readUInt16BE(at + 4)
		if (marker === 0xff_db && jpeg[at + 4] === 0)
			found.lumaTable = [...jpeg.subarray(at + 5, at + 69)]
	}
	return found
}

/** Table K.1 of the JPEG standard begins with 16: RFC 2435 and libjpeg make the others of it in the same way. */
function firstStep(q: number): number {
	return Math.min(
		255,
		Math.max(1, Math.floor((16 * (q < 50 ? Math.floor(5000 / q) : 200 - 2 * q) + 50) / 100))
	)
}

interface Oddity {
	name: string
	query: string
	chroma?: Chroma
	restartInterval?: number
	/** The quality that the tables in the image must be of. */
	quality?: number
	size?: {width: number; height: number}
	/** The size in the image's header, where it is another. */
	stated?: {width: number; height: number}
	/** How much the planes may differ from what the camera saw, a mean over all pixels. */
	tolerance?: number
}

const oddities: Oddity[] = [
	{name: '4:2:0, tables in band', query: 'q=255', quality: 80},
	{name: '4:2:2, tables in band', query: 'chroma=422', chroma: '422', quality: 80},
	{name: '4:2:0 with restart markers', query: 'restart=1', restartInterval: 40},
	{
		name: '4:2:2 with restart markers',
		query: 'chroma=422&restart=1',
		chroma: '422',
		restartInterval: 40,
		quality: 80
	},
	{
		name: '4:2:2 with restart markers, tables implied by Q 50',
		query: 'chroma=422&restart=1&q=50',
		chroma: '422',
		restartInterval: 40,
		quality: 50
	},
	...([1, 10, 50, 75, 99] as const).flatMap(q =>
		(['420', '422'] as const).map(chroma => ({
			name: `4:2:${chroma.slice(2)}, tables implied by Q ${q}`,
			query: `chroma=${chroma}&q=${q}`,
			chroma,
			quality: q,
			tolerance: q === 1 ? 12 : q === 10 ? 6 : 2
		}))
	),
	{name: 'fine tables in band', query: 'quality=100', quality: 100},
	{name: 'tables in every tenth image, Q 128', query: 'q=128', quality: 80},
	{name: 'bytes behind the end', query: 'fault=padded', quality: 80},
	// RTP counts in blocks of eight: the rest repeats the edge.
	{
		name: '642x362, 4:2:0',
		query: 'width=642&height=362',
		size: {width: 642, height: 362},
		stated: {width: 648, height: 368}
	},
	{
		name: '642x362, 4:2:2',
		query: 'width=642&height=362&chroma=422',
		chroma: '422',
		size: {width: 642, height: 362},
		stated: {width: 648, height: 368}
	},
	{name: '1920x1080', query: 'width=1920&height=1080', size: {width: 1920, height: 1080}},
	{
		name: '2560x1440, told by its SDP',
		query: 'width=2560&height=1440',
		size: {width: 2560, height: 1440}
	},
	{
		name: '1536x2048, told by its SDP',
		query: 'width=1536&height=2048&chroma=422&q=50',
		chroma: '422',
		quality: 50,
		size: {width: 1536, height: 2048}
	}
]

test.serial(
	"the camera's own images pass, whatever way it sends them: complete, valid, in the right colours",
	async t => {
		const camera = await startCamera(t, still)
		const sluice = await startSluice(t)
		for (const {
			name,
			query,
			chroma = '420',
			restartInterval = 0,
			quality,
			size = {width: 640, height: 360},
			stated = size,
			tolerance = 2
		} of oddities) {
			const viewer = view(
				t,
				sluice.stream({rtsp_url: camera.url(`/jpeg?${query}`), pipeline: 'jpeg.mjpeg'})
			)
			await viewer.received(3)
			viewer.socket.close()
			for (const frame of viewer.frames) t.deepEqual(jpegSize(frame), stated, name)
			const frame = viewer.frames[2] ?? Buffer.alloc(0)
			const {lumaTable, ...said} = coding(frame)
			// The camera really was as odd as its name says.
			t.deepEqual(said, {chroma, restartInterval}, name)
			if (quality !== undefined) t.is(lumaTable[0], firstStep(quality), name)
			const [picture, seen] = [await decode(frame, chroma), await original(chroma, size)]
			t.is(picture.complaints, '', name)
			// Grey in place of the colours would differ by 24 in each of them.
			for (const difference of differences(picture, seen))
				t.true(difference < tolerance, `${name}: ${difference}`)
		}
	}
)

test.serial('an image without its last marker gets it, whatever its last byte is', async t => {
	// Of this pattern, some images' data end in FF 00.
	const camera = await startCamera(t, [
		'--width',
		'176',
		'--height',
		'96',
		'--fps',
		'50',
		'--pattern',
		'chroma-zone-plate kx2=80 ky2=80 kt=7'
	])
	const sluice = await startSluice(t)
	const viewer = view(
		t,
		sluice.stream({rtsp_url: camera.url('/jpeg?fault=no-eoi&chroma=422'), pipeline: 'jpeg.mjpeg'})
	)
	const endsLikeMarker = () =>
		viewer.frames.filter(frame => frame.at(-4) === 0xff && frame.at(-3) === 0)
	// About one image in twenty is; a viewer of the tests keeps a thousand.
	for (let count = 50; endsLikeMarker().length < 3 && count < 1000; count += 50)
		await viewer.received(count)
	t.true(endsLikeMarker().length >= 3)
	for (const frame of viewer.frames) t.deepEqual(jpegSize(frame), {width: 176, height: 96})
	for (const frame of endsLikeMarker().slice(0, 3))
		t.is((await decode(frame, '422')).complaints, '')
})

for (const transport of ['tcp', 'udp']) {
	test.serial(
		`an image of which a packet was lost does not reach the viewer: ${transport}`,
		async t => {
			const camera = await startCamera(t, ['--width', '640', '--height', '360', '--fps', '25'])
			const sluice = await startSluice(t)
			const viewer = view(
				t,
				sluice.stream({rtsp_url: camera.url('/jpeg?fault=gap'), pipeline: 'jpeg.mjpeg', transport})
			)
			await viewer.received(1)
			// Every third image has lost its first, its last or another packet.
			const spoilt = () => camera.lines.filter(line => line['event'] === 'spoilt').length
			const before = spoilt()
			await viewer.received(25)
			await until(() => spoilt() >= before + 8, 60_000, 'eight images were spoilt')
			await viewer.received(viewer.frames.length + 3)
			viewer.socket.close()
			for (const frame of viewer.frames) {
				t.deepEqual(jpegSize(frame), {width: 640, height: 360})
				t.is((await decode(frame, '420')).complaints, '')
			}
		}
	)
}

test('the decoder of these tests does complain of a torn image', async t => {
	const camera = await startCamera(t, still)
	const sluice = await startSluice(t)
	const viewer = view(t, sluice.stream({rtsp_url: camera.url('/jpeg'), pipeline: 'jpeg.mjpeg'}))
	await viewer.received(1)
	const whole = viewer.frames[0] ?? Buffer.alloc(0)
	const middle = Math.floor(whole.length / 2)
	t.is((await decode(whole, '420')).complaints, '')
	t.not(
		(await decode(Buffer.concat([whole.subarray(0, middle), whole.subarray(middle + 1368)]), '420'))
			.complaints,
		''
	)
})

test.serial(
	'who comes right behind the server’s start has the camera’s own images too',
	async t => {
		const camera = await startCamera(t, ['--width', '320', '--height', '180'])
		const sluice = await startSluice(t)
		await view(t, sluice.stream({rtsp_url: camera.url('/mjpeg')})).received(3)
		await sluice.line(line => line['msg'] === 'playing' && line['template'] === 'jpeg.mjpeg')
		t.false(sluice.lines.some(line => line['msg'] === 'failed'))
	}
)
