/**
 * The channel between server and worker, a socket of its own beside the pipe for frames. A message is
 * its length and JSON.
 *
 * Node's own channel (child_process.fork) is not for a process that may be taken over: a few bytes that
 * are no message of Node's end the process that reads them, and a message may have any length.
 */
import {Buffer} from 'node:buffer'
import type {Writable} from 'node:stream'
import {PacketReader} from '../base/packet-reader.js'
import {Budget} from '../base/rate-limit.js'

/** The worker's file descriptor of the pipe for frames. */
export const framePipeFd = 3
/** The worker's file descriptor of the channel. */
export const channelFd = 4
export const maxMessageBytes = 64 * 1024
/** So many may wait until the other side reads; who has them waiting gives up the other side. */
const maxWaitingBytes = 256 * 1024
/** What may come at once, and in each second from then on: beyond it the other side is broken. */
const maxBytesAtOnce = 4 * 1024 * 1024
const maxBytesPerSecond = 2 * 1024 * 1024
/** What even the smallest message counts as, for the work with it. */
const overheadBytes = 1024
/** Little-endian. */
const headerBytes = 4
const utf8 = new TextDecoder('utf-8', {fatal: true})

/** @throws Error where the message is too long, and where the other side has not read for long */
export function writeMessage(channel: Writable, message: object): void {
	const json = Buffer.from(JSON.stringify(message))
	const {byteLength: bytes} = json
	if (bytes > maxMessageBytes)
		throw new Error(`a message of ${bytes} bytes, where ${maxMessageBytes} are taken`)
	const {writableLength: waiting} = channel
	if (waiting > maxWaitingBytes)
		throw new Error(`${waiting} bytes wait in the channel, and nobody reads them`)
	const header = Buffer.alloc(headerBytes)
	header.writeUInt32LE(bytes)
	// The callback takes the error that would be thrown otherwise: where the other side has gone, the
	// channel's end tells.
	channel.write(Buffer.concat([header, json]), () => undefined)
}

/**
 * Reads what writeMessage() wrote.
 * @returns its `read()` throws where this is no message, one is too long, or they are too many
 */
export function channelReader(onMessage: (message: unknown) => void): PacketReader {
	const budget = new Budget(maxBytesAtOnce, maxBytesPerSecond)
	return new PacketReader({
		headerBytes,
		bytesBehind: header => {
			const bytes = header.readUInt32LE()
			if (bytes === 0 || bytes > maxMessageBytes) {
				throw new Error(`a message of ${bytes} bytes, where 1 to ${maxMessageBytes} are taken`)
			}
			if (!budget.take(bytes + overheadBytes)) throw new Error('too many messages came')
			return bytes
		},
		onPacket: (_, data) => {
			onMessage(parse(data))
		}
	})
}

/** @throws Error that repeats nothing of it */
function parse(data: Buffer): unknown {
	try {
		return JSON.parse(utf8.decode(data))
	} catch {
		throw new Error('a message is not JSON')
	}
}
