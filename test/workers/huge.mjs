// A worker that sends a frame larger than any picture.
import {writeFrame} from './gdp.mjs'

process.on('message', message => {
	if (message.type === 'start') writeFrame(Buffer.alloc(70 * 1024 * 1024))
	else process.exit(0)
})
process.send({type: 'ready'})
