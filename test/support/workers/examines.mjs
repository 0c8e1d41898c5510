// Answers what it is asked to examine, and crashes at an element named crash. It takes a while to end.
import {onMessage, send} from './channel.mjs'

onMessage(message => {
	if (message.type === 'stop') setTimeout(() => process.exit(0), 200)
	if (message.type !== 'examine') return
	if (message.launch.includes('crash')) process.kill(process.pid, 'SIGSEGV')
	else if (message.launch.includes('nosuch'))
		send({type: 'examined', examined: {error: 'no element "nosuch"'}})
	else send({type: 'examined', examined: {src: true, sink: {maxBuffers: 1, drop: true}}})
})
send({type: 'ready'})
