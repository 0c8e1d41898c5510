// A worker that dies of a signal after its first frame, as with a segmentation fault in a decoder.
import {onMessage, send} from './channel.mjs'
import {writeFrame} from './gdp.mjs'

onMessage(message => {
	if (message.type === 'start')
		writeFrame('picture', {}, () => {
			process.kill(process.pid, 'SIGSEGV')
		})
})
send({type: 'ready'})
