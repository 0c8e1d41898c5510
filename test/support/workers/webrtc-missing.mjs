// A WebRTC worker on a host that node-datachannel has no binary for.
import {onMessage, send} from './channel.mjs'

onMessage(message => {
	if (message.type === 'stop') process.exit(1)
})
send({type: 'unavailable', message: "Cannot find module '@node-datachannel/linux-riscv64'"})
