// A worker's channel to the server: a message is its length and JSON. See src/workers/channel.ts.
import {Socket} from 'node:net'

const socket = new Socket({fd: 4})
let rest = Buffer.alloc(0)

/** @param handler is given each message of the server's */
export function onMessage(handler) {
	socket.on('data', chunk => {
		rest = Buffer.concat([rest, chunk])
		while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32LE()) {
			const end = 4 + rest.readUInt32LE()
			const message = JSON.parse(rest.subarray(4, end))
			rest = rest.subarray(end)
			handler(message)
		}
	})
}

/** @param json its bytes, or a value */
export function packet(json) {
	const bytes = Buffer.isBuffer(json) ? json : Buffer.from(JSON.stringify(json))
	const header = Buffer.alloc(4)
	header.writeUInt32LE(bytes.length)
	return Buffer.concat([header, bytes])
}

export function send(message) {
	write(packet(message))
}

/** Writes bytes as they are. */
export function write(bytes, done = () => undefined) {
	socket.write(bytes, done)
}

/** Ends the channel, and not the process. */
export function close() {
	socket.removeAllListeners('close').destroy()
}

socket.on('error', () => undefined)
socket.on('close', () => {
	process.exit(0)
})
