/**
 * How frames travel between the server and a worker: on a pipe of their own, for Node's IPC channel copies each into a buffer
 * that grows as it is written, and that is garbage at once. A message is two lengths, what is told about a frame, and its bytes.
 */
import {Buffer} from 'node:buffer'
import type {Writable} from 'node:stream'

/** The worker's file descriptor of the pipe. */
export const framePipeFd = 3
/** No camera's picture is so large: beyond it whoever wrote it is broken. */
export const maxFrameBytes = 32 * 1024 * 1024

/** Facts that JSON can hold, and the bytes of a frame, where there is one. */
export interface PipeMessage {
	type: string
	data?: Uint8Array
}

const lengthsBytes = 8
/** Caps are some hundred bytes. */
const maxFactsBytes = 64 * 1024
const none = Buffer.alloc(0)

/** @param done called when the pipe has taken all of it, or, with an error, cannot */
export function writeToPipe(pipe: Writable, {data = none, ...facts}: PipeMessage, done: (error?: Error | null) => void): void {
	const text = Buffer.from(JSON.stringify(facts))
	const head = Buffer.allocUnsafe(lengthsBytes + text.byteLength)
	head.writeUInt32LE(text.byteLength, 0)
	head.writeUInt32LE(data.byteLength, 4)
	text.copy(head, lengthsBytes)
	pipe.cork()
	pipe.write(head)
	pipe.write(data, done)
	pipe.uncork()
}

/** Puts messages together again. Holds one at most. */
export class PipeReader<Message extends PipeMessage> {
	#onMessage: (message: Message & {data: Uint8Array}) => void
	#head: Buffer = none
	#message: (Message & {data: Uint8Array}) | undefined
	#filled = 0

	constructor(onMessage: (message: Message & {data: Uint8Array}) => void) {
		this.#onMessage = onMessage
	}

	/**
	 * @param chunk of which nothing is kept
	 * @throws Error where these are no messages, or a frame is too large
	 */
	read(chunk: Buffer): void {
		let rest = chunk
		while (rest.byteLength > 0) rest = this.#message ? this.#fill(this.#message, rest) : this.#begin(rest)
	}

	/** @returns what is left */
	#begin(chunk: Buffer): Buffer {
		const head = this.#head.byteLength === 0 ? chunk : Buffer.concat([this.#head, chunk])
		if (head.byteLength < lengthsBytes) return this.#keepHead(head)
		const end = lengthsBytes + head.readUInt32LE(0)
		const bytes = head.readUInt32LE(4)
		if (end > maxFactsBytes) throw new Error(`${end} bytes say what a frame is, where ${maxFactsBytes} are taken`)
		if (bytes > maxFrameBytes) throw new Error(`a frame of ${bytes} bytes, where ${maxFrameBytes} are taken`)
		if (head.byteLength < end) return this.#keepHead(head)
		const facts = JSON.parse(head.toString('utf8', lengthsBytes, end)) as Omit<Message, 'data'>
		const message = {...facts, data: Buffer.allocUnsafeSlow(bytes)} as unknown as Message & {data: Uint8Array}
		this.#message = message
		this.#filled = 0
		this.#head = none
		return this.#fill(message, head.subarray(end))
	}

	/** A copy, for the chunk is the caller's, who may read into it again. */
	#keepHead(head: Buffer): Buffer {
		this.#head = Buffer.from(head)
		return none
	}

	#fill(message: Message & {data: Uint8Array}, chunk: Buffer): Buffer {
		const part = chunk.subarray(0, message.data.byteLength - this.#filled)
		message.data.set(part, this.#filled)
		this.#filled += part.byteLength
		if (this.#filled === message.data.byteLength) {
			this.#message = undefined
			this.#onMessage(message)
		}
		return chunk.subarray(part.byteLength)
	}
}
