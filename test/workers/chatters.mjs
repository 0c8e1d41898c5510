// A worker that writes to standard error without end and without a line break, and sends a frame now and then.
process.on('message', message => {
	if (message.type === 'stop') process.exit(0)
	let sequence = 0
	setInterval(() => { process.send({type: 'frame', sequence: sequence++, timeMs: 0, keyFrame: true, data: Buffer.from('picture'), caps: {}}) }, 20)
	const text = 'x'.repeat(60_000)
	const write = () => process.stderr.write(text, write)
	write()
})
process.send({type: 'ready'})
