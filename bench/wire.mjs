/**
 * Readers of what a viewer receives: a WebSocket's frames, or the parts of an MJPEG stream over HTTP. They count
 * messages and copy none, unless one is wanted: three hundred viewers in one process could not afford more.
 */

const OPCODES = {continuation: 0, text: 1, close: 8, ping: 9, pong: 10}
const MAX_HEAD_BYTES = 64 * 1024
const END_OF_HEAD = Buffer.from('\r\n\r\n')

/**
 * @typedef {object} Listener
 * @property {() => void} onOpen the server has accepted
 * @property {() => boolean} wants whether the message that begins now shall be kept
 * @property {(bytes: number, image: Buffer | undefined) => void} onMessage a whole message was there
 * @property {(text: string) => void} onText whatever is no picture
 * @property {(data: Buffer) => void} send
 */

/** What HTTP writes before its body, as it comes in pieces. */
class Head {
	#bytes = Buffer.alloc(0)

	/** @returns {{text: string, rest: Buffer} | undefined} undefined while it is not whole */
	feed(chunk) {
		this.#bytes = Buffer.concat([this.#bytes, chunk])
		const end = this.#bytes.indexOf(END_OF_HEAD)
		if (end === -1 && this.#bytes.length > MAX_HEAD_BYTES)
			throw new Error('an answer without an end of its head')
		if (end === -1) return undefined
		const [text, rest] = [
			this.#bytes.toString('latin1', 0, end),
			this.#bytes.subarray(end + END_OF_HEAD.length)
		]
		this.#bytes = Buffer.alloc(0)
		return {text, rest}
	}
}

/** A body of known length, of which the bytes are kept or only counted. */
class Body {
	#left
	#parts

	constructor(length, kept) {
		this.#left = length
		this.#parts = kept ? [] : undefined
	}

	get whole() {
		return this.#left === 0
	}

	get parts() {
		return this.#parts
	}

	/** @returns {number} how many of the chunk's bytes from `at` on were its own */
	take(chunk, at) {
		const count = Math.min(this.#left, chunk.length - at)
		// The chunk's memory is used again for the next one.
		if (count > 0) this.#parts?.push(Buffer.from(chunk.subarray(at, at + count)))
		this.#left -= count
		return count
	}
}

/** A WebSocket from the answer to its handshake on. It answers pings, as every client does. */
export class WebSocketReader {
	#listener
	#head = new Head()
	#open = false
	/** The header of a frame, which may come in pieces. */
	#header = Buffer.alloc(14)
	#headerBytes = 0
	#opcode = 0
	#final = false
	#body
	#messageBytes = 0
	#messageParts
	#messageIsText = false

	/** @param {Listener} listener */
	constructor(listener) {
		this.#listener = listener
	}

	/** The request that opens it. The key's answer is not checked: this is no client for strangers. */
	static request({host, pathname, search}) {
		return `GET ${pathname}${search} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2x1aWNlIGJlbmNobWFyaw==\r\n\r\n`
	}

	/** @param {Buffer} chunk valid during the call only */
	feed(chunk) {
		if (this.#open) this.#feedFrames(chunk)
		else {
			const head = this.#head.feed(chunk)
			if (!head) return
			if (!head.text.startsWith('HTTP/1.1 101 '))
				throw new Error(`the server answered ${head.text.split('\r\n', 1)[0]}`)
			this.#open = true
			this.#listener.onOpen()
			this.#feedFrames(head.rest)
		}
	}

	#feedFrames(chunk) {
		let at = 0
		while (at < chunk.length) {
			if (!this.#body) {
				this.#header[this.#headerBytes++] = chunk[at++]
				this.#beginBody()
			}
			if (!this.#body) continue
			at += this.#body.take(chunk, at)
			if (this.#body.whole) this.#endFrame()
		}
	}

	#beginBody() {
		const short = this.#header[1] & 0x7f
		if (this.#headerBytes < 2 || this.#headerBytes < (short < 126 ? 2 : short === 126 ? 4 : 10))
			return
		const length =
			short < 126
				? short
				: short === 126
					? this.#header.readUInt16BE(2)
					: Number(this.#header.readBigUInt64BE(2))
		this.#headerBytes = 0
		this.#final = (this.#header[0] & 0x80) !== 0
		this.#opcode = this.#header[0] & 0x0f
		const control = this.#opcode >= OPCODES.close
		if (!control && this.#opcode !== OPCODES.continuation) {
			this.#messageIsText = this.#opcode === OPCODES.text
			this.#messageBytes = 0
			this.#messageParts = this.#messageIsText || this.#listener.wants() ? [] : undefined
		}
		this.#body = new Body(length, control || this.#messageParts !== undefined)
		if (!control) this.#messageBytes += length
	}

	#endFrame() {
		const parts = this.#body.parts
		this.#body = undefined
		if (this.#opcode === OPCODES.ping) this.#pong(Buffer.concat(parts))
		else if (this.#opcode === OPCODES.close)
			this.#listener.onText(`closed with ${Buffer.concat(parts).toString('latin1')}`)
		else if (this.#opcode !== OPCODES.pong) {
			if (parts) this.#messageParts.push(...parts)
			if (this.#final) this.#endMessage()
		}
	}

	#endMessage() {
		const image = this.#messageParts && Buffer.concat(this.#messageParts)
		this.#messageParts = undefined
		if (this.#messageIsText) this.#listener.onText(image.toString())
		else this.#listener.onMessage(this.#messageBytes, image)
	}

	/** A client's frames are masked; a mask of zeros leaves them as they are. */
	#pong(payload) {
		this.#listener.send(
			Buffer.concat([
				Buffer.from([0x80 | OPCODES.pong, 0x80 | payload.length, 0, 0, 0, 0]),
				payload
			])
		)
	}
}

/** `multipart/x-mixed-replace` over HTTP, whose parts say their length. */
export class MultipartReader {
	#listener
	#head = new Head()
	#body
	#bytes = 0
	#answered = false

	/** @param {Listener} listener */
	constructor(listener) {
		this.#listener = listener
	}

	/** HTTP/1.0, for an answer to 1.1 may be cut into chunks anywhere. */
	static request({host, pathname, search}) {
		return `GET ${pathname}${search} HTTP/1.0\r\nHost: ${host}\r\n\r\n`
	}

	/** @param {Buffer} chunk valid during the call only */
	feed(chunk) {
		let rest = chunk
		while (rest.length > 0) {
			if (!this.#body) {
				const head = this.#head.feed(rest)
				if (!head) return
				rest = head.rest
				this.#begin(head.text)
				if (!this.#body) continue
			}
			rest = rest.subarray(this.#body.take(rest, 0))
			if (!this.#body.whole) continue
			const parts = this.#body.parts
			this.#body = undefined
			this.#listener.onMessage(this.#bytes, parts && Buffer.concat(parts))
		}
	}

	#begin(text) {
		if (!this.#answered) {
			if (!/^HTTP\/1\.[01] 200 /.test(text))
				throw new Error(`the server answered ${text.split('\r\n', 1)[0]}`)
			this.#answered = true
			this.#listener.onOpen()
			// The answer's own head; a part's may follow in the same bytes, and is told from it by its length.
		}
		const [, length] = /^content-length:\s*(\d+)/im.exec(text) ?? []
		if (length === undefined) return
		this.#bytes = Number(length)
		this.#body = new Body(this.#bytes, this.#listener.wants())
	}
}
