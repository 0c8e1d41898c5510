// A worker that sends a frame larger than any picture.
process.on('message', message => {
	if (message.type === 'start') process.send({type: 'frame', sequence: 0, timeMs: 0, keyFrame: true, data: Buffer.alloc(70 * 1024 * 1024), caps: {}})
	else process.exit(0)
})
process.send({type: 'ready'})
