/** Motion, which many run to see their cameras in a browser: one decode and one encode for all viewers, MJPEG over HTTP. */
import {writeFile} from 'node:fs/promises'
import path from 'node:path'
import {setTimeout as pause} from 'node:timers/promises'
import {startProgram} from '../programs.mjs'
import {freePort} from './free-port.mjs'

const START_TIMEOUT_MS = 20_000
const ANSWER_TIMEOUT_MS = 3000

export const motion = {
	id: 'motion',
	title: 'Motion',
	/** @type {import('./sluice.mjs').Start} */
	async start(directory, {camera}) {
		const port = await freePort()
		const file = path.join(directory, `motion-${port}.conf`)
		await writeFile(file, configuration(camera, port, directory))
		const program = startProgram('motion', [
			'-c',
			file,
			'-n',
			'-p',
			path.join(directory, `motion-${port}.pid`)
		])
		await showing(port, program)
		return {pid: program.pid, url: () => `http://127.0.0.1:${port}/`, stop: program.stop}
	}
}

/**
 * Motion's own defaults show one picture a second, and write every movement to the disk. Here it streams at the camera's
 * rate and writes nothing; it still looks for motion, for that is what it is.
 */
const configuration = ({url, width, height, fps}, port, directory) =>
	Object.entries({
		daemon: 'off',
		setup_mode: 'off',
		log_level: 4,
		log_file: path.join(directory, 'motion.log'),
		target_dir: directory,
		netcam_url: url,
		// At the camera's own rate, the default, it stays a second behind: it never catches up with what waited while it connected.
		netcam_params: `rtsp_transport=tcp,capture_rate=${2 * fps}`,
		width,
		height,
		framerate: fps + 5,
		stream_port: port,
		stream_localhost: 'on',
		stream_maxrate: fps,
		stream_quality: 80,
		webcontrol_port: 0,
		picture_output: 'off',
		movie_output: 'off',
		emulate_motion: 'off'
	})
		.map(([name, value]) => `${name} ${value}\n`)
		.join('')

/** It listens long before it has a picture, and until then ends every answer without one. */
async function showing(port, program) {
	const deadline = performance.now() + START_TIMEOUT_MS
	for (;;) {
		if (await hasPicture(port).catch(() => false)) return
		if (program.ended() || performance.now() > deadline)
			throw new Error(`Motion shows no picture: ${program.text.slice(-20).join('\n')}`)
		await pause(100)
	}
}

async function hasPicture(port) {
	const {body} = await fetch(`http://127.0.0.1:${port}/`, {
		signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS)
	})
	const reader = body.getReader()
	const {done} = await reader.read()
	await reader.cancel()
	return !done
}
