// A worker of either kind that does what no worker of ours would, when a file says so: {"at": …, "act": …}. `at` is "begin",
// or the type of a message that it is sent. Until then it works, and as a pipeline worker it counts: a frame every 20 ms.
import {readFileSync} from 'node:fs'
import {close, onMessage, packet, send, write} from './channel.mjs'
import {writeCaps, writeFrame} from './gdp.mjs'

const json = text => packet(Buffer.from(text))
const header = bytes => {
	const length = Buffer.alloc(4)
	length.writeUInt32LE(bytes)
	return length
}

/** Writes a header and so many bytes behind it, as fast as they are taken. */
function pour(head, total) {
	const part = Buffer.alloc(1024 * 1024, 'x')
	let left = total
	write(head)
	const next = () => {
		if ((left -= part.length) >= 0)
			write(part, error => {
				if (!error) next()
			})
	}
	next()
}

function flood(message) {
	const many = Buffer.concat(Array(10_000).fill(packet(message)))
	const next = () => {
		write(many, error => {
			if (!error) next()
		})
	}
	next()
}

const acts = {
	'raw bytes': () => {
		write(Buffer.from('hello, world'))
	},
	zeros: () => {
		write(Buffer.alloc(64))
	},
	'2 GB': () => {
		pour(header(2 ** 31 - 1), Infinity)
	},
	'300 MB': () => {
		pour(header(300 * 2 ** 20), 300 * 2 ** 20)
	},
	null: () => {
		send(null)
	},
	number: () => {
		send(42)
	},
	array: () => {
		send([{type: 'ready'}])
	},
	'no message': () => {
		send({hello: 'world'})
	},
	'unknown type': () => {
		send({type: 'constructor'})
	},
	'missing field': () => {
		send({type: 'codec'})
	},
	'wrong field': () => {
		send({type: 'bus', message: null})
	},
	'wrong field of a field': () => {
		send({type: 'bus', message: {kind: 'error', element: ['src']}})
	},
	'further field': () => {
		send({type: 'ready', hello: 'world'})
	},
	prototype: () => {
		write(json('{"type":"ready","__proto__":{"polluted":true}}'))
	},
	'negative count': () => {
		send({type: 'counted', frames: -1, bytes: 0, dropped: 0})
	},
	'invalid UTF-8': () => {
		write(packet(Buffer.from([0x22, 0xff, 0xfe, 0x22])))
	},
	'cut JSON': () => {
		write(json('{"type":"ready"'))
	},
	'deep nesting': () => {
		write(json('['.repeat(32_000) + ']'.repeat(32_000)))
	},
	'deep nesting in a field': () => {
		write(json(`{"type":"codec","codec":${'['.repeat(30_000)}${']'.repeat(30_000)}}`))
	},
	'half a message': () => {
		write(packet({type: 'codec', codec: 'H264'}).subarray(0, 10), () => {
			process.exit(0)
		})
	},
	'no channel': () => {
		close()
		setInterval(() => undefined, 1000)
	},
	'flood of codecs': () => {
		flood({type: 'codec', codec: 'H264'})
	},
	'flood of failures': () => {
		flood({
			type: 'bus',
			message: {
				kind: 'error',
				element: 'src',
				message: 'Could not open resource for reading and writing.',
				debug: 'x\nFailed to connect.'
			}
		})
	},
	'flood of counts': () => {
		flood({type: 'counted', frames: 0, bytes: 0, dropped: 0})
	},
	'flood of ready': () => {
		flood({type: 'ready'})
	},
	'no answer': () => {
		send({type: 'answer', session, sdp: 'v=0\r\nhello\r\n'})
	}
}

let session

/** @returns whether this was the moment to misbehave */
function misbehave(moment) {
	const {at, act} = JSON.parse(readFileSync(process.env.MISBEHAVIOUR_FILE, 'utf8'))
	if (at === moment) acts[act]()
	return at === moment
}

function count() {
	writeCaps('video/x-vp8')
	let beat = 0
	setInterval(() => {
		writeFrame(JSON.stringify({pid: process.pid, beat: beat++}))
	}, 20)
}

process.on('SIGTERM', () => undefined)
onMessage(message => {
	if (message.type === 'stop') process.exit(0)
	session = message.session
	if (misbehave(message.type)) return
	if (message.type === 'start') count()
	if (message.type === 'listen') send({type: 'listening', port: 9})
})
if (!misbehave('begin')) send({type: 'ready'})
