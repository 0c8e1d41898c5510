import {once} from 'node:events'
import net from 'node:net'
import test from 'ava'
import {startCamera, startSluice} from '../support/processes.js'

test('MJPEG: a client that reads nothing is cut off after 20 s', async t => {
	// Noise in a camera's own JPEG images, which soon fills the kernel's buffers.
	const camera = await startCamera(t, [
		'--width',
		'640',
		'--height',
		'360',
		'--fps',
		'25',
		'--pattern',
		'snow'
	])
	const sluice = await startSluice(t, ['--open-timeout', '30'])
	const socket = net.connect(sluice.port, '127.0.0.1').on('error', () => undefined)
	t.teardown(() => {
		socket.destroy()
	})
	const query = new URLSearchParams({
		rtsp_url: camera.url('/mjpeg'),
		pipeline: 'jpeg.mjpeg'
	}).toString()
	socket.write(`GET /stream.mjpeg?${query} HTTP/1.1\r\nHost: x\r\n\r\n`)
	await once(socket, 'data')
	socket.pause()
	const gone = await sluice.line(({msg}) => msg === 'viewer gone', 100_000)
	t.log(
		`after ${String(gone['seconds'])} s, ${String(gone['sent'])} pictures in the kernel's buffers`
	)
	// By the server's own clock, and nothing else tells that it waited: a slow machine only makes it more.
	t.true(Number(gone['seconds']) >= 20)
	await camera.line(({event}) => event === 'closed')
	socket.resume()
	await once(socket, 'close')
})
