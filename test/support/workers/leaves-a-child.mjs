// A worker that starts a program which holds all its pipes, tells its process id, and ends.
import {spawn} from 'node:child_process'
import {onMessage, send} from './channel.mjs'

onMessage(message => {
	if (message.type !== 'start') return
	const left = spawn('sleep', ['300'], {detached: true, stdio: ['ignore', 'ignore', 2, 3, 4]})
	left.once('spawn', () => {
		send({type: 'codec', codec: String(left.pid)})
		setTimeout(() => process.exit(1), 0)
	})
})
send({type: 'ready'})
