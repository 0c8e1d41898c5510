import {spawnSync} from 'node:child_process'
import {cp, mkdtemp, readFile, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import path from 'node:path'
import test, {type ExecutionContext} from 'ava'
import {type Camera, type Sluice, startCamera, startSluice} from '../support/processes.js'
import {until, view} from '../support/viewer.js'

const small = ['--width', '640', '--height', '360']

interface Description {
	name: string
	available: boolean
	failed?: string
}

async function describe(http: string, name: string): Promise<Description | undefined> {
	const {pipelines} = (await (await fetch(`${http}/pipelines`)).json()) as {
		pipelines: Description[]
	}
	return pipelines.find(description => description.name === name)
}

test.serial(
	'an MJPEG camera is handed on without transcoding, as soon as its codec is known, and from the start the next time',
	async t => {
		const camera = await startCamera(t, small)
		const sluice = await startSluice(t, ['--log-level', 'debug'])
		await until(
			async () => (await describe(sluice.http, 'jpeg.mjpeg'))?.available ?? false,
			60_000,
			'the variant is checked'
		)
		const rtsp_url = camera.url('/mjpeg')
		const playing = () =>
			sluice.lines.filter(line => line['msg'] === 'playing').map(line => line['template'])
		const first = view(t, sluice.stream({rtsp_url}))
		await until(() => playing().length === 2, 60_000, 'the variant plays')
		await first.received(first.frames.length + 5)
		t.deepEqual(playing(), ['jpeg', 'jpeg.mjpeg'])
		const second = view(t, sluice.stream({rtsp_url}))
		await second.received(5)
		t.deepEqual(playing(), ['jpeg', 'jpeg.mjpeg', 'jpeg.mjpeg'])
		// A parameter that the variant does not have, or a template asked for by its full name, decides otherwise.
		const third = view(t, sluice.stream({rtsp_url, quality: '50'}))
		// With the codec it is decided whether another variant follows.
		await codecsTold(sluice, 4)
		await third.received(10)
		t.deepEqual(playing(), ['jpeg', 'jpeg.mjpeg', 'jpeg.mjpeg', 'jpeg'])
		for (const viewer of [first, second, third]) viewer.socket.close()
		await until(
			() =>
				camera.lines.filter(line => line['event'] === 'play').length ===
				camera.lines.filter(line => line['event'] === 'teardown').length,
			60_000,
			'no RTSP session is left'
		)
		t.is(camera.lines.filter(line => line['event'] === 'play').length, 4)
	}
)

test.serial(
	'whoever leaves with the first picture has found out the codec for the next',
	async t => {
		const camera = await startCamera(t, small)
		const sluice = await startSluice(t)
		await until(
			async () => (await describe(sluice.http, 'jpeg.mjpeg'))?.available ?? false,
			60_000,
			'the variant is checked'
		)
		const snapshot = `${sluice.http}/snapshot.jpg?${String(new URLSearchParams({rtsp_url: camera.url('/mjpeg')}))}`
		for (const expected of ['jpeg', 'jpeg.mjpeg']) {
			const {status} = await fetch(snapshot)
			t.is(status, 200)
			t.is(sluice.lines.filter(line => line['msg'] === 'opening').at(-1)?.['template'], expected)
			await until(
				() =>
					camera.lines.filter(line => line['event'] === 'play').length ===
					camera.lines.filter(line => line['event'] === 'teardown').length,
				60_000,
				'the session has ended'
			)
		}
	}
)

test.serial('a camera whose codec only the plain variant takes stays with it', async t => {
	const camera = await startCamera(t, small)
	const sluice = await startSluice(t, ['--log-level', 'debug'])
	await until(
		async () => (await describe(sluice.http, 'jpeg.mjpeg'))?.available ?? false,
		60_000,
		'the variant is checked'
	)
	for (const attempt of [1, 2]) {
		const viewer = view(t, sluice.stream({rtsp_url: camera.url('/h264')}))
		await codecsTold(sluice, attempt)
		await viewer.received(10)
		viewer.socket.close()
		t.deepEqual(
			sluice.lines.filter(line => line['msg'] === 'opening').map(line => line['template']),
			Array<string>(attempt).fill('jpeg')
		)
	}
})

/** Resolves when so many pipelines have told what their camera sends; the server logs that at the level debug. */
async function codecsTold(sluice: Sluice, count: number): Promise<void> {
	await until(
		() => sluice.lines.filter(line => line['msg'] === 'codec').length >= count,
		60_000,
		`${count} pipelines have told the codec`
	)
}

/** A server with templates of its own to change, which knows already what its camera sends. */
async function startLearnt(
	t: ExecutionContext
): Promise<{directory: string; camera: Camera; sluice: Sluice; url: string}> {
	const directory = path.join(await mkdtemp(path.join(tmpdir(), 'sluice-')), 'pipelines')
	await cp('pipelines', directory, {recursive: true})
	const camera = await startCamera(t, small)
	const sluice = await startSluice(t, ['--pipelines', directory, '--log-level', 'debug'])
	const url = sluice.stream({rtsp_url: camera.url('/h264')})
	const learning = view(t, url)
	await codecsTold(sluice, 1)
	learning.socket.close()
	return {directory, camera, sluice, url}
}

test.serial(
	'a variant that does not start gives way, is told once, and is passed over',
	async t => {
		const {directory, camera, sluice, url} = await startLearnt(t)

		// Each element is there, so it counts as available, as a hardware decoder whose device is broken.
		const plain = await readFile(path.join(directory, 'jpeg.gst'), 'utf8')
		await writeFile(
			path.join(directory, 'jpeg.broken.gst'),
			plain
				.replace('@rank 0', '@rank 500\n# @codecs H264')
				.replace('! videoconvert', '! identity error-after=1 ! videoconvert')
		)
		await until(
			async () => (await describe(sluice.http, 'jpeg.broken'))?.available ?? false,
			60_000,
			'the variant is checked'
		)

		// The codec is known, so it is tried first.
		const second = view(t, url)
		await second.received(10)
		const opened = () =>
			sluice.lines.filter(line => line['msg'] === 'opening').map(line => line['template'])
		t.deepEqual(opened(), ['jpeg', 'jpeg.broken', 'jpeg'])
		t.regex((await describe(sluice.http, 'jpeg.broken'))?.failed ?? '', /identity/)
		const third = view(t, url)
		await third.received(10)
		t.deepEqual(opened(), ['jpeg', 'jpeg.broken', 'jpeg', 'jpeg'])
		t.is(
			sluice.lines.filter(line => line['msg'] === 'variant failed to start, passed over').length,
			1
		)
		// It may have been the camera's fault: another one's viewers are sent to it.
		const other = view(
			t,
			sluice.stream({rtsp_url: camera.url('/h264').replace('127.0.0.1', 'localhost')})
		)
		await other.received(10)
		await until(() => opened().length === 6, 60_000, 'the variant is tried beside')
		t.deepEqual(opened().slice(4), ['jpeg', 'jpeg.broken'])
		// Asked for by name, it is not replaced.
		t.not(
			(
				await view(t, sluice.stream({rtsp_url: camera.url('/h264'), pipeline: 'jpeg.broken'}))
					.closed
			).error,
			undefined
		)
	}
)

test.serial(
	'a better variant that fails beside the plain one is not noticed by the viewer',
	async t => {
		const directory = path.join(await mkdtemp(path.join(tmpdir(), 'sluice-')), 'pipelines')
		await cp('pipelines', directory, {recursive: true})
		const plain = await readFile(path.join(directory, 'jpeg.gst'), 'utf8')
		await writeFile(
			path.join(directory, 'jpeg.broken.gst'),
			plain
				.replace('@rank 0', '@rank 500\n# @codecs H264')
				.replace('! videoconvert', '! identity error-after=1 ! videoconvert')
		)
		const camera = await startCamera(t, small)
		const sluice = await startSluice(t, ['--pipelines', directory])
		await until(
			async () => (await describe(sluice.http, 'jpeg.broken'))?.available ?? false,
			60_000,
			'the variant is checked'
		)
		const viewer = view(t, sluice.stream({rtsp_url: camera.url('/h264')}))
		await until(
			async () => (await describe(sluice.http, 'jpeg.broken'))?.failed !== undefined,
			60_000,
			'the better variant was tried, and failed'
		)
		await viewer.received(viewer.frames.length + 30)
		t.deepEqual(viewer.texts, [])
		t.deepEqual(
			sluice.lines.filter(line => line['msg'] === 'opening').map(line => line['template']),
			['jpeg', 'jpeg.broken']
		)
	}
)

test.serial(
	'a variant that fails for many viewers at the same time is told once, and again when its file was saved',
	async t => {
		const {directory, camera, sluice, url} = await startLearnt(t)
		const file = path.join(directory, 'jpeg.broken.gst')
		const plain = await readFile(path.join(directory, 'jpeg.gst'), 'utf8')
		const broken = plain
			.replace('@rank 0', '@rank 500\n# @codecs H264')
			.replace('! videoconvert', '! identity error-after=1 ! videoconvert')
		const told = () =>
			sluice.lines
				.filter(line => line['msg'] === 'variant failed to start, passed over')
				.map(line => line['template'])
		const tried = () =>
			sluice.lines.filter(line => line['msg'] === 'opening' && line['template'] === 'jpeg.broken')
				.length
		for (const times of [1, 2]) {
			await writeFile(file, `${broken}# saved for the time ${times}\n`)
			await until(
				async () => {
					const description = await describe(sluice.http, 'jpeg.broken')
					return description?.available === true && description.failed === undefined
				},
				60_000,
				'the variant is checked'
			)
			const before = tried()
			// None fails before all have come: a camera that is stopped does not answer.
			camera.child.kill('SIGSTOP')
			const viewers = [1, 2, 3].map(() => view(t, url))
			await until(() => tried() === before + 3, 60_000, 'all viewers were sent to it')
			camera.child.kill('SIGCONT')
			await Promise.all(viewers.map(async viewer => viewer.received(10)))
			t.deepEqual(told(), Array<string>(times).fill('jpeg.broken'))
			t.regex((await describe(sluice.http, 'jpeg.broken'))?.failed ?? '', /identity/)
			for (const viewer of viewers) viewer.socket.close()
		}
	}
)

/** The mean value of an image's brightness, 0 to 255. */
function brightness(image: Buffer): number {
	const {stdout} = spawnSync(
		'gst-launch-1.0',
		['-q', ...'fdsrc ! jpegdec ! videoconvert ! video/x-raw,format=GRAY8 ! fdsink'.split(' ')],
		{input: image, timeout: 60_000, maxBuffer: 2 ** 24}
	)
	return stdout.reduce((sum, value) => sum + value, 0) / stdout.length
}

test.serial(
	'grey is as bright whichever range of values a camera uses, and from the first image on where it is known',
	async t => {
		const flags = [...small, '--pattern', 'solid-color foreground-color=0xffc0c0c0']
		const [limited, full, sluice] = await Promise.all([
			startCamera(t, flags),
			startCamera(t, [...flags, '--full-range']),
			startSluice(t)
		])
		for (const camera of [limited, full]) {
			const url = sluice.stream({rtsp_url: camera.url('/h264')})
			const snapshot = await fetch(
				`${sluice.http}/snapshot.jpg?${new URLSearchParams({rtsp_url: camera.url('/h264'), max_age_ms: '0'}).toString()}`
			)
			t.is(snapshot.status, 200)
			const viewer = view(t, url)
			await viewer.received(10)
			viewer.socket.close()
			const known = view(t, url)
			await known.received(1)
			for (const frame of [
				Buffer.from(await snapshot.arrayBuffer()),
				viewer.frames[9],
				known.frames[0]
			]) {
				const mean = brightness(frame ?? Buffer.alloc(0))
				// 0xc0 is 192, of the limited range 181, and stretched for nothing 205; the clocks in the picture take about 6.
				t.true(mean > 182 && mean < 190, `${camera === full ? 'full' : 'limited'}: ${mean}`)
			}
		}
	}
)

test.serial('a picture without colours is stretched as well', async t => {
	const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
	const shipped = await readFile('pipelines/jpeg.gst', 'utf8')
	// No encoder here makes such video, so a source of pictures stands in the place of the camera's decoder.
	const source =
		'videotestsrc name=src is-live=true pattern=solid-color foreground-color=0xffc0c0c0\n! video/x-raw,format=GRAY8,width=64,height=64,framerate=10/1,colorimetry=bt601\n'
	await writeFile(
		path.join(directory, 'grey.gst'),
		`# @camera none\n# @param {integer 1..100} quality=80 JPEG quality\n${source}${shipped.slice(shipped.indexOf('! videoconvert'))}`
	)
	const sluice = await startSluice(t, ['--pipelines', directory])
	const viewer = view(t, sluice.stream({rtsp_url: 'rtsp://127.0.0.1/none', pipeline: 'grey'}))
	await viewer.received(10)
	t.deepEqual(viewer.texts, [])
	const mean = brightness(viewer.frames[9] ?? Buffer.alloc(0))
	t.true(mean > 187 && mean < 197, String(mean))
})
