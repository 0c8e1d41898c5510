import {once} from 'node:events'
import {readdirSync} from 'node:fs'
import net, {type AddressInfo} from 'node:net'
import test, {type ExecutionContext} from 'ava'
import {startCamera, startSluice} from '../support/processes.js'
import {until, view} from '../support/viewer.js'

const handshake = (target: string) =>
	`GET ${target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n`
const stream = '/ws/stream?pipeline=test'

/** Sends bytes in one packet and takes whatever comes back. */
function connect(
	t: ExecutionContext,
	port: number,
	bytes: string | Buffer,
	allowHalfOpen = false
): net.Socket {
	const socket = net.connect({port, host: '127.0.0.1', allowHalfOpen}).on('error', () => undefined)
	t.teardown(() => {
		socket.destroy()
	})
	socket.write(bytes)
	return socket
}

const closed = async (socket: net.Socket) => {
	if (!socket.closed) await once(socket, 'close', {signal: AbortSignal.timeout(30_000)})
}
const alive = async (http: string) =>
	(await fetch(http, {signal: AbortSignal.timeout(30_000)})).status

/** Resolves when the server has taken all connections that were made before: it takes them in their order. */
async function taken(t: ExecutionContext, port: number): Promise<void> {
	await closed(connect(t, port, 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n').resume())
}

test.serial(
	'a handshake pipelined behind another request ends that connection, not the server',
	async t => {
		const sluice = await startSluice(t)
		for (const first of ['/', '/pipelines', '/index.html', '/nothing']) {
			const socket = connect(
				t,
				sluice.port,
				`GET ${first} HTTP/1.1\r\nHost: x\r\n\r\n${handshake(stream)}`
			).resume()
			await once(socket, 'close')
			t.is(await alive(sluice.http), 200, first)
		}
	}
)

test.serial(
	"broken frames in the handshake's own packet end that viewer, not the server, and leave no worker",
	async t => {
		const sluice = await startSluice(t)
		for (const target of [stream, '/ws/stream', '/ws/stream?rtsp_url=x']) {
			for (const bytes of [
				Buffer.from('xxxx'),
				Buffer.from([0x88, 0x80, 0, 0, 0, 0]),
				Buffer.from([0x81, 0xff]),
				Buffer.alloc(3000, 0x89)
			]) {
				const socket = connect(
					t,
					sluice.port,
					Buffer.concat([Buffer.from(handshake(target)), bytes])
				)
				await once(socket, 'data')
				// The rest of a partial frame is waited for; the client leaves.
				socket.end()
				await closed(socket)
				t.is(await alive(sluice.http), 200)
			}
		}
		await until(
			() =>
				sluice.lines.filter(line => line['msg'] === 'opening').length <=
				sluice.lines.filter(line => line['msg'] === 'viewer gone').length,
			30_000,
			'every viewer is gone'
		)
	}
)

test.serial(
	'clients that take no answer to an upgrade elsewhere leave nothing open, and do not hold up the shutdown',
	async t => {
		const sluice = await startSluice(t)
		await alive(sluice.http)
		const descriptors = () => readdirSync(`/proc/${sluice.pid}/fd`).length
		const before = descriptors()
		const sockets = Array.from({length: 20}, (_, index) =>
			connect(t, sluice.port, handshake(index % 2 === 0 ? '/' : '/nothing'), true).pause()
		)
		await Promise.all(sockets.map(async socket => once(socket, 'connect')))
		await taken(t, sluice.port)
		await until(() => descriptors() <= before + 1, 30_000, 'they are cut off')
		connect(t, sluice.port, handshake('/'), true).pause()
		await taken(t, sluice.port)
		sluice.child.kill('SIGTERM')
		// One that is held up exits with 1.
		t.deepEqual(await sluice.exit, {code: 0, signal: null})
	}
)

test.serial('an address that cannot be read is a bad request', async t => {
	const sluice = await startSluice(t)
	const socket = connect(
		t,
		sluice.port,
		'GET http://[::1/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
	)
	const [answer] = (await once(socket, 'data')) as [Buffer]
	t.regex(answer.toString(), /^HTTP\/1\.1 400 [^]*"code":"bad_request"/)
})

test.serial(
	'an address that cannot be read is a bad request however long it is, and no password of it is logged',
	async t => {
		const sluice = await startSluice(t)
		const socket = connect(
			t,
			sluice.port,
			`GET http://${'a'.repeat(250)}@[::1/ws/stream?rtsp_url=rtsp://user:hunter2@10.0.0.1/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`
		)
		const [answer] = (await once(socket, 'data')) as [Buffer]
		t.regex(answer.toString(), /^HTTP\/1\.1 400 /)
		t.false(JSON.stringify(sluice.lines).includes('hunter2'))
	}
)

test.serial('a flood of pings is told once', async t => {
	const sluice = await startSluice(t)
	const viewer = view(t, sluice.stream({pipeline: 'test'}))
	await viewer.received(1)
	const socket = (viewer.socket as unknown as {_socket: net.Socket})._socket
	socket.write(
		Buffer.concat(Array.from({length: 20_000}, () => Buffer.from([0x89, 0x80, 0, 0, 0, 0])))
	)
	t.is((await viewer.closed).code, 1006)
	await sluice.line(line => line['msg'] === 'viewer gone')
	t.is(sluice.lines.filter(line => line['msg'] === 'viewer sends too much').length, 1)
})

test.serial(
	'a camera that promises an endless answer costs its pipeline, and a bounded amount of memory',
	async t => {
		const flood = Buffer.alloc(1024 * 1024, 'v')
		const camera = net
			.createServer(socket => {
				socket.on('error', () => undefined)
				socket.on('data', data => {
					const sequence = /CSeq: (\d+)/i.exec(data.toString())?.[1] ?? '1'
					if (data.toString().startsWith('OPTIONS')) {
						socket.write(
							`RTSP/1.0 200 OK\r\nCSeq: ${sequence}\r\nPublic: OPTIONS, DESCRIBE, SETUP, PLAY\r\n\r\n`
						)
						return
					}
					socket.write(
						`RTSP/1.0 200 OK\r\nCSeq: ${sequence}\r\nContent-Type: application/sdp\r\nContent-Length: 2147483647\r\n\r\n`
					)
					const pour = () => {
						if (!socket.destroyed) socket.write(flood, pour)
					}
					pour()
				})
			})
			.listen(0, '127.0.0.1')
		await once(camera, 'listening')
		t.teardown(() => camera.close())
		const sluice = await startSluice(t, ['--open-timeout', '30'])
		const {error} = await view(
			t,
			sluice.stream({rtsp_url: `rtsp://127.0.0.1:${(camera.address() as AddressInfo).port}/`})
		).closed
		t.is(error?.['code'], 'pipeline_failed')
		t.is(error?.['detail'], 'worker: more than 1024 MB of memory')
		t.is(await alive(sluice.http), 200)
	}
)

test.serial('a password that is a common word makes no gaps in the words for people', async t => {
	const camera = await startCamera(t, ['--width', '320', '--height', '180'])
	const sluice = await startSluice(t)
	const {error} = await view(t, sluice.stream({rtsp_url: camera.url('/secret', 'demo:camera')}))
		.closed
	t.is(error?.['detail'], 'the camera answered Unauthorized (401)')
})
