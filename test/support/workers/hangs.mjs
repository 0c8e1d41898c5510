// A worker whose thread never comes back after its first frame: it hears neither messages nor signals.
import {onMessage, send} from './channel.mjs'
import {writeFrame} from './gdp.mjs'

process.on('SIGTERM', () => undefined)
onMessage(message => {
	if (message.type !== 'start') return
	writeFrame('picture', {}, () => {
		for (;;);
	})
})
send({type: 'ready'})
