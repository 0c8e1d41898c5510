// A worker that dies of a signal after its first frame, as with a segmentation fault in a decoder.
import {writeFrame} from './gdp.mjs'

process.on('message', message => {
	if (message.type === 'start') writeFrame('picture', {}, () => { process.kill(process.pid, 'SIGSEGV') })
})
process.send({type: 'ready'})
