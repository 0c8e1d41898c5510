/** What the programs of all workers do alike: the channel to the server, and every way out. */
import {Socket} from 'node:net'
import process from 'node:process'
import {Worker as Thread} from 'node:worker_threads'
import {channelFd, channelReader, writeMessage} from './channel.js'

/** How long stopping may take before the process kills itself. */
const stopTimeoutMs = 1000
/** Of a text in a message. */
const maxTextLength = 2000

/**
 * @param onMessage takes what this program's server says
 * @param shutdown ends the process, and does nothing where it ends already
 * @returns how to tell the server something; where that takes nothing any more, the process ends
 */
export function serve(
	onMessage: (message: never) => void,
	shutdown: (exitCode: number) => void
): (message: object) => void {
	const channel = new Socket({fd: channelFd})
	// What the server says is as its types are.
	const reader = channelReader(message => {
		onMessage(message as never)
	})
	channel.on('data', (chunk: Buffer) => {
		reader.read(chunk)
	})
	channel.on('error', () => undefined)
	// The server is gone, or it gave this worker up.
	channel.once('close', () => {
		shutdown(0)
	})
	process.on('SIGTERM', () => {
		shutdown(0)
	})
	// A Ctrl-C reaches the whole process group; the server decides when its workers end.
	process.on('SIGINT', () => undefined)
	const crash = (error: unknown) => {
		console.error(error)
		shutdown(1)
	}
	process.on('uncaughtException', crash).on('unhandledRejection', crash)
	return message => {
		try {
			writeMessage(channel, message)
		} catch (error) {
			crash(error)
		}
	}
}

/** Native code may block this thread for ever. Another thread does not wait for it. */
export function killSoon(): void {
	new Thread(`setTimeout(() => process.kill(process.pid, 'SIGKILL'), ${stopTimeoutMs})`, {
		eval: true
	}).unref()
}

/** A text that is short enough for a message. */
export function shortened(text: string): string {
	return text.length > maxTextLength ? `${text.slice(0, maxTextLength)}…` : text
}

/**
 * The same of a text that may hold secrets and tells the reason at its end. It is cut at white space:
 * the server, which takes secrets out, would not know a part of one.
 */
export function withoutMiddle(text: string): string {
	if (text.length <= maxTextLength) return text
	const half = maxTextLength / 2
	return `${text.slice(0, half).replace(/\S+$/, '')}…${text.slice(-half).replace(/^\S+/, '')}`
}
