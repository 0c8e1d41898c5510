// A worker whose thread never comes back after its first frame: it hears neither messages nor signals.
import {writeFrame} from './gdp.mjs'

process.on('SIGTERM', () => undefined)
process.on('message', message => {
	if (message.type !== 'start') return
	writeFrame('picture', {}, () => {
		for (;;);
	})
})
process.send({type: 'ready'})
