/**
 * The limit: gst-launch-1.0 with the very elements of Sluice's template, which ends in a sink that throws
 * the images away. A server cannot do the same work for less.
 */
import {once} from 'node:events'
import {root} from '../paths.mjs'
import {startProgram} from '../programs.mjs'
import {nowMs} from '../statistics.mjs'

export const limit = {
	id: 'limit',
	title: 'gst-launch-1.0',
	/**
	 * Starts a pipeline, and resolves at once.
	 *
	 * @param {string} url of a camera
	 * @param {string} [template] whose elements it has
	 */
	async start(url, template = 'jpeg') {
		const program = startPipeline(await launchText(url, template, 'fakesink sync=false'))
		return {
			pid: program.pid,
			async stop() {
				if (program.ended()) throw new Error(`gst-launch-1.0 ended: ${program.text.join('\n')}`)
				await program.stop('SIGINT')
			}
		}
	},
	/** How long a start takes, in ms. A run of its own, that writes its images out: so the other needs no probe that would cost it CPU. */
	async measureFirstFrame(url) {
		const launch = await launchText(url, 'jpeg', 'fdsink sync=false')
		const startMs = nowMs()
		const program = startPipeline(launch)
		await Promise.race([once(program.child.stdout, 'data'), program.exit])
		if (program.ended())
			throw new Error(`gst-launch-1.0 ended without a frame: ${program.text.join('\n')}`)
		const ms = nowMs() - startMs
		program.child.stdout.resume()
		await program.stop('SIGINT')
		return ms
	}
}

/** A template of Sluice's with its defaults, as Sluice itself reads and fills it, but for the sink. */
async function launchText(url, template, sink) {
	const {readTemplate, fillTemplate} = await import(`${root}/dist/templates/template.js`)
	const launch = fillTemplate(await readTemplate(`${root}/pipelines`, template), new Map())
	const {levelsFor} = await import(`${root}/dist/pipeline/levels.js`)
	// The camera's range is the limited one; Sluice's server sets this when it has seen that.
	const levels = levelsFor('limited')
		.map(({property, value}) => `${property}=${value}`)
		.join(' ')
	const text = launch
		.replace('name=levels', levels)
		.replace(/\bname=src\b/, `name=src location=${url}`)
		.replace(/\bappsink\b[^!]*$/, sink)
	if (!text.includes(url) || !text.endsWith(sink))
		throw new Error(
			`The template ${template} has no element name=src or does not end in an appsink: ${launch}`
		)
	return text
}

/** Gst-launch joins its arguments with spaces again, so any split at white space gives the same pipeline. */
const startPipeline = launch =>
	startProgram('gst-launch-1.0', ['--quiet', ...launch.split(/\s+/)], {binary: true})
