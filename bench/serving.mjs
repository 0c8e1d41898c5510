/** What a scenario needs for its time only: a camera, a server. */
import {startCamera} from './camera.mjs'

/**
 * @typedef {object} Run what a scenario is given
 * @property {{quick: boolean, rounds: number, seconds: number, settleSeconds: number, firstFrames: number}} settings
 * @property {{id: string, title: string, start: Function}[]} contenders those that were chosen
 * @property {string} directory for temporary files
 * @property {(text: string) => void} say tells whoever waits how far it is
 */

/**
 * @template T
 * @param {Parameters<typeof startCamera>[0]} options
 * @param {(camera: Awaited<ReturnType<typeof startCamera>>) => Promise<T>} act
 */
export async function withCamera(options, act) {
	const camera = await startCamera(options)
	try {
		return await act(camera)
	} finally {
		await camera.stop()
	}
}

/**
 * @template T
 * @param {{start: import('./contenders/sluice.mjs').Start}} contender
 * @param {Run} run
 * @param {Parameters<import('./contenders/sluice.mjs').Start>[1]} options
 * @param {(server: Awaited<ReturnType<import('./contenders/sluice.mjs').Start>>) => Promise<T>} act
 */
export async function withServer(contender, {directory}, options, act) {
	const server = await contender.start(directory, options)
	try {
		return await act(server)
	} finally {
		await server.stop()
	}
}

/** The chosen of these contenders, in this order. */
export const chosenOf = ({contenders}, ...ids) =>
	ids.flatMap(id => contenders.filter(contender => contender.id === id))
