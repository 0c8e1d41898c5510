#!/usr/bin/env node
/** The command line: reads the configuration, runs the server until a signal, and sets the exit code. */
import {constants} from 'node:os'
import process from 'node:process'
import {check} from './check-templates.js'
import {checkUrl} from './check-camera.js'
import {type Command, type Config, readCommand, UsageError, version} from '../config/config.js'
import {createLog} from '../base/log.js'
import {Server} from '../http/server.js'

/** Shutdown has deadlines of its own, which sum up to less; this one is for what nobody thought of. */
const shutdownTimeoutMs = 4500

/** A pipe takes 64 kB at once; the process does not wait for more. */
const maxProblems = 100

/** One line that says what is wrong, or several, and the exit code: 2 for wrong usage, 1 for everything else. */
function end(message: string, exitCode: number): never {
	process.stderr.write(`sluice: ${message}\n`)
	process.exit(exitCode)
}

function readCommandOrEnd(): Command {
	try {
		return readCommand(process.argv.slice(2), process.env)
	} catch (error) {
		if (!(error instanceof UsageError)) throw error
		const {problems} = error
		const more = problems.length > maxProblems ? [`and ${problems.length - maxProblems} more`] : []
		end([...problems.slice(0, maxProblems), ...more].join('\nsluice: '), 2)
	}
}

const listenErrors: Record<string, string> = {
	EADDRINUSE: 'the port is taken',
	EACCES: 'this user may not listen there',
	EADDRNOTAVAIL: 'the address is none of this machine',
	ENOTFOUND: 'the host name is unknown',
	EAI_AGAIN: 'the host name cannot be looked up'
}

async function run(config: Config): Promise<void> {
	const log = createLog(config.logLevel)
	const server = new Server(config, log)
	const stopping = new AbortController()
	const stop = (signal: NodeJS.Signals) => {
		if (stopping.signal.aborted) return
		stopping.abort()
		log.info({signal}, 'stopping')
		setTimeout(() => {
			log.error('shutdown took too long')
			process.exit(1)
		}, shutdownTimeoutMs).unref()
		void server.close().then(() => {
			log.info('stopped')
			process.exit(0)
		})
	}
	process.on('SIGINT', stop)
	process.on('SIGTERM', stop)
	try {
		const port = await server.listen()
		log.info({host: config.host, port, version: version(), pid: process.pid}, 'listening')
	} catch (error) {
		if (stopping.signal.aborted) return
		await server.close()
		const {code = '', message} = error as NodeJS.ErrnoException
		end(
			listenErrors[code]
				? `cannot listen on ${config.host}:${config.port}: ${listenErrors[code]} (${code})`
				: message,
			1
		)
	}
}

/** The templates where one is named, or no camera; then the camera. A signal stops its worker first. */
async function runCheck({
	check: config,
	templates,
	camera
}: Extract<Command, {check: Config}>): Promise<number> {
	const print = (line: string) => process.stdout.write(`${line}\n`)
	const exitCode =
		camera && templates.length === 0 ? 0 : await check(config.pipelinesDir, templates, print)
	if (!camera) return exitCode
	const stopping = new AbortController()
	for (const name of ['SIGINT', 'SIGTERM'] as const)
		process.once(name, () => {
			stopping.abort(128 + constants.signals[name])
		})
	try {
		return Math.max(
			exitCode,
			await checkUrl({source: camera, config, print, signal: stopping.signal})
		)
	} catch (error) {
		if (stopping.signal.aborted) return stopping.signal.reason as number
		throw error
	}
}

let outputFailed = false
process.stdout.on('error', ({code, message}: NodeJS.ErrnoException) => {
	// Whoever reads only the first lines, as head does, closes the pipe; that is no failure.
	if (code === 'EPIPE' || outputFailed) return
	outputFailed = true
	process.stderr.write(`sluice: standard output cannot be written: ${code ?? message}\n`)
	process.exitCode = Number(process.exitCode ?? 0) || 1
})
// Where nothing can be said, the exit code is left. The log has its own way there.
process.stderr.on('error', () => undefined)
const command = readCommandOrEnd()
if ('print' in command) process.stdout.write(`${command.print}\n`)
else if ('check' in command) process.exitCode = (await runCheck(command)) || Number(outputFailed)
else await run(command.run)
