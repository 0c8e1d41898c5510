/**
 * A plain viewer, in a process of its own: node bench/viewer.mjs URL FILE KEEP_EVERY
 *
 * While it watches, it only notes when a message was complete and keeps the image; everything else
 * waits until its standard input ends. Then it writes the images it kept into FILE (records of a
 * 32-bit little-endian length and a JPEG) and says, as JSON lines on standard output, what it saw.
 */
import {WebSocket} from 'ws'
import {writeImages} from './images.mjs'
import {nowMs} from './statistics.mjs'

const [url, file, keepEvery] = process.argv.slice(2)
const frames = []
const images = []
const say = facts => process.stdout.write(`${JSON.stringify(facts)}\n`)

const startMs = nowMs()
// An image does not shrink further: offering compression would cost those servers CPU that accept it.
const socket = new WebSocket(url, {perMessageDeflate: false})

socket.on('message', (data, isBinary) => {
	const arrivalMs = nowMs()
	if (!isBinary) {
		say({event: 'text', text: data.toString()})
		return
	}
	const kept = frames.length % Number(keepEvery) === 0
	if (kept) images.push(data)
	frames.push({arrivalMs, bytes: data.length, kept})
	if (frames.length === 1) say({event: 'first', ms: arrivalMs - startMs})
})
socket.on('error', error => {
	say({event: 'error', text: error.message})
})
socket.on('close', code => {
	say({event: 'closed', code})
})

process.stdin.resume().on('end', () => {
	void report()
})

async function report() {
	socket.terminate()
	await writeImages(file, images)
	say({event: 'done', frames})
}
