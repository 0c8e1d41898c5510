/** Viewers as the bench uses them, each kind in a process of its own: viewer.mjs is one plain viewer, viewers.mjs many or slow ones, webrtc-viewers.mjs those over WebRTC. */
import {rm} from 'node:fs/promises'
import path from 'node:path'
import {readClocks} from './clock.mjs'
import {root} from './paths.mjs'
import {startProgram} from './programs.mjs'

/** Viewers whose pipelines start one after the other take their time. */
const FIRST_FRAMES_TIMEOUT_MS = 60_000

let files = 0

/**
 * Starts a viewer and resolves when it has its first frame.
 *
 * @param {string} url of a WebSocket
 * @param {{directory: string, keepEvery?: number}} options where images wait for being read; of how many frames one is kept
 */
export async function startViewer(url, {directory, keepEvery = 1}) {
	const file = path.join(directory, `frames-${files++}`)
	const program = startProgram(process.execPath, [
		`${root}/bench/viewer.mjs`,
		url,
		file,
		String(keepEvery)
	])
	const first = await program.line(({event}) => event !== 'done')
	if (first.event !== 'first')
		throw new Error(`The viewer of ${url} got no frame but ${JSON.stringify(program.lines)}`)

	/** Ends it and resolves with what it saw: {@link import('./sight.mjs').Frame} */
	const finish = async () => {
		const trouble = program.lines.filter(({event}) => event !== 'first')
		if (trouble.length > 0)
			throw new Error(`The viewer of ${url} was interrupted: ${JSON.stringify(trouble)}`)
		program.child.stdin.end()
		const {frames} = await program.line(({event}) => event === 'done')
		await program.exit
		return frames
	}

	return {
		firstFrameMs: first.ms,
		/** Ends it. */
		stop: async () => {
			await finish()
		},
		/** Ends it, and reads the clock of every image that it kept. */
		async result() {
			const frames = await finish()
			const clocks = await readClocks(file)
			await rm(file)
			return {frames, clocks}
		}
	}
}

/**
 * Starts `count` viewers of the sparing kind and resolves when each has its first frame.
 *
 * @param {string} url `ws:`, or `http:` of an MJPEG stream
 * @param {{directory: string, count?: number, keepers?: number, keepEvery?: number, bytesPerSecond?: number, stop?: {afterMs: number, forMs: number}, within?: number}} options
 * the first `keepers` and the last viewer keep images; `within` is the process whose network they are in
 */
export async function startViewers(
	url,
	{directory, count = 1, keepers = 1, keepEvery = 1, within, ...pace}
) {
	const file = path.join(directory, `frames-${files++}`)
	const program = startProgram(
		process.execPath,
		[`${root}/bench/viewers.mjs`, JSON.stringify({url, file, count, keepers, keepEvery, ...pace})],
		{within}
	)
	const first = await program.line(
		({event}) => event === 'first' || event === 'trouble',
		FIRST_FRAMES_TIMEOUT_MS
	)
	if (first.event !== 'first')
		throw new Error(`A viewer of ${url} got no frame: ${JSON.stringify(program.lines)}`)

	return {
		pid: program.pid,
		firstFrameMs: first.ms,
		line: program.line,
		/**
		 * Ends them, and reads the clock of every image that they kept.
		 *
		 * @returns {Promise<{frames: import('./sight.mjs').Frame[], clocks: (number | null)[]}[]>} `clocks` of those that kept images, and empty of the others
		 */
		async result() {
			const trouble = program.lines.filter(({event}) => event === 'trouble')
			if (trouble.length > 0)
				throw new Error(
					`A viewer of ${url} was interrupted: ${JSON.stringify(trouble.slice(0, 5))}`
				)
			program.child.stdin.end()
			const {viewers} = await program.line(({event}) => event === 'done', FIRST_FRAMES_TIMEOUT_MS)
			await program.exit
			const results = []
			for (const [index, {arrivals, bytes, keeps}] of viewers.entries()) {
				// Only the sum of the bytes is told, for thousands of lengths say no more.
				const frames = arrivals.map((arrivalMs, number) => ({
					arrivalMs,
					bytes: bytes / arrivals.length,
					kept: keeps && number % keepEvery === 0
				}))
				const clocks = keeps ? await readClocks(`${file}.${index}`) : []
				if (keeps) await rm(`${file}.${index}`)
				results.push({frames, clocks})
			}
			return results
		}
	}
}

/**
 * Starts `count` viewers over WebRTC and resolves when each has the first packet of a key frame.
 *
 * @param {import('./signalling.mjs').Target} target
 * @param {{count?: number, host: string, within?: number, camera: {fps: number, keyIntervalSeconds: number}}} options `host` is an address of theirs
 */
export async function startWebrtcViewers(target, {count = 1, host, within, camera}) {
	const framesPerGroup = Math.max(1, Math.round(camera.fps * camera.keyIntervalSeconds))
	const program = startProgram(
		process.execPath,
		[`${root}/bench/webrtc-viewers.mjs`, JSON.stringify({target, count, host, framesPerGroup})],
		{within}
	)
	const first = await program.line(
		({event}) => event === 'first' || event === 'trouble',
		FIRST_FRAMES_TIMEOUT_MS
	)
	if (first.event !== 'first')
		throw new Error(`A viewer of ${target.url} got no key frame: ${JSON.stringify(program.lines)}`)

	return {
		pid: program.pid,
		/** From the start of each viewer's signalling to its key frame. */
		keyFrameMs: first.ms,
		/**
		 * Ends them.
		 *
		 * @returns {Promise<{arrivals: number[], packetsMissing: number[], framesMissing: number[]}[]>} for each frame when it began to arrive, and how many packets and frames were missing until then
		 */
		async result() {
			const trouble = program.lines.filter(({event}) => event === 'trouble')
			if (trouble.length > 0)
				throw new Error(
					`A viewer of ${target.url} was interrupted: ${JSON.stringify(trouble.slice(0, 5))}`
				)
			program.child.stdin.end()
			const {viewers} = await program.line(({event}) => event === 'done', FIRST_FRAMES_TIMEOUT_MS)
			await program.exit
			return viewers
		}
	}
}
