import {once} from 'node:events'
import net from 'node:net'
import test from 'ava'
import {startCamera} from '../support/processes.js'

test('the camera’s lines stay whole, however many viewers come and go at once', async t => {
	const camera = await startCamera(t)
	const count = 300
	const visit = async () => {
		const socket = net.connect(camera.port, '127.0.0.1')
		// Answered, it has been seen: of more connections than may wait, one that is closed at once never is.
		socket.write('OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n')
		await once(socket, 'data')
		socket.destroy()
	}
	for (let index = 0; index < count / 10; index++)
		await Promise.all(Array.from({length: 10}, visit))
	// A line that two threads wrote into each other does not parse, and ends this file.
	const said = (event: string) => camera.lines.filter(line => line['event'] === event).length
	await camera.line(() => said('connected') === count && said('closed') === count)
	t.deepEqual(camera.text, [])
})
