import test, {type ExecutionContext} from 'ava'
import {createLog} from '../../dist/base/log.js'
import {
	fillTemplate,
	listTemplates,
	type Parameter,
	readTemplate
} from '../../dist/templates/template.js'
import {Worker} from '../../dist/workers/worker.js'
import {type Examined, type PipelineWorker, readFromWorker} from '../../dist/pipeline/messages.js'
import {cameraFlags} from '../support/browser.js'
import {jpegSize} from '../support/jpeg.js'
import {startCamera, startSluice} from '../support/processes.js'
import {type TestViewer, view} from '../support/viewer.js'

interface Description {
	name: string
	available: boolean
	unavailable?: string
	error?: string
}

/** The templates of that version; they never change. */
const folder = 'test/integration/templates-0.1'
const software = ['h264', 'jpeg', 'jpeg.mjpeg', 'mp4', 'test', 'webrtc.transcode']
const missing = /^no element "(va|vaapi|qsv|nv|cuda|v4l2)\w+"/

test.serial('templates of 0.1 are all read, and lack elements for hardware at most', async t => {
	const sluice = await startSluice(t, ['--pipelines', folder])
	const answer = await fetch(`${sluice.http}/pipelines`)
	const {pipelines} = (await answer.json()) as {pipelines: Description[]}
	t.is(pipelines.length, 22)
	for (const {name, available, unavailable, error} of pipelines) {
		t.is(error, undefined, name)
		if (software.includes(name)) t.true(available, name)
		else if (!available) t.regex(unavailable ?? '', missing, name)
	}
})

/** Each of a parameter's values that is the first or the last of its kind. */
function extremes(parameter: Parameter): readonly string[] {
	if (parameter.type === 'choice') return parameter.choices
	return [parameter.minimum, parameter.default, parameter.maximum].map(String)
}

/** Asks GStreamer, in one worker, about one launch text after the other. */
async function examiner(t: ExecutionContext): Promise<(launch: string) => Promise<Examined>> {
	const program = new URL('../../dist/pipeline/worker-main.js', import.meta.url)
	const worker: PipelineWorker = new Worker(program, createLog('silent'), readFromWorker)
	t.teardown(async () => worker.close())
	await worker.ready
	return async launch =>
		new Promise((resolve, reject) => {
			worker.onMessage = message => {
				if (message.type === 'examined') resolve(message.examined)
			}
			void worker.exited.then(() => {
				reject(new Error('the worker ended'))
			})
			worker.send({type: 'examine', launch})
		})
}

test.serial('templates of 0.1 take the extremes of their parameters', async t => {
	const names = await listTemplates(folder)
	t.is(names.length, 22)
	const examine = await examiner(t)
	for (const name of names) {
		const template = await readTemplate(folder, name)
		for (let index = 0; index < 3; index++) {
			const values = template.parameters.map(
				each => [each.name, extremes(each)[index] ?? ''] as const
			)
			const examined = await examine(fillTemplate(template, new Map(values)))
			const what = `${name} ${JSON.stringify(values)}`
			const maxBuffers = template.output === 'image/jpeg' ? 1 : 60
			if ('error' in examined && !software.includes(name)) t.regex(examined.error, missing, what)
			else t.like(examined, {src: true, sink: {maxBuffers}}, what)
		}
	}
})

interface Case {
	pipeline: string
	mount?: string
	values: Record<string, string>
	/** Of the image, or as the caps say. */
	width: number
	height: number
}

const transport = 'tcp'
const cases: readonly Case[] = [
	{pipeline: 'jpeg', mount: '/h264', values: {}, width: 640, height: 360},
	{
		pipeline: 'jpeg',
		mount: '/h265',
		values: {quality: '50', max_width: '320', max_height: '360', max_fps: '10', transport},
		width: 320,
		height: 180
	},
	{
		pipeline: 'jpeg',
		mount: '/mjpeg',
		values: {quality: '1', max_width: '16384', max_height: '90', max_fps: '240', transport: 'udp'},
		width: 160,
		height: 90
	},
	{pipeline: 'jpeg.mjpeg', mount: '/mjpeg', values: {transport}, width: 640, height: 360},
	{pipeline: 'h264', mount: '/h264', values: {transport}, width: 640, height: 360},
	{pipeline: 'mp4', mount: '/b-frames', values: {transport}, width: 640, height: 360},
	{
		pipeline: 'webrtc.transcode',
		mount: '/h265',
		values: {bitrate: '500', threads: '1', max_width: '320', max_height: '1920', max_fps: '15'},
		width: 320,
		height: 180
	},
	{pipeline: 'test', values: {quality: '30', fps: '10'}, width: 1280, height: 720}
]

function sizeOf({frames, texts}: TestViewer): unknown {
	const {caps} = JSON.parse(texts[0] ?? '{}') as {caps?: {width: number; height: number}}
	return caps ? {width: caps.width, height: caps.height} : jpegSize(frames.at(-1))
}

test.serial('templates of 0.1 for software play', async t => {
	const camera = await startCamera(t, cameraFlags)
	const sluice = await startSluice(t, ['--pipelines', folder])
	for (const {pipeline, mount, values, width, height} of cases) {
		const address = mount === undefined ? {} : {rtsp_url: camera.url(mount)}
		const viewer = view(t, sluice.stream({pipeline, ...address, ...values}))
		await t.notThrowsAsync(viewer.received(5), pipeline)
		t.deepEqual(sizeOf(viewer), {width, height}, pipeline)
		viewer.socket.close()
		await viewer.closed
	}
})
