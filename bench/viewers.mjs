/**
 * Many viewers, or one that is slow, in a process of its own: node bench/viewers.mjs OPTIONS, which is JSON:
 *
 * {url, file, count, keepers, keepEvery, bytesPerSecond, stop: {afterMs, forMs}}
 *
 * They parse just as much as they must (wire.mjs), so that the machine's time goes to the server and not to them. The first
 * `keepers` of them and the last one keep every `keepEvery`th image, for their clocks. Everything is written and told when
 * standard input ends, as in viewer.mjs; each keeper's images are in FILE.INDEX.
 */
import net from 'node:net'
import {writeImages} from './images.mjs'
import {nowMs} from './statistics.mjs'
import {MultipartReader, WebSocketReader} from './wire.mjs'

const {
	url: address,
	file,
	count,
	keepers,
	keepEvery,
	bytesPerSecond,
	stop
} = JSON.parse(process.argv[2])
const url = new URL(address)
const say = facts => process.stdout.write(`${JSON.stringify(facts)}\n`)

/** A slow one reads little at a time, so that it is slow all the time. */
const buffer = Buffer.alloc(bytesPerSecond === undefined ? 256 * 1024 : 8 * 1024)

const viewers = []
let ending = false

/** One viewer. All share one buffer, for each chunk is done with before the next one is read. */
function open(index) {
	const keeps = index < keepers || (index > 0 && index === count - 1)
	const viewer = {
		index,
		keeps,
		startMs: nowMs(),
		arrivals: [],
		bytes: 0,
		images: [],
		socket: undefined,
		opened: undefined
	}
	viewers.push(viewer)
	const trouble = text => {
		if (!ending) say({event: 'trouble', viewer: index, text})
	}
	viewer.opened = new Promise(resolve => {
		const Reader = url.protocol === 'ws:' ? WebSocketReader : MultipartReader
		const reader = new Reader({
			onOpen: resolve,
			wants: () => keeps && viewer.arrivals.length % keepEvery === 0,
			onMessage: (bytes, image) => {
				onMessage(viewer, bytes, image)
			},
			onText: trouble,
			send: data => {
				viewer.socket.write(data)
			}
		})
		const pace = bytesPerSecond === undefined ? () => true : pacer(() => viewer.socket)
		viewer.socket = net.connect({
			host: url.hostname,
			port: Number(url.port),
			noDelay: true,
			onread: {
				buffer,
				callback(length, memory) {
					try {
						reader.feed(memory.subarray(0, length))
					} catch (error) {
						trouble(error.message)
						viewer.socket.destroy()
						return false
					}
					return !viewer.stopped && pace(length)
				}
			}
		})
		viewer.socket.write(Reader.request(url))
		viewer.socket.on('error', error => {
			trouble(error.message)
		})
		viewer.socket.on('close', () => {
			trouble('the connection closed')
			resolve()
		})
	})
	return viewer
}

function onMessage(viewer, bytes, image) {
	viewer.arrivals.push(nowMs())
	viewer.bytes += bytes
	if (image) viewer.images.push(image)
	if (viewer.arrivals.length > 1) return
	if (viewers.length === count && viewers.every(({arrivals}) => arrivals.length > 0)) {
		say({event: 'first', ms: viewers.map(({startMs, arrivals}) => arrivals[0] - startMs)})
		if (stop)
			setTimeout(() => {
				stopReading()
			}, stop.afterMs)
	}
}

/** @returns {(bytes: number) => boolean} whether to read on at once; if not, it reads on by itself when the bytes are paid for */
function pacer(socket) {
	let paidUntilMs = 0
	return bytes => {
		const now = nowMs()
		paidUntilMs = Math.max(now, paidUntilMs) + (bytes / bytesPerSecond) * 1000
		// Timers are late by up to a millisecond; the debt is carried on, so the rate holds.
		if (paidUntilMs - now < 2) return true
		setTimeout(
			() => {
				socket().resume()
			},
			paidUntilMs - now - 1
		)
		return false
	}
}

/** What comes in the meantime stays in the kernel's buffers, as with a page that hangs. */
function stopReading() {
	for (const viewer of viewers) {
		viewer.stopped = true
		viewer.socket.pause()
	}
	say({event: 'stopped', atMs: nowMs()})
	setTimeout(() => {
		for (const viewer of viewers) {
			viewer.stopped = false
			viewer.socket.resume()
		}
		say({event: 'reading', atMs: nowMs()})
	}, stop.forMs)
}

async function report() {
	ending = true
	for (const {socket} of viewers) socket.destroy()
	for (const {index, keeps, images} of viewers)
		if (keeps) await writeImages(`${file}.${index}`, images)
	say({
		event: 'done',
		viewers: viewers.map(({arrivals, bytes, keeps}) => ({arrivals, bytes, keeps}))
	})
}

process.stdin.resume().on('end', () => {
	void report()
})

// One after the other, so that no burst of handshakes is part of what is measured.
for (let index = 0; index < count && !ending; index++) await open(index).opened
