/** Sluice itself, as it comes: all defaults, but for the flags that a scenario is about. */
import {constants, copyFile} from 'node:fs/promises'
import path from 'node:path'
import {root} from '../paths.mjs'
import {startProgram} from '../programs.mjs'
import {watchUrl} from './watch-url.mjs'

/**
 * @callback Start starts a server
 * @param {string} directory for its temporary files
 * @param {{flags?: string[], host?: string, within?: number, camera?: object}} [options] `flags` of Sluice's; `within`: the process whose network it is in; `camera` for a server that must know it at its start
 * @returns {Promise<{pid: number, url: (camera: string) => string, http?: string, webrtc?: (camera: string) => import('../signalling.mjs').Target, stop: () => Promise<void>, log?: (matches: (line: object) => boolean, timeoutMs?: number) => Promise<object>}>} `url` is what viewers of a camera open, `log` waits for a line of its log
 */

export const sluice = {
	id: 'sluice',
	title: 'Sluice',
	/** @type {Start} */
	async start(directory, {flags = [], host = '127.0.0.1', within} = {}) {
		const node = await ownNode(directory)
		const program = startProgram(
			node,
			[`${root}/dist/cli/main.js`, '--host', host, '--port', '0', ...flags],
			{json: 'stderr', within}
		)
		const {port} = await program.line(({msg}) => msg === 'listening')
		const http = `http://${host}:${port}`
		const webrtc = camera => ({
			signalling: 'whep',
			url: `${http}/whep?rtsp_url=${encodeURIComponent(camera)}`,
			page: `${http}/`
		})
		return {
			pid: program.pid,
			url: watchUrl(host, port),
			http,
			webrtc,
			stop: program.stop,
			log: program.line
		}
	}
}

/**
 * A copy of Node for Sluice alone. PSS divides a page of a program by all processes that run it: this one
 * and the viewer are Node too, and with them Sluice would look smaller than it is where it runs alone.
 */
async function ownNode(directory) {
	const copy = path.join(directory, 'node')
	await copyFile(
		process.execPath,
		copy,
		constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE
	).catch(error => {
		// An earlier start has made it.
		if (error.code !== 'EEXIST') throw error
	})
	return copy
}
