/** Viewers as the bench uses them: viewer.mjs in a process of its own. */
import {rm} from 'node:fs/promises'
import path from 'node:path'
import {readClocks} from './clock.mjs'
import {root} from './paths.mjs'
import {startProgram} from './programs.mjs'

/**
 * Starts a viewer and resolves when it has its first frame.
 *
 * @param {string} url of a WebSocket
 * @param {{directory: string, keepEvery?: number}} options where images wait for being read; of how many frames one is kept
 */
export async function startViewer(url, {directory, keepEvery = 1}) {
	const file = path.join(directory, 'frames')
	const program = startProgram(process.execPath, [`${root}/bench/viewer.mjs`, url, file, String(keepEvery)])
	const first = await program.line(({event}) => event !== 'done')
	if (first.event !== 'first') throw new Error(`The viewer of ${url} got no frame but ${JSON.stringify(program.lines)}`)

	/** Ends it and resolves with what it saw: {@link import('./sight.mjs').Frame} */
	const finish = async () => {
		const trouble = program.lines.filter(({event}) => event !== 'first')
		if (trouble.length > 0) throw new Error(`The viewer of ${url} was interrupted: ${JSON.stringify(trouble)}`)
		program.child.stdin.end()
		const {frames} = await program.line(({event}) => event === 'done')
		await program.exit
		return frames
	}

	return {
		firstFrameMs: first.ms,
		/** Ends it. */
		stop: async () => { await finish() },
		/** Ends it, and reads the clock of every image that it kept. */
		async result() {
			const frames = await finish()
			const clocks = await readClocks(file)
			await rm(file)
			return {frames, clocks}
		}
	}
}
