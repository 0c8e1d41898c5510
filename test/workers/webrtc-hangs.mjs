// A WebRTC worker that listens, answers no offer, and does not stop when it is asked to.
process.on('message', message => {
	if (message.type === 'listen') process.send({type: 'listening', port: 9})
})
process.on('SIGTERM', () => undefined)
process.send({type: 'ready'})
