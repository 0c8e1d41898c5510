// Answers what it is asked to examine, and crashes at an element named crash. It takes a while to end.
process.on('message', message => {
	if (message.type === 'stop') setTimeout(() => process.exit(0), 200)
	if (message.type !== 'examine') return
	if (message.launch.includes('crash')) process.kill(process.pid, 'SIGSEGV')
	else if (message.launch.includes('nosuch')) process.send({type: 'examined', error: 'no element "nosuch"'})
	else process.send({type: 'examined', src: true, sink: {maxBuffers: 1, drop: true}})
})
process.on('disconnect', () => process.exit(0))
process.send({type: 'ready'})
