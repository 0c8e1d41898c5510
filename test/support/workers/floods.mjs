// A worker that sends frames as fast as the pipe takes them.
import {onMessage, send} from './channel.mjs'
import {writeFrame} from './gdp.mjs'

process.on('SIGTERM', () => undefined)
onMessage(message => {
	if (message.type !== 'start') return
	const data = Buffer.alloc(100_000)
	const flood = () => {
		writeFrame(data, {}, error => {
			if (!error) flood()
		})
	}
	for (let index = 0; index < 10; index++) flood()
})
send({type: 'ready'})
