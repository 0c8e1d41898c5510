/**
 * The limit: gst-launch-1.0 with the very elements of Sluice's template, which ends in a sink that throws
 * the images away. A server cannot do the same work for less.
 */
import {once} from 'node:events'
import {root} from '../paths.mjs'
import {memoryOf} from '../processes.mjs'
import {startProgram} from '../programs.mjs'
import {nowMs} from '../statistics.mjs'
import {measureWindow} from '../window.mjs'

export const limit = {
	id: 'limit',
	title: 'gst-launch-1.0',
	/** @param {import('../run.mjs').Round} round */
	async measure({camera, settings}) {
		const firstFrameMs = []
		for (let taken = 0; taken < settings.firstFrames; taken++) {
			await camera.idle()
			firstFrameMs.push(await measureFirstFrame(camera.url))
		}
		await camera.idle()
		const program = await camera.playing(async () => startPipeline(await launchText(camera.url, 'fakesink sync=false')))
		const window = await measureWindow(program.pid, settings)
		const streaming = memoryOf(program.pid)
		if (program.ended()) throw new Error(`gst-launch-1.0 ended: ${program.text.join('\n')}`)
		await program.stop('SIGINT')
		return {firstFrameMs, window, memory: {streaming}}
	}
}

/** A run of its own, that writes its images out: so the other needs no probe that would cost it CPU. */
async function measureFirstFrame(url) {
	const launch = await launchText(url, 'fdsink sync=false')
	const startMs = nowMs()
	const program = startPipeline(launch)
	await Promise.race([once(program.child.stdout, 'data'), program.exit])
	if (program.ended()) throw new Error(`gst-launch-1.0 ended without a frame: ${program.text.join('\n')}`)
	const ms = nowMs() - startMs
	program.child.stdout.resume()
	await program.stop('SIGINT')
	return ms
}

/** Sluice's default template with its defaults, as Sluice itself reads and fills it, but for the sink. */
async function launchText(url, sink) {
	const {readTemplate, fillTemplate} = await import(`${root}/dist/template.js`)
	const launch = fillTemplate(await readTemplate(`${root}/pipelines`, 'jpeg'), new Map())
	const text = launch.replace(/\bname=src\b/, `name=src location=${url}`).replace(/\bappsink\b[^!]*$/, sink)
	if (!text.includes(url) || !text.endsWith(sink)) throw new Error(`The template jpeg has no element name=src or does not end in an appsink: ${launch}`)
	return text
}

/** Gst-launch joins its arguments with spaces again, so any split at white space gives the same pipeline. */
const startPipeline = launch => startProgram('gst-launch-1.0', ['--quiet', ...launch.split(/\s+/)], {binary: true})
