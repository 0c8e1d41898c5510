import type {IncomingMessage} from 'node:http'
import process from 'node:process'
import {type Logger, pino} from 'pino'
import pretty from 'pino-pretty'
import type {SluiceError} from './errors.js'

export type {Logger} from 'pino'

export const logLevels = ['silent', 'error', 'warn', 'info', 'debug'] as const
export type LogLevel = (typeof logLevels)[number]

/** An error's other fields may hold what a viewer sent: of an address that cannot be read, all of it. */
function describeError(error: unknown): object {
	if (!(error instanceof Error)) return {message: String(error)}
	const {name: type, message, stack, cause} = error
	return {type, message, stack, ...(cause !== undefined && {cause: describeError(cause)})}
}

/** One line per event on standard error: for people on a terminal, as JSON where it is piped. */
export function createLog(level: LogLevel): Logger {
	const options = {level, base: null, timestamp: pino.stdTimeFunctions.isoTime, serializers: {err: describeError}, formatters: {level: (label: string) => ({level: label})}}
	return process.stderr.isTTY
		? pino(options, pretty({destination: 2, sync: true, singleLine: true, translateTime: 'SYS:HH:MM:ss.l'}))
		: pino(options, pino.destination({dest: 2, sync: true}))
}

/** A failure that a viewer is told. */
export function logFailure(log: Logger, {code, detail, cause}: SluiceError): void {
	log[code === 'internal_error' ? 'error' : 'warn']({code, detail, ...(cause !== undefined && {err: cause})}, 'failed')
}

/** How the log names who asks. */
export function viewerName({socket}: IncomingMessage): string {
	return `${socket.remoteAddress ?? '?'}:${socket.remotePort ?? '?'}`
}
