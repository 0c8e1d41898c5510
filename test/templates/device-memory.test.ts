import test, {type ExecutionContext} from 'ava'
import {elementsOf} from '../../dist/pipeline/launch-text.js'
import {fillTemplate, listTemplates, readTemplate} from '../../dist/templates/template.js'
import {type Line, startProgram} from '../support/processes.js'

/** Memory of a device, and the elements that give it. */
const deviceMemory: ReadonlyMap<string, RegExp> = new Map([
	['CUDAMemory', /^(nvh26\ddec|cuda\w+)$/],
	['VAMemory', /^(vah26\ddec|vapostproc)$/],
	['VASurface', /^vaapi/],
	['NVMM', /^nvv4l2decoder$/]
])

/** A capssetter of a template. */
interface CapsSetter {
	template: string
	/** The element that gives it pictures. */
	giver: string
	/** The caps filter between the two; empty where there is none. */
	filter: string
	/** From the capssetter on, with the defaults of the parameters. */
	rest: string
}

const names = await listTemplates('pipelines')
const capsSetters = (await Promise.all(names.map(capsSettersOf))).flat()
const ofMainMemory = capsSetters.filter(({filter}) => memoryOf(filter) === 'main')

async function capsSettersOf(name: string): Promise<CapsSetter[]> {
	const template = await readTemplate('pipelines', name)
	const launch = fillTemplate(template, new Map())
	const elements = elementsOf(launch)
	return elements.flatMap((setter, index) => {
		const giver = elements[index - 1]
		if (setter.name !== 'capssetter' || !giver) return []
		const between = launch.slice(giver.end, setter.start)
		const filter = /^\s*!\s*(\w+\/[^!]*?)\s*!\s*$/.exec(between)?.[1] ?? ''
		return {template: name, giver: giver.name, filter, rest: launch.slice(setter.start)}
	})
}

/** Undefined where raw caps do not stand there. */
function memoryOf(filter: string): string | undefined {
	const found = /^video\/x-raw(?:\(memory:(\w+)\))?\s*(?:,|$)/.exec(filter)
	return found ? (found[1] ?? 'main') : undefined
}

test('before each capssetter stands which memory is meant, for it takes any', t => {
	t.is(capsSetters.length, 18)
	for (const {template, giver, filter} of capsSetters) {
		const memory = memoryOf(filter)
		t.truthy(memory, `${template}.gst: no raw caps between ${giver} and capssetter`)
		if (memory === undefined || memory === 'main') continue
		const givers = deviceMemory.get(memory) ?? /^$/
		t.regex(giver, givers, `${template}.gst: ${giver} gives no ${memory}`)
	}
})

/** Plays texts behind a source that leaves its pictures in a device's memory wherever it may. */
async function play(t: ExecutionContext, texts: readonly string[]): Promise<Line[]> {
	const program = startProgram(t, '/usr/bin/python3', ['test/support/device-memory.py'])
	program.child.stdin?.end(JSON.stringify(texts))
	await program.line(() => program.lines.length === texts.length)
	t.is((await program.exit).code, 0)
	return program.lines
}

/** Has software in the place of an encoder for hardware, and a sink that tells of each frame. */
function inSoftware(text: string): string {
	return text
		.replace(/! qsvjpegenc/, '! jpegenc')
		.replace(/! (?:qsv|v4l2)h264enc.*/, '! videoconvert ! x264enc tune=zerolatency')
		.replace(/! appsink .*/, '! fakesink name=sink signal-handoffs=true async=false')
}

test("what reads main memory plays behind a decoder that can give its device's", async t => {
	t.deepEqual(
		ofMainMemory.map(({template}) => template),
		[
			'jpeg',
			'jpeg.nvidia',
			'jpeg.qsv',
			'jpeg.v4l2',
			'jpeg.va',
			'webrtc.transcode',
			'webrtc.transcode.qsv',
			'webrtc.transcode.qsv-h265',
			'webrtc.transcode.v4l2',
			'webrtc.transcode.v4l2-h265'
		]
	)
	const texts = ofMainMemory.map(({filter, rest}) => `${filter} ! ${inSoftware(rest)}`)
	const played = await play(t, texts)
	const main = {event: 'played', caps: 'memory:SystemMemory', frames: 10}
	t.deepEqual(
		played,
		ofMainMemory.map(() => main)
	)
})

test('without these caps they all end in not-negotiated', async t => {
	const played = await play(
		t,
		ofMainMemory.map(({rest}) => inSoftware(rest))
	)
	t.is(played.length, ofMainMemory.length)
	for (const {caps, frames, error} of played) {
		t.is(caps, 'memory:CUDAMemory')
		t.is(frames, 0)
		t.regex(String(error), /not-negotiated/)
	}
})
