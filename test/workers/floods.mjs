// A worker that sends frames as fast as the pipe takes them.
import {writeFrame} from './gdp.mjs'

process.on('SIGTERM', () => undefined)
process.on('message', message => {
	if (message.type !== 'start') return
	const data = Buffer.alloc(100_000)
	const send = () => { writeFrame(data, {}, error => { if (!error) send() }) }
	for (let index = 0; index < 10; index++) send()
})
process.send({type: 'ready'})
