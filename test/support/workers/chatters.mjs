// A worker that writes to standard error without end and without a line break, and sends a frame now and then.
import {onMessage, send} from './channel.mjs'
import {writeFrame} from './gdp.mjs'

onMessage(message => {
	if (message.type === 'stop') process.exit(0)
	setInterval(() => {
		writeFrame('picture')
	}, 20)
	const text = 'x'.repeat(60_000)
	const write = () => process.stderr.write(text, write)
	write()
})
send({type: 'ready'})
