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
	const program = startProgram('/usr/bin/python3', [
		'-B',
		`${root}/bench/link.py`,
		...[roundTripMs, lossPercent, bytesPerSecond].map(String)
	])
	const {server, viewer} = await program.line(({event}) => event === 'ready')
	return {server, viewer, stop: program.stop}
}

/**
 * A network with an address that is no loopback address, which Janus needs, and nothing else in it. Where none can be made it is
 * this machine's own loopback, and `impossible` says why.
 *
 * @returns {Promise<{host: string, within?: number, impossible?: string, stop: () => Promise<void>}>} `within`: a process that is in it
 */
export async function startNetwork() {
	const impossible = await whyNoLink()
	if (impossible !== undefined) return {host: '127.0.0.1', impossible, stop: async () => {}}
	// Server and viewer are at the same end: what they send each other never reaches the link.
	const {server, stop} = await startLink({roundTripMs: 0})
	return {host: linkHost, within: server, stop}
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
