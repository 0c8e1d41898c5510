/**
 * How frames travel from a worker to the server: on a pipe of their own, for Node's IPC channel copies each into a buffer
 * that grows as it is written, and that is garbage at once. A frame is two lengths, what is told about it, and its bytes.
 */
import {Buffer} from 'node:buffer'
import type {FromWorker} from './worker-messages.js'

/** The worker's file descriptor of the pipe. */
export const framePipeFd = 3

type FrameMessage = Extract<FromWorker, {type: 'frame'}>

const lengthsBytes = 8
/** Caps are some hundred bytes. */
const maxFactsBytes = 64 * 1024

/** What goes before a frame's bytes. */
export function frameHead({data, ...facts}: FrameMessage): Uint8Array {
	const text = Buffer.from(JSON.stringify(facts))
	const lengths = Buffer.allocUnsafe(lengthsBytes)
	lengths.writeUInt32LE(text.byteLength, 0)
	lengths.writeUInt32LE(data.byteLength, 4)
	return Buffer.concat([lengths, text])
}

/** Puts frames together again. Holds one at most. */
export class FrameReader {
	#maxBytes: number
	#onFrame: (frame: FrameMessage) => void
	#head: Buffer = Buffer.alloc(0)
	#frame: FrameMessage | undefined
	#filled = 0

	/** @param maxBytes the largest frame that is taken */
	constructor(maxBytes: number, onFrame: (frame: FrameMessage) => void) {
		this.#maxBytes = maxBytes
		this.#onFrame = onFrame
	}

	/** @throws Error where these are no frames, or one is too large */
	read(chunk: Buffer): void {
		let rest = chunk
		while (rest.byteLength > 0) rest = this.#frame ? this.#fill(this.#frame, rest) : this.#begin(rest)
	}

	/** @returns what is left */
	#begin(chunk: Buffer): Buffer {
		const head = this.#head.byteLength === 0 ? chunk : Buffer.concat([this.#head, chunk])
		this.#head = head
		if (head.byteLength < lengthsBytes) return Buffer.alloc(0)
		const end = lengthsBytes + head.readUInt32LE(0)
		const bytes = head.readUInt32LE(4)
		if (end > maxFactsBytes || bytes > this.#maxBytes) throw new Error(`a frame of ${bytes} bytes, where ${this.#maxBytes} are taken`)
		if (head.byteLength < end) return Buffer.alloc(0)
		const facts = JSON.parse(head.toString('utf8', lengthsBytes, end)) as Omit<FrameMessage, 'data'>
		this.#frame = {...facts, data: Buffer.allocUnsafeSlow(bytes)}
		this.#filled = 0
		this.#head = Buffer.alloc(0)
		return this.#fill(this.#frame, head.subarray(end))
	}

	#fill(frame: FrameMessage, chunk: Buffer): Buffer {
		const part = chunk.subarray(0, frame.data.byteLength - this.#filled)
		frame.data.set(part, this.#filled)
		this.#filled += part.byteLength
		if (this.#filled === frame.data.byteLength) {
			this.#frame = undefined
			this.#onFrame(frame)
		}
		return chunk.subarray(part.byteLength)
	}
}
