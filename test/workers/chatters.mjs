// A worker that writes to standard error without end and without a line break, and sends a frame now and then.
import {writeFrame} from './gdp.mjs'

process.on('message', message => {
	if (message.type === 'stop') process.exit(0)
	setInterval(() => { writeFrame('picture') }, 20)
	const text = 'x'.repeat(60_000)
	const write = () => process.stderr.write(text, write)
	write()
})
process.send({type: 'ready'})
