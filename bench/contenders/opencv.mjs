/** The server that people otherwise run: bench/opencv_server.py. */
import {once} from 'node:events'
import net from 'node:net'
import {setTimeout as pause} from 'node:timers/promises'
import {root} from '../paths.mjs'
import {startProgram} from '../programs.mjs'
import {measureServed} from './served.mjs'

export const opencv = {
	id: 'opencv',
	title: 'OpenCV + FastAPI',
	/** @param {import('../run.mjs').Round} round */
	async measure(round) {
		const port = await freePort()
		const program = startProgram('/usr/bin/python3', [`${root}/bench/opencv_server.py`, String(port)])
		await answering(port, program)
		return measureServed(round, {program, port})
	}
}

/** Uvicorn does not say which port it took, so it is told one. */
async function freePort() {
	const server = net.createServer().listen(0, '127.0.0.1')
	await once(server, 'listening')
	const {port} = server.address()
	server.close()
	await once(server, 'close')
	return port
}

async function answering(port, program) {
	const deadline = performance.now() + 20_000
	for (;;) {
		const answer = await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined)
		if (answer?.ok) return
		if (program.ended() || performance.now() > deadline) throw new Error(`bench/opencv_server.py does not answer: ${program.text.slice(-20).join('\n')}`)
		await pause(50)
	}
}
