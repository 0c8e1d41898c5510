// A worker that sends frames as fast as the channel takes them.
process.on('SIGTERM', () => undefined)
process.on('message', message => {
	if (message.type !== 'start') return
	const data = Buffer.alloc(100_000)
	let sequence = 0
	const send = () => process.send({type: 'frame', sequence: sequence++, timeMs: 0, keyFrame: true, data, caps: {}}, error => { if (!error) send() })
	for (let index = 0; index < 10; index++) send()
})
process.send({type: 'ready'})
