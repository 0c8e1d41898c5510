// A worker that sends what no worker of ours would.
process.on('message', message => {
	if (message.type === 'start') process.send({type: 'bus', message: null})
	else process.exit(0)
})
process.send({type: 'ready'})
