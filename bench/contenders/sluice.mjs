/** Sluice itself, as it comes: all defaults. */
import {constants, copyFile} from 'node:fs/promises'
import path from 'node:path'
import {root} from '../paths.mjs'
import {startProgram} from '../programs.mjs'
import {measureServed} from './served.mjs'

export const sluice = {
	id: 'sluice',
	title: 'Sluice',
	/** @param {import('../run.mjs').Round} round */
	async measure(round) {
		const node = await ownNode(round.directory)
		const program = startProgram(node, [`${root}/dist/main.js`, '--host', '127.0.0.1', '--port', '0'], {json: 'stderr'})
		const {port} = await program.line(({msg}) => msg === 'listening')
		return measureServed(round, {program, port})
	}
}

/**
 * A copy of Node for Sluice alone. PSS divides a page of a program by all processes that run it: this one
 * and the viewer are Node too, and with them Sluice would look smaller than it is where it runs alone.
 */
async function ownNode(directory) {
	const copy = path.join(directory, 'node')
	await copyFile(process.execPath, copy, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE).catch(error => {
		// The rounds before have made it.
		if (error.code !== 'EEXIST') throw error
	})
	return copy
}
