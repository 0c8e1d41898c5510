import {Buffer} from 'node:buffer'

export interface PacketFormat {
	/** Of the header, which tells how much follows. */
	headerBytes: number
	/**
	 * @returns how many bytes follow the header
	 * @throws Error where it is none, or what follows is too large
	 */
	bytesBehind: (header: Buffer) => number
	/** @param header valid until it returns; `data` is the receiver's */
	onPacket: (header: Buffer, data: Buffer) => void
}

/** Puts packets together again from chunks that are cut anywhere. Holds one packet at most. */
export class PacketReader {
	#format: PacketFormat
	#header: Buffer
	#headerFilled = 0
	/** Undefined while a header is read. */
	#data: Buffer | undefined
	#filled = 0

	constructor(format: PacketFormat) {
		this.#format = format
		this.#header = Buffer.alloc(format.headerBytes)
	}

	/** Whether a packet has begun and has not come to its end. */
	get midway(): boolean {
		return this.#headerFilled > 0 || this.#data !== undefined
	}

	/**
	 * @param chunk of which nothing is kept
	 * @throws Error where these are no packets
	 */
	read(chunk: Buffer): void {
		for (let at = 0; at < chunk.byteLength;)
			at += this.#data ? this.#fill(this.#data, chunk, at) : this.#begin(chunk, at)
	}

	/** @returns how many bytes it took */
	#begin(chunk: Buffer, at: number): number {
		const copied = chunk.copy(this.#header, this.#headerFilled, at)
		this.#headerFilled += copied
		if (this.#headerFilled < this.#header.byteLength) return copied
		this.#headerFilled = 0
		this.#filled = 0
		this.#data = Buffer.allocUnsafeSlow(this.#format.bytesBehind(this.#header))
		if (this.#data.byteLength === 0) this.#finish(this.#data)
		return copied
	}

	#fill(data: Buffer, chunk: Buffer, at: number): number {
		const copied = chunk.copy(data, this.#filled, at)
		this.#filled += copied
		if (this.#filled === data.byteLength) this.#finish(data)
		return copied
	}

	#finish(data: Buffer): void {
		this.#data = undefined
		this.#format.onPacket(this.#header, data)
	}
}
