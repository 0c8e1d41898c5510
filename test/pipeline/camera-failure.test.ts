import {spawn} from 'node:child_process'
import {once} from 'node:events'
import {mkdtemp, writeFile} from 'node:fs/promises'
import http from 'node:http'
import net, {type AddressInfo} from 'node:net'
import {tmpdir} from 'node:os'
import path from 'node:path'
import process from 'node:process'
import readline from 'node:readline'
import test, {type ExecutionContext} from 'ava'
import {startCamera, startSluice} from '../support/processes.js'
import {view} from '../support/viewer.js'

const small = ['--width', '640', '--height', '360']

/** A camera that accepts connections and never answers. */
async function startSilentCamera(t: ExecutionContext): Promise<string> {
	const sockets = new Set<net.Socket>()
	const server = net
		.createServer(socket => {
			sockets.add(socket.on('error', () => undefined))
		})
		.listen(0, '127.0.0.1')
	t.teardown(() => {
		server.close()
		for (const socket of sockets) socket.destroy()
	})
	await once(server, 'listening')
	return `rtsp://127.0.0.1:${(server.address() as AddressInfo).port}/live`
}

/** What a viewer of this camera is told before any picture. The words tell a failure from a wait that ended: how soon it comes, bench/ measures. */
async function failure(
	t: ExecutionContext,
	url: string,
	flags: string[] = [],
	query: Record<string, string> = {}
) {
	// On a machine that is busy with other tests too, an answer may take long.
	const sluice = await startSluice(t, ['--open-timeout', '30', ...flags])
	const end = await view(t, sluice.stream({rtsp_url: url, ...query})).closed
	const {error, code, detail} = end.error ?? {}
	t.is(error, `无法打开RTSP流: ${url}`)
	t.is(code, end.reason)
	return {code, closeCode: end.code, detail}
}

test.serial('connection refused', async t => {
	const facts = await failure(t, 'rtsp://127.0.0.1:1/live')
	t.deepEqual(facts, {
		code: 'camera_unreachable',
		closeCode: 4502,
		detail: '127.0.0.1:1 refused the connection; is the port right?'
	})
})

test.serial('a port that speaks something else', async t => {
	const web = http
		.createServer((_, response) => {
			response.end('hello')
		})
		.listen(0, '127.0.0.1')
	t.teardown(() => {
		web.close()
	})
	await once(web, 'listening')
	const {code, closeCode, detail} = await failure(
		t,
		`rtsp://127.0.0.1:${(web.address() as AddressInfo).port}/live`
	)
	t.is(code, 'camera_unreachable')
	t.is(closeCode, 4502)
	t.is(detail, 'what answers there speaks no RTSP; is the port right?')
})

test.serial('unknown host', async t => {
	const facts = await failure(t, 'rtsp://camera.invalid/live')
	t.is(facts.code, 'camera_unreachable')
	t.is(facts.closeCode, 4502)
	// Without any name server the answer is another than with one.
	t.regex(facts.detail ?? '', /^camera\.invalid (is not a known host name|could not be looked up)/)
})

test.serial('a host that accepts and says nothing', async t => {
	const facts = await failure(t, await startSilentCamera(t))
	t.is(facts.code, 'camera_timeout')
	t.is(facts.closeCode, 4504)
	t.regex(facts.detail ?? '', /^the camera did not answer: .*timeout/i)
})

test.serial('no first picture within --open-timeout', async t => {
	const facts = await failure(t, await startSilentCamera(t), ['--open-timeout', '1.5'])
	t.deepEqual(facts, {code: 'camera_timeout', closeCode: 4504, detail: 'no picture within 1.5 s'})
})

test.serial('401: no credentials', async t => {
	const camera = await startCamera(t, small)
	const facts = await failure(t, camera.url('/secret'))
	t.deepEqual(facts, {
		code: 'camera_unauthorized',
		closeCode: 4502,
		detail: 'the camera answered Unauthorized (401)'
	})
})

test.serial('404', async t => {
	const camera = await startCamera(t, small)
	const facts = await failure(t, camera.url('/nothing'))
	t.deepEqual(facts, {
		code: 'camera_not_found',
		closeCode: 4502,
		detail: 'the camera answered Not Found (404)'
	})
})

for (const [mount, why] of [
	['/sound-only', 'no video'],
	['/unknown-codec', 'a codec that nothing decodes']
] as const) {
	test.serial(`unsupported: ${why}`, async t => {
		const camera = await startCamera(t, small)
		const facts = await failure(t, camera.url(mount))
		t.deepEqual(facts, {
			code: 'camera_unsupported',
			closeCode: 4502,
			detail: 'the camera offers no stream that the template takes: no video, or another codec'
		})
	})
}

test.serial('unsupported: a template for another codec', async t => {
	const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
	await writeFile(
		path.join(directory, 'h264only.gst'),
		'rtspsrc name=src protocols=tcp\n! rtph264depay ! avdec_h264 ! jpegenc ! appsink name=sink max-buffers=1 drop=true sync=false\n'
	)
	const camera = await startCamera(t, small)
	const facts = await failure(t, camera.url('/mjpeg'), ['--pipelines', directory], {
		pipeline: 'h264only'
	})
	t.deepEqual(facts, {
		code: 'camera_unsupported',
		closeCode: 4502,
		detail: 'the camera offers no stream that the template takes: no video, or another codec'
	})
})

for (const [text, detail] of [
	['rtspsrc name=src ! nosuchelement ! appsink name=sink', 'no element "nosuchelement"'],
	['rtspsrc name=src colour=red ! appsink name=sink', 'no property "colour" in element "rtspsrc"'],
	['rtspsrc name=camera ! appsink name=sink', 'no element is named "src"'],
	['rtspsrc name=src ! fakesink name=sink', 'no appsink is named "sink"'],
	['rtspsrc name=src ! ! appsink name=sink', 'syntax error'],
	['', 'empty pipeline not allowed']
] as const) {
	test.serial(`template_invalid: ${detail}`, async t => {
		const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
		await writeFile(path.join(directory, 'broken.gst'), text)
		const facts = await failure(t, 'rtsp://127.0.0.1:1/', ['--pipelines', directory], {
			pipeline: 'broken'
		})
		t.is(facts.code, 'template_invalid')
		t.is(facts.closeCode, 4500)
		t.is(facts.detail, `broken.gst: ${detail}`)
	})
}

test.serial(
	'TLS: a self-signed certificate is refused and named; rtsps to a camera without TLS, too',
	async t => {
		const secure = await startCamera(t, [...small, '--tls', 'test/support/self-signed.pem'])
		const signed = await failure(t, secure.url('/h264').replace('rtsp', 'rtsps'))
		t.is(signed.code, 'camera_unreachable')
		t.regex(signed.detail ?? '', /has a certificate that it signed itself/)
		const plain = await startCamera(t, small)
		const unsigned = await failure(t, plain.url('/h264').replace('rtsp', 'rtsps'))
		t.is(unsigned.code, 'camera_unreachable')
		t.regex(unsigned.detail ?? '', /speaks no TLS there/)
	}
)

test.serial('a camera that ends its stream is lost at once', async t => {
	const camera = await startCamera(t, small)
	const sluice = await startSluice(t, ['--retry-for', '0'])
	const viewer = view(t, sluice.stream({rtsp_url: camera.url('/two-seconds')}))
	await viewer.received(20)
	const {code, error} = await viewer.closed
	t.is(code, 4502)
	t.deepEqual(error, {
		error: 'The camera stopped sending',
		code: 'camera_lost',
		detail: 'the camera ended the stream'
	})
})

test.serial('a camera that dies is lost at once', async t => {
	const camera = await startCamera(t, small)
	// So long a wait for a picture would not end in the time of this test.
	const sluice = await startSluice(t, ['--retry-for', '0', '--frame-timeout', '300'])
	const viewer = view(t, sluice.stream({rtsp_url: camera.url('/h264')}))
	await viewer.received(20)
	camera.child.kill('SIGKILL')
	const {code, error} = await viewer.closed
	t.is(code, 4502)
	t.is(error?.['code'], 'camera_lost')
})

test.serial('a camera that freezes is lost', async t => {
	const camera = await startCamera(t, small)
	const sluice = await startSluice(t, ['--retry-for', '0'])
	const viewer = view(t, sluice.stream({rtsp_url: camera.url('/h264')}))
	await viewer.received(20)
	camera.child.kill('SIGSTOP')
	const {code, error} = await viewer.closed
	t.is(code, 4502)
	t.deepEqual(error, {
		error: 'The camera stopped sending',
		code: 'camera_lost',
		detail: 'no picture for 4 s'
	})
})

test.serial('a host that is absent, in a network of its own', async t => {
	// Nobody answers at 10.99.0.2: the other end of the pair has no address. Needs root, or user namespaces.
	const script =
		'ip link set lo up && ip link add near type veth peer name far && ip addr add 10.99.0.1/24 dev near && ip link set near up && ip link set far up && exec "$0" dist/cli/main.js --host 127.0.0.1 --port 0'
	const root = process.getuid?.() === 0
	const child = spawn(
		'unshare',
		[...(root ? [] : ['--map-root-user']), '--net', 'sh', '-c', script, process.execPath],
		{stdio: ['ignore', 'ignore', 'pipe']}
	)
	t.teardown(() => {
		child.kill('SIGKILL')
	})
	const lines = readline.createInterface({input: child.stderr})
	const [first] = (await once(lines, 'line')) as [string]
	if (!first.startsWith('{')) {
		t.log(`not run: this machine makes no network namespaces (${first})`)
		t.regex(first, /unshare|Operation not permitted|not permitted|No such file/)
		return
	}
	const {port} = JSON.parse(first) as {port: number}
	const client = spawn(
		'nsenter',
		[
			`--target=${child.pid ?? 0}`,
			...(root ? [] : ['--user', '--preserve-credentials']),
			'--net',
			process.execPath,
			'--input-type=module',
			'-e',
			`
		import {WebSocket} from 'ws'
		const socket = new WebSocket('ws://127.0.0.1:${port}/ws/stream?rtsp_url=rtsp%3A%2F%2F10.99.0.2%2Flive')
		socket.on('message', data => console.log(String(data)))
	`
		],
		{stdio: ['ignore', 'pipe', 'inherit']}
	)
	t.teardown(() => {
		client.kill('SIGKILL')
	})
	const [answer] = (await once(readline.createInterface({input: client.stdout}), 'line')) as [
		string
	]
	const body = JSON.parse(answer) as {error: string; code: string; detail: string}
	t.is(body.error, '无法打开RTSP流: rtsp://10.99.0.2/live')
	t.is(body.code, 'camera_unreachable')
	t.is(body.detail, 'no connection can be made: is the machine there, and a route to it?')
})
