/** The camera of a run: scripts/camera.py, with a picture that makes JPEGs of a usual size. */
import {setTimeout as pause} from 'node:timers/promises'
import {startProgram} from './programs.mjs'
import {root} from './paths.mjs'

export const camera = {
	width: 1280,
	height: 720,
	fps: 30,
	kbit: 4000,
	// A zone plate that moves: about 170 kB at JPEG quality 80.
	pattern: 'zone-plate kx2=9 ky2=9 kt=2'
}

/** The camera stops its encoder when its last viewer has left; the next one must find it stopped, or it waits for a key frame. */
const ENCODER_STOP_MS = 500

const DELAY_SECONDS = 5

/**
 * @param {Partial<typeof camera> & {path?: string, keyIntervalSeconds?: number, deaf?: boolean, within?: number}} [options] what differs from the usual camera; its stream `path`; whether it makes no key frame when it is asked for one; the process whose network it is in
 */
export async function startCamera({
	path = 'h264',
	within,
	keyIntervalSeconds = 1,
	deaf = false,
	...different
} = {}) {
	const facts = {...camera, ...different}
	let viewers = 0
	let plays = 0
	const flags = Object.entries(facts).flatMap(([name, value]) => [`--${name}`, String(value)])
	// -B: Python would leave compiled files in the repository.
	const program = startProgram(
		'/usr/bin/python3',
		[
			'-B',
			`${root}/scripts/camera.py`,
			'--port',
			'0',
			'--key-interval',
			String(keyIntervalSeconds),
			...(deaf ? ['--deaf'] : []),
			...flags
		],
		{
			within,
			onLine({event}) {
				if (event === 'connected') viewers++
				if (event === 'closed') viewers--
				if (event === 'play') plays++
			}
		}
	)
	const {port} = await program.line(({event}) => event === 'ready')
	const until = async (condition, what) => {
		const deadline = performance.now() + 20_000
		while (!condition()) {
			if (program.ended()) throw new Error(`The camera ended: ${program.text.join('\n')}`)
			if (performance.now() > deadline)
				throw new Error(`The camera still waits for ${what} after 20 s.`)
			await pause(10)
		}
	}
	const url = `rtsp://127.0.0.1:${port}/${path}`
	/** Resolves when nobody watches and the encoder stands still, so that every contender starts alike. */
	const idle = async () => {
		await until(() => viewers === 0, 'its last viewer to leave')
		await pause(ENCODER_STOP_MS)
	}
	return {
		...facts,
		keyIntervalSeconds,
		url,
		pid: program.pid,
		idle,
		/** Runs `act` and resolves when the camera has begun to play for someone. */
		async playing(act) {
			const before = plays
			const result = act()
			await until(() => plays > before, 'a viewer to play')
			return result
		},
		/** How much of a latency is the camera's own: {@link file://./camera_delay.py}. In ms. */
		async delay() {
			await idle()
			const meter = startProgram('/usr/bin/python3', [
				'-B',
				`${root}/bench/camera_delay.py`,
				url,
				String(DELAY_SECONDS)
			])
			const delay = await meter.line(({p50}) => p50 !== undefined)
			await meter.exit
			return delay
		},
		stop: () => program.stop()
	}
}
