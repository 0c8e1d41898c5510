/** The server that people otherwise run: bench/opencv_server.py. */
import {root} from '../paths.mjs'
import {startProgram} from '../programs.mjs'
import {watchUrl} from './watch-url.mjs'

export const opencv = {
	id: 'opencv',
	title: 'OpenCV + FastAPI',
	/** @type {import('./sluice.mjs').Start} */
	async start(_directory, {host = '127.0.0.1', within} = {}) {
		const program = startProgram(
			'/usr/bin/python3',
			['-B', `${root}/bench/opencv_server.py`, host],
			{within}
		)
		const {port} = await program.line(({event}) => event === 'listening')
		return {pid: program.pid, url: watchUrl(host, port), stop: program.stop}
	}
}
