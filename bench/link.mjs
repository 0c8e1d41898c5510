/** A link with a delay, a rate and losses between server and viewer: link.py. */
import {root} from './paths.mjs'
import {startProgram} from './programs.mjs'

/** The server's address on every link, in a network of its own. */
export const linkHost = '10.99.0.1'

/**
 * @param {{roundTripMs: number, lossPercent?: number, bytesPerSecond?: number}} terms
 * @returns {Promise<{server: number, viewer: number, stop: () => Promise<void>}>} processes in whose networks server and viewer belong
 */
export async function startLink({roundTripMs, lossPercent = 0, bytesPerSecond = 25e6}) {
	const program = startProgram('/usr/bin/python3', ['-B', `${root}/bench/link.py`, ...[roundTripMs, lossPercent, bytesPerSecond].map(String)])
	const {server, viewer} = await program.line(({event}) => event === 'ready')
	return {server, viewer, stop: program.stop}
}

/** Why no link can be made on this machine; undefined where one can. */
export async function whyNoLink() {
	try {
		const link = await startLink({roundTripMs: 0})
		await link.stop()
		return undefined
	} catch (error) {
		return error.message
	}
}
