import {constants, openSync} from 'node:fs'
import type {IncomingMessage} from 'node:http'
import process from 'node:process'
import {type Logger, pino} from 'pino'
import {prettyFactory} from 'pino-pretty'
import type {SluiceError} from './errors.js'

export type {Logger} from 'pino'

export const logLevels = ['silent', 'error', 'warn', 'info', 'debug'] as const
export type LogLevel = (typeof logLevels)[number]

/** What may wait while standard error takes nothing; beyond it the newest lines are lost. */
const maxWaitingBytes = 256 * 1024
const retryEveryMs = 100
/** How long the end of the process waits for whoever reads its last lines. */
const lastLinesTimeoutMs = 1000

/** Lines that this process could not log. */
let lostInAll = 0

interface Loss {
	lines: number
	/** When the first of them was lost. */
	since: string
	/** Why nothing could be written, as the system says it: ENOSPC, EAGAIN, EPIPE. */
	reason: string | undefined
}

/**
 * Standard error, which may take nothing for a while: its disk is full, or nobody reads its pipe. No
 * frame waits for it, and the server does not end with it: lines wait in sonic-boom's queue, whole
 * and in order; where that is full, new ones are lost and counted.
 *
 * Pipes, sockets and terminals must not block. Node makes the first two so by itself, `terminal()`
 * the third. sonic-boom's own answer to a full pipe is to sleep, in the server's only thread, until
 * it is read; pino's to a full disk is to throw, which ends the process.
 */
class StandardError {
	/** Told what was lost, once all that waited is written, and before the next line. */
	onRoom: ((loss: Loss) => void) | undefined
	#stream: ReturnType<typeof pino.destination>
	#loss: Loss | undefined
	#reason: string | undefined
	/** Runs while lines wait. */
	#retries: NodeJS.Timeout | undefined
	#exitWatched = false

	constructor(fd: number) {
		const own = {maxLength: maxWaitingBytes, retryEAGAIN: () => false}
		this.#stream = pino.destination({dest: fd, sync: true, ...own})
		// pino's own listener writes nothing any more once a reader has gone, and throws all else.
		// A named pipe may get another reader.
		this.#stream.removeAllListeners('error')
		this.#stream.on('error', (error: NodeJS.ErrnoException) => {
			this.#onBlocked(error.code)
		})
		this.#stream.on('drop', () => {
			this.#onDrop()
		})
	}

	write(line: string): void {
		if (this.#blocked) this.#retry()
		this.#stream.write(line)
		if (!this.#blocked) this.#tellLoss()
	}

	get #blocked(): boolean {
		return this.#retries !== undefined
	}

	#onBlocked(reason: string | undefined): void {
		this.#reason = reason
		this.#retries ??= setInterval(() => {
			this.#retry()
		}, retryEveryMs).unref()
		if (this.#exitWatched) return
		this.#exitWatched = true
		process.once('exit', () => {
			this.#writeLastLines()
		})
	}

	#onDrop(): void {
		lostInAll++
		this.#loss ??= {lines: 0, since: new Date().toISOString(), reason: this.#reason}
		this.#loss.lines++
	}

	/** A write of nothing makes sonic-boom write what waits; flush() does nothing without a minLength. */
	#retry(): void {
		clearInterval(this.#retries)
		this.#retries = undefined
		this.#stream.write('')
		if (!this.#blocked) this.#tellLoss()
	}

	#tellLoss(): void {
		const loss = this.#loss
		this.#loss = undefined
		if (loss) this.onRoom?.(loss)
	}

	/** A slow reader gets a moment; nobody waits for a full disk, as sonic-boom's flushSync() would. */
	#writeLastLines(): void {
		const untilMs = performance.now() + lastLinesTimeoutMs
		if (this.#blocked) this.#retry()
		while (this.#blocked && this.#reason === 'EAGAIN' && performance.now() < untilMs) {
			Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10)
			this.#retry()
		}
	}
}

/** How many lines were lost since the process began. */
export function lostLogLines(): number {
	return lostInAll
}

/**
 * A terminal that is stopped, by Ctrl+S say, holds up whoever writes to it. One that is opened anew
 * need not, and stays as it is for other programs.
 */
function terminal(): number {
	try {
		const {O_WRONLY, O_NONBLOCK, O_NOCTTY} = constants
		return openSync('/dev/fd/2', O_WRONLY | O_NONBLOCK | O_NOCTTY)
	} catch {
		// It is another user's, after su say, or there is no /dev/fd.
		return 2
	}
}

/** An error's other fields may hold what a viewer sent: of an address that cannot be read, all of it. */
function describeError(error: unknown): object {
	if (!(error instanceof Error)) return {message: String(error)}
	const {name: type, message, stack, cause} = error
	return {type, message, stack, ...(cause !== undefined && {cause: describeError(cause)})}
}

/** One line per event on standard error: for people on a terminal, as JSON where it is piped. */
export function createLog(level: LogLevel): Logger {
	const options = {
		level,
		base: null,
		timestamp: pino.stdTimeFunctions.isoTime,
		serializers: {err: describeError},
		formatters: {level: (label: string) => ({level: label})}
	}
	const stderr = new StandardError(process.stderr.isTTY ? terminal() : 2)
	const format = prettyFactory({singleLine: true, translateTime: 'SYS:HH:MM:ss.l'})
	const forPeople = {
		write: (line: string) => {
			stderr.write(format(line))
		}
	}
	const log = pino(options, process.stderr.isTTY ? forPeople : stderr)
	// At the highest level there is, so that every log tells it.
	stderr.onRoom = loss => {
		log.error(loss, 'log lines lost')
	}
	return log
}

/** A failure that a viewer is told. */
export function logFailure(log: Logger, {code, detail, cause}: SluiceError): void {
	log[code === 'internal_error' ? 'error' : 'warn'](
		{code, detail, ...(cause !== undefined && {err: cause})},
		'failed'
	)
}

/** How the log names who asks. */
export function viewerName({socket}: IncomingMessage): string {
	return `${socket.remoteAddress ?? '?'}:${socket.remotePort ?? '?'}`
}
