// A WebRTC worker that listens, answers no offer, and does not stop when it is asked to.
import {onMessage, send} from './channel.mjs'

onMessage(message => {
	if (message.type === 'listen') send({type: 'listening', port: 9})
})
process.on('SIGTERM', () => undefined)
send({type: 'ready'})
