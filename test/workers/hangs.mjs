// A worker whose thread never comes back after its first frame: it hears neither messages nor signals.
process.on('SIGTERM', () => undefined)
process.on('message', message => {
	if (message.type !== 'start') return
	process.send({type: 'frame', sequence: 0, timeMs: 0, keyFrame: true, data: Buffer.from('picture'), caps: {}}, () => {
		for (;;);
	})
})
process.send({type: 'ready'})
