import {cp, mkdtemp, readdir, readFile, rm, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import path from 'node:path'
import process from 'node:process'
import {fileURLToPath} from 'node:url'
import test, {type ExecutionContext} from 'ava'
import {BFrameFinder} from '../../dist/media/b-frames.js'
import {startCamera, startProgram, startSluice, type Sluice} from '../support/processes.js'
import {until, view} from '../support/viewer.js'

const small = ['--width', '640', '--height', '360', '--fps', '25']
const clientPath = fileURLToPath(new URL('../support/whep-client.js', import.meta.url))

/** A template for hardware, with software that does the same in the place of each element for hardware. */
function inSoftware(text: string): string {
	return text
		.replace(/\(memory:\w+\)/g, '')
		.replace(
			/^! (va|qsv|nv|v4l2)h26\ddec|^! nvv4l2decoder.*/gm,
			`! avdec_${/@codecs (\w+)/.exec(text)?.[1]?.toLowerCase() ?? ''}`
		)
		.replace(/^! (vapostproc|cudascale|nvvidconv)/gm, '! videoscale ! videoconvert')
		.replace(/^! cudaconvert/gm, '! videoconvert')
		.replace(
			/^! (va|qsv|nv|nvv4l2|v4l2)h264enc.*/gm,
			'! videoconvert ! x264enc tune=zerolatency speed-preset=ultrafast bitrate={bitrate} key-int-max=60'
		)
}

/** The package's templates, those for hardware that are named done in software, and without the others. */
async function pipelinesWith(variants: readonly string[]): Promise<string> {
	const directory = path.join(await mkdtemp(path.join(tmpdir(), 'sluice-')), 'pipelines')
	await cp('pipelines', directory, {recursive: true})
	for (const file of await hardwareVariants()) await rm(path.join(directory, file))
	for (const file of variants)
		await writeFile(
			path.join(directory, file),
			inSoftware(await readFile(path.join('pipelines', file), 'utf8'))
		)
	return directory
}

async function hardwareVariants(): Promise<string[]> {
	return (await readdir('pipelines')).filter(file => /^webrtc\.transcode\..+\.gst$/.test(file))
}

const opened = (sluice: Sluice) =>
	sluice.lines.filter(line => line['msg'] === 'opening').map(line => line['template'])

async function available(sluice: Sluice, names: readonly string[]): Promise<void> {
	await until(
		async () => {
			const {pipelines} = (await (await fetch(`${sluice.http}/pipelines`)).json()) as {
				pipelines: {name: string; available: boolean}[]
			}
			return names.every(name =>
				pipelines.some(description => description.name === name && description.available)
			)
		},
		60_000,
		'the variants are checked'
	)
}

/** Watches a camera over WebRTC until so many pictures have come. */
async function watch(
	t: ExecutionContext,
	sluice: Sluice,
	rtsp_url: string,
	pictures: number
): Promise<() => void> {
	const client = startProgram(t, process.execPath, [
		clientPath,
		`${sluice.http}/whep?${new URLSearchParams({rtsp_url}).toString()}`
	])
	await client.line(line => line['event'] === 'first')
	await until(
		() => {
			client.child.stdin?.write('stats\n')
			return (
				Number(client.lines.findLast(line => line['event'] === 'stats')?.['frames'] ?? 0) >=
				pictures
			)
		},
		60_000,
		`${pictures} pictures`
	)
	return () => {
		client.child.kill()
	}
}

test.serial(
	'with software in the place of its hardware each variant gives H.264 for browsers: no B-frames, scaled, Annex B',
	async t => {
		const variants = await hardwareVariants()
		t.is(variants.length, 10)
		const directory = await pipelinesWith(variants)
		const camera = await startCamera(t, small)
		const sluice = await startSluice(t, ['--pipelines', directory])
		for (const file of variants) {
			const text = await readFile(path.join('pipelines', file), 'utf8')
			const rtsp_url = camera.url(text.includes('@codecs H265') ? '/h265-b-frames' : '/b-frames')
			const viewer = view(
				t,
				sluice.stream({
					rtsp_url,
					pipeline: file.replace(/\.gst$/, ''),
					max_width: '320',
					bitrate: '500'
				})
			)
			await viewer.received(20)
			t.like(
				(JSON.parse(viewer.texts[0] ?? '{}') as {caps: unknown}).caps,
				{
					name: 'video/x-h264',
					'stream-format': 'byte-stream',
					alignment: 'au',
					width: 320,
					height: 180
				},
				file
			)
			const finder = new BFrameFinder('H264')
			for (const frame of viewer.frames) finder.add(frame)
			t.false(finder.found, file)
			viewer.socket.close()
			await viewer.closed
		}
	}
)

test.serial(
	'cameras that browsers do not show are transcoded by the best variant that takes their codec',
	async t => {
		const directory = await pipelinesWith([
			'webrtc.transcode.va.gst',
			'webrtc.transcode.va-h265.gst'
		])
		const camera = await startCamera(t, small)
		const sluice = await startSluice(t, ['--pipelines', directory])
		await available(sluice, ['webrtc.transcode.va', 'webrtc.transcode.va-h265'])

		// The plain H.264 pipeline has told the codec, and its pictures have told of the B-frames.
		await watch(t, sluice, camera.url('/b-frames'), 25).then(leave => {
			leave()
		})
		t.deepEqual(opened(sluice), ['h264', 'webrtc.transcode.va'])

		// Here nothing knows the codec before the plain variant plays; the better one takes over.
		const seen = opened(sluice).length
		const leave = await watch(t, sluice, camera.url('/h265'), 25)
		await sluice.line(
			line => line['msg'] === 'playing' && line['template'] === 'webrtc.transcode.va-h265',
			60_000
		)
		t.deepEqual(opened(sluice).slice(seen), [
			'h264',
			'webrtc.transcode',
			'webrtc.transcode.va-h265'
		])
		leave()
		await watch(t, sluice, camera.url('/h265'), 25)
		t.deepEqual(opened(sluice).slice(seen + 3), ['webrtc.transcode.va-h265'])
	}
)

test.serial('a variant whose encoder does not start gives way to software', async t => {
	const directory = await pipelinesWith(['webrtc.transcode.va.gst'])
	const file = path.join(directory, 'webrtc.transcode.va.gst')
	await writeFile(
		file,
		(await readFile(file, 'utf8')).replace('! x264enc', '! identity error-after=1 ! x264enc')
	)
	const camera = await startCamera(t, small)
	const sluice = await startSluice(t, ['--pipelines', directory])
	await available(sluice, ['webrtc.transcode.va'])
	await watch(t, sluice, camera.url('/b-frames'), 25)
	t.deepEqual(opened(sluice), ['h264', 'webrtc.transcode.va', 'webrtc.transcode'])
	t.is(
		sluice.lines.filter(line => line['msg'] === 'variant failed to start, passed over').length,
		1
	)
})
