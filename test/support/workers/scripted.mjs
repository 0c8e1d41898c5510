// A worker that follows a script: its launch text is {file, attempts: […]} as JSON. The nth worker of a file follows the nth
// attempt, the last one being repeated, and notes in the file what happens to it, a JSON object a line.
import {appendFileSync, existsSync, readFileSync} from 'node:fs'
import {setTimeout as delay} from 'node:timers/promises'
import {onMessage, send} from './channel.mjs'
import {writeCaps, writeFrame} from './gdp.mjs'

const failures = {
	eos: {kind: 'eos', element: ''},
	refused: {
		kind: 'error',
		element: 'src',
		message: 'Could not open resource for reading and writing.',
		debug: 'gstrtspsrc.c\nFailed to connect.'
	},
	unauthorized: {
		kind: 'error',
		element: 'src',
		message: 'Unauthorized',
		debug: 'gstrtspsrc.c\nUnauthorized (401)',
		rtspStatus: 401
	},
	broken: {
		kind: 'error',
		element: 'decoder',
		message: 'no such device',
		debug: 'decoder.c\nno such device'
	}
}

let note = () => undefined
let deaf = false
let codec

/** Between two frames, so that those without end do not flood. */
const everyMs = 5

function* letters(frames) {
	yield* frames.replace('…', '')
	while (frames.endsWith('…')) yield '…'
}

/** The test adds a character to the attempt's file for each gate that it opens. */
async function gate(file, number) {
	while (!existsSync(file) || readFileSync(file).length < number) await delay(everyMs)
}

async function play({file, attempts}) {
	const attempt = existsSync(file)
		? readFileSync(file, 'utf8')
				.split('\n')
				.filter(line => line.includes('"start"')).length
		: 0
	note = (event, facts) => {
		appendFileSync(file, `${JSON.stringify({event, attempt, pid: process.pid, ...facts})}\n`)
	}
	note('start')
	// Frames: a letter each, K for a key frame; | waits until the test lets it go on, see gate(). `deaf`: neither a message nor
	// SIGTERM ends it. `end`: what happens then.
	const script = attempts[Math.min(attempt, attempts.length - 1)]
	deaf = script.deaf ?? false
	const {frames = '', bytes = 0, end} = script
	codec = script.codec
	let index = 0
	let gates = 0
	for (const letter of letters(frames)) {
		if (letter === '|') {
			await gate(`${file}.${attempt}`, ++gates)
			continue
		}
		const data = Buffer.concat([
			Buffer.from(JSON.stringify({attempt, index})),
			Buffer.alloc(bytes, ' ')
		])
		if (index++ === 0) writeCaps('video/x-vp8')
		// A crash that follows finds it written.
		await new Promise(resolve => {
			writeFrame(data, {keyFrame: letter === 'K' || letter === '…'}, resolve)
		})
		await delay(everyMs)
	}
	if (end === 'crash') {
		note('crash')
		process.kill(process.pid, 'SIGSEGV')
	} else if (end) send({type: 'bus', message: failures[end]})
}

process.on('SIGTERM', () => {
	if (!deaf) process.exit(0)
})
onMessage(message => {
	if (message.type === 'start') void play(JSON.parse(message.launch))
	else if (message.type === 'set')
		note('set', {property: `${message.element}.${message.property}`, value: message.value})
	else if (message.type === 'playing' && codec)
		for (const told of [codec].flat()) send({type: 'codec', codec: told})
	else if (message.type === 'stop' && !deaf) process.exit(0)
})
send({type: 'ready'})
