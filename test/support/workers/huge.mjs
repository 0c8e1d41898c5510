// A worker that sends a frame larger than any picture.
import {onMessage, send} from './channel.mjs'
import {writeFrame} from './gdp.mjs'

onMessage(message => {
	if (message.type === 'start') writeFrame(Buffer.alloc(70 * 1024 * 1024))
	else process.exit(0)
})
send({type: 'ready'})
