import {type ChildProcess, spawn} from 'node:child_process'
import process from 'node:process'
import type {Duplex, Readable, Writable} from 'node:stream'
import {fileURLToPath} from 'node:url'
import {wordsOf} from '../base/errors.js'
import type {Logger} from '../base/log.js'
import {RateLimit} from '../base/rate-limit.js'
import {Watchdog} from './watchdog.js'
import {channelFd, channelReader, framePipeFd, writeMessage} from './channel.js'

/** Stopping is a message, then SIGTERM, then SIGKILL: milliseconds after close() was called. */
const termAfterMs = 500
const killAfterMs = 800
const readyTimeoutMs = 20_000
const maxLineLength = 2000
/** Of a line whose end has not come. */
const maxUnfinishedLength = 64 * 1024
const maxLinesPerSecond = 20
/** A process that the worker has started may hold its pipes open. */
const lastWordsTimeoutMs = 100
/** A worker that ends closes its channel some milliseconds before. */
const deafTimeoutMs = 1000
/** Then the server lets go of the pipes of a worker that has ended, whoever still holds them. */
const pipesTimeoutMs = 1000
/** glibc would give each picture's memory back and take it anew, page by page, for as long as a fifth of an image's encoding. Others do not know these. */
const mallocSettings = {
	MALLOC_MMAP_THRESHOLD_: String(32 * 1024 * 1024),
	MALLOC_TRIM_THRESHOLD_: String(32 * 1024 * 1024)
}
/** One for all workers of this process. */
const watchdog = new Watchdog()

/** How a worker process ended. */
export interface WorkerExit {
	code: number | null
	signal: NodeJS.Signals | null
	/** True where close() asked for it; false where the worker died by itself. */
	expected: boolean
	/** Where the server knows more: why there was no process at all, or why it ended the worker by itself. */
	reason?: string
}

/**
 * A worker process, from spawn to exit. Ready is a message of its own, not a successful spawn. `To` and `From` are the
 * messages that it takes and sends; every worker takes `stop`, and sends `ready`. Frames go over a pipe beside, one way or
 * the other.
 */
export class Worker<To extends {type: string}, From extends {type: string}> {
	/** Resolves when its library is loaded; rejects, with the worker's last words, when it ends before that. */
	readonly ready: Promise<void>
	readonly exited: Promise<WorkerExit>
	onMessage: ((message: From) => void) | undefined
	/** Bytes on the frame pipe, cut anywhere. */
	onFrameBytes: ((chunk: Buffer) => void) | undefined
	/** Takes secrets out of what the worker writes to standard error, before it is logged. */
	redact = (text: string): string => text
	#child: ChildProcess
	#framePipe: Duplex | undefined
	#channel: Duplex | undefined
	#log: Logger
	#lastLine = ''
	#closing = false
	/** Why the server has ended it by itself. */
	#givenUp: string | undefined
	#becomeReady: () => void = () => undefined

	/**
	 * @param path the program of the worker
	 * @param read returns a message as it is; throws an Error where it is none of such a worker's
	 */
	constructor(path: string | URL, log: Logger, read: (message: unknown) => From) {
		// Without the server's own flags, an inspector's port for one.
		this.#child = spawn(process.execPath, [path instanceof URL ? fileURLToPath(path) : path], {
			// The fourth is framePipeFd, the fifth channelFd.
			stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
			// camera-failure.ts reads GStreamer's messages, which are translated otherwise.
			env: {...mallocSettings, ...process.env, LC_ALL: 'C', LANGUAGE: 'C', GST_DEBUG_NO_COLOR: '1'}
		})
		this.#log = log.child({worker: this.pid})
		this.exited = this.#watchExit()
		this.ready = this.#watchReady()
		this.#watchFromOutside()
		// Whoever waits for readiness hears of its failure; without anyone waiting it is the exit that counts.
		this.ready.catch(() => undefined)
		if (this.#child.stderr) this.#logLines(this.#child.stderr)
		// There are no pipes where there is no process.
		if (this.pid === undefined) return
		this.#framePipe = this.#child.stdio[framePipeFd] as Duplex
		this.#watchFramePipe(this.#framePipe)
		this.#channel = this.#child.stdio[channelFd] as Duplex
		this.#watchChannel(this.#channel, read)
	}

	get pid(): number | undefined {
		return this.#child.pid
	}

	/**
	 * Ends the worker where it cannot be told: it has read nothing for long, or the message is too long.
	 * @returns false where the worker is gone already or ends now, which `exited` tells too
	 */
	send(message: To | {type: 'stop'}): boolean {
		const channel = this.#channel
		if (channel?.writable !== true) return false
		try {
			writeMessage(channel, message)
			return true
		} catch (error) {
			this.#giveUp(error, `the worker cannot be told anything: ${wordsOf(error)}`)
			return false
		}
	}

	/** Where frames for the worker can be written; undefined where it is gone already, which `exited` tells too. */
	get framePipe(): Writable | undefined {
		return this.#framePipe?.writable === true ? this.#framePipe : undefined
	}

	/** Ends the process, whatever state it is in. */
	async close(): Promise<void> {
		if (!this.#closing) {
			this.#closing = true
			this.onFrameBytes = undefined
			this.send({type: 'stop'})
			const term = setTimeout(() => this.#child.kill('SIGTERM'), termAfterMs)
			const kill = setTimeout(() => this.#child.kill('SIGKILL'), killAfterMs)
			void this.exited.then(() => {
				clearTimeout(term)
				clearTimeout(kill)
			})
		}
		await this.exited
	}

	/** Ends the process at once: for one that misbehaves. */
	kill(): void {
		this.onMessage = undefined
		this.onFrameBytes = undefined
		this.#child.kill('SIGKILL')
		this.#framePipe?.destroy()
		this.#channel?.destroy()
	}

	async #watchExit(): Promise<WorkerExit> {
		return new Promise(resolve => {
			this.#child.once('exit', (code, signal) => {
				const expected = this.#closing
				for (const pipe of [this.#framePipe, this.#channel, this.#child.stderr]) letGo(pipe)
				void Promise.all([closed(this.#framePipe), closed(this.#channel)]).then(() => {
					resolve({
						code,
						signal,
						expected,
						...(this.#givenUp !== undefined && {reason: this.#givenUp})
					})
				})
			})
			// The process could not be spawned: no exit follows.
			this.#child.once('error', error => {
				this.#lastLine = error.message
				if (this.pid === undefined)
					resolve({
						code: null,
						signal: null,
						expected: this.#closing,
						reason: `the worker could not be started: ${error.message}`
					})
			})
		})
	}

	#watchFromOutside(): void {
		const {pid} = this
		if (pid === undefined) return
		watchdog.watch(pid)
		void this.exited.then(() => {
			watchdog.forget(pid)
		})
	}

	async #watchReady(): Promise<void> {
		const {stderr} = this.#child
		const lastWords = new Promise<void>(resolve => {
			if (stderr) stderr.once('close', resolve).on('error', () => undefined)
			else resolve()
		})
		return new Promise<void>((resolve, reject) => {
			const timer = setTimeout(() => {
				reject(new Error(`the worker was not ready after ${readyTimeoutMs / 1000} s`))
				this.kill()
			}, readyTimeoutMs)
			this.#becomeReady = () => {
				clearTimeout(timer)
				resolve()
			}
			void Promise.all([this.exited, lastWords]).then(([{code, signal}]) => {
				clearTimeout(timer)
				reject(
					new Error(
						this.#givenUp ??
							`the worker ended before it was ready (${signal ?? `exit code ${code ?? 'none'}`}): ${this.#lastLine}`
					)
				)
			})
		})
	}

	/** Read to its end, whoever listens, for a pipeline that cannot write holds up its own end. */
	#watchFramePipe(pipe: Duplex): void {
		pipe.on('data', (chunk: Buffer) => {
			this.#deliver(() => this.onFrameBytes?.(chunk))
		})
		// Its end is the worker's, which the exit tells.
		pipe.on('error', () => undefined)
	}

	#watchChannel(channel: Duplex, read: (message: unknown) => From): void {
		const reader = channelReader(raw => {
			const message = read(raw)
			if (message.type === 'ready') this.#becomeReady()
			else this.onMessage?.(message)
		})
		channel.on('data', (chunk: Buffer) => {
			this.#deliver(() => {
				reader.read(chunk)
			})
		})
		channel.on('error', () => undefined)
		channel.once('close', () => {
			if (reader.midway) this.#misbehaves(new Error('its last message is cut short'))
			const timer = setTimeout(() => {
				this.#misbehaves(new Error('it has closed its channel'))
			}, deafTimeoutMs)
			void this.exited.then(() => {
				clearTimeout(timer)
			})
		})
	}

	/** A worker that a camera has taken over may send anything. Where that cannot be taken, the worker ends, and nothing else. */
	#deliver(act: () => void): void {
		try {
			act()
		} catch (error) {
			this.#misbehaves(error)
		}
	}

	#misbehaves(error: unknown): void {
		this.#giveUp(error, `the worker misbehaves: ${wordsOf(error)}`)
	}

	/** The first reason wins. Whom close() or kill() ends owes nobody a whole message. */
	#giveUp(error: unknown, reason: string): void {
		if (this.#closing || this.#child.killed) {
			this.kill()
			return
		}
		this.#givenUp = reason
		this.#log.error({err: error, reason}, 'worker given up')
		this.kill()
	}

	/** Logs what the worker writes to standard error, line by line, and only so much of it. */
	#logLines(stderr: Readable): void {
		const budget = new RateLimit(maxLinesPerSecond)
		let suppressed = 0
		let rest = ''
		const onLine = (raw: string) => {
			// Cut behind the redaction, for a part of a password is not found.
			const line = this.redact(raw).slice(0, maxLineLength).trim()
			if (line === '') return
			if (!/^at |^Node\.js v/.test(line)) this.#lastLine = line
			if (!budget.take()) {
				suppressed++
				return
			}
			if (suppressed > 0) this.#log.warn({lines: suppressed}, 'worker stderr suppressed')
			suppressed = 0
			this.#log.warn({line}, 'worker stderr')
		}
		stderr.setEncoding('utf8').on('data', (chunk: string) => {
			const lines = (rest + chunk).split('\n')
			rest = (lines.pop() ?? '').slice(0, maxUnfinishedLength)
			lines.forEach(onLine)
		})
		stderr.once('end', () => {
			onLine(rest)
		})
	}
}

/** What the process wrote before it ended comes before the news of its end. */
async function closed(pipe: Duplex | undefined): Promise<void> {
	if (!pipe || pipe.destroyed) return
	await new Promise<void>(resolve => {
		const timer = setTimeout(resolve, lastWordsTimeoutMs)
		pipe.once('close', () => {
			clearTimeout(timer)
			resolve()
		})
	})
}

function letGo(pipe: Readable | null | undefined): void {
	if (!pipe || pipe.destroyed) return
	const timer = setTimeout(() => pipe.destroy(), pipesTimeoutMs)
	pipe.once('close', () => {
		clearTimeout(timer)
	})
}
