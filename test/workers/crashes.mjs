// A worker that dies of a signal after its first frame, as with a segmentation fault in a decoder.
process.on('message', message => {
	if (message.type === 'start') process.send({type: 'frame', sequence: 0, timeMs: 0, keyFrame: true, data: Buffer.from('picture'), caps: {}}, () => { process.kill(process.pid, 'SIGSEGV') })
})
process.send({type: 'ready'})
