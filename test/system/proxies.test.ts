import {execFile} from 'node:child_process'
import process from 'node:process'
import {promisify} from 'node:util'
import test, {type ExecutionContext} from 'ava'
import type {Page, Response} from 'playwright-core'
import {advances, cameraFlags, inState, newPage} from '../support/browser.js'
import {jpegSize} from '../support/jpeg.js'
import {launchBrowserIn, type Network, ownNetwork} from '../support/network.js'
import type {Program} from '../support/processes.js'
import {until} from '../support/viewer.js'

const run = promisify(execFile)
const camera = 'rtsp://demo:secret@127.0.0.1:8554/secret'
const query = `rtsp_url=${encodeURIComponent(camera)}`

/** A camera with a password and the server, on the ports that the proxies' files name. */
async function startServer({start}: Network): Promise<Program> {
	const source = start('/usr/bin/python3', ['scripts/camera.py', '--port', '8554', ...cameraFlags])
	const server = start(process.execPath, ['dist/cli/main.js', '--port', '8000'], {stream: 'stderr'})
	await Promise.all([
		source.line(line => line['event'] === 'ready'),
		server.line(line => line['msg'] === 'listening')
	])
	return server
}

/** Starts a proxy, which is told to stop before its network ends: its own processes would stay otherwise. */
function startProxy(
	t: ExecutionContext,
	{start}: Network,
	command: string,
	args: string[]
): Program {
	const proxy = start(command, args)
	t.teardown(async () => {
		proxy.child.kill('SIGTERM')
		await proxy.exit
	})
	return proxy
}

/** Reads a stream of pictures in the page until `count` of them have begun; resolves with its status. */
const readParts = async (page: Page, address: string, count: number) =>
	page.evaluate(
		async ([url, wanted]) => {
			const leave = new AbortController()
			const response = await fetch(url, {signal: leave.signal})
			let [text, parts] = ['', 0]
			const reader = response.body?.getReader()
			while (parts < wanted) {
				const {done, value} = (await reader?.read()) ?? {done: true, value: undefined}
				if (done) break
				text += new TextDecoder('latin1').decode(value)
				parts = text.split('X-Sequence').length - 1
			}
			leave.abort()
			return {status: response.status, parts: Math.min(parts, wanted)}
		},
		[address, count] as const
	)

/** Every way of looking at a camera, through the proxy at `base`. */
async function lookThrough(t: ExecutionContext, network: Network, base: string): Promise<Page> {
	const browser = await launchBrowserIn(t, network)
	const {page, errors} = await newPage(t, browser)
	await until(
		async () =>
			page.goto(`${base}/`).then(
				answer => answer?.ok() ?? false,
				() => false
			),
		20_000,
		'the proxy answers'
	)
	errors.length = 0
	t.is(
		await page.textContent('body'),
		'{"status":"ok","message":"Video Streaming Server is running."}'
	)

	const answers: Response[] = []
	page.on('response', answer => {
		if (answer.url().includes('/whep')) answers.push(answer)
	})
	for (const mode of ['webrtc', 'webcodecs', 'mse', 'jpeg'] as const) {
		await page.goto('about:blank')
		await page.goto(`${base}/index.html#${query}&mode=${mode}`)
		await inState(page, 'live')
		await advances(page)
		t.is(await page.evaluate(() => document.querySelector('sluice-player')?.state.mode), mode)
		if (mode === 'webrtc') {
			const [ended] = await Promise.all([
				page.waitForResponse(answer => answer.request().method() === 'DELETE'),
				page.click('#disconnect')
			])
			const created = answers.find(answer => answer.request().method() === 'POST')
			t.is(created?.status(), 201)
			t.is(ended.status(), 200)
			t.is(ended.url(), (await created?.headerValue('location')) ?? '')
			t.true(ended.url().startsWith(`${base}/whep/`), ended.url())
		}
	}
	t.deepEqual(errors, [])

	t.deepEqual(await readParts(page, `${base}/stream.mjpeg?${query}`, 5), {status: 200, parts: 5})
	const fetched = async (path: string) =>
		page.evaluate(async url => {
			const response = await fetch(url)
			return {status: response.status, bytes: [...new Uint8Array(await response.arrayBuffer())]}
		}, `${base}${path}`)
	const picture = await fetched(`/snapshot.jpg?${query}`)
	t.is(picture.status, 200)
	t.deepEqual(jpegSize(Buffer.from(picture.bytes)), {width: 640, height: 360})
	const refused = await fetched(
		`/snapshot.jpg?rtsp_url=${encodeURIComponent(camera.replace('secret@', 'secret2@'))}`
	)
	t.is(refused.status, 502)
	t.like(JSON.parse(Buffer.from(refused.bytes).toString()), {code: 'camera_unauthorized'})
	return page
}

/** A proxy logs most when what it stands for is gone. */
async function stopServer(
	t: ExecutionContext,
	server: Program,
	page: Page,
	base: string,
	status: number
): Promise<void> {
	server.child.kill('SIGTERM')
	await server.exit
	t.is(
		await page.evaluate(async url => (await fetch(url)).status, `${base}/snapshot.jpg?${query}`),
		status
	)
}

test.serial('nginx with the files of examples/nginx', async t => {
	// What is written here is seen by the programs in this network alone.
	const network = await ownNetwork(
		t,
		`
		mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /mnt
		mkdir /mnt/log && cp -r /etc/nginx /mnt/nginx
		mount --bind /mnt/nginx /etc/nginx && mount --bind /mnt/log /var/log/nginx
		cp examples/nginx/sluice.conf /etc/nginx/conf.d/
		cp examples/nginx/sluice-location.conf /etc/nginx/snippets/
		sed -i 's|^\\tserver_name _;|&\\n\\tinclude snippets/sluice-location.conf;|' /etc/nginx/sites-available/default
	`
	)
	if (!network) return
	const {stderr} = await run(...network.inside('nginx', '-t'))
	t.regex(stderr, /syntax is ok\n.*test is successful/)
	t.notRegex(stderr, /warn/)
	const server = await startServer(network)
	startProxy(t, network, 'nginx', ['-g', 'daemon off;'])
	const page = await lookThrough(t, network, 'http://localhost/sluice')
	await stopServer(t, server, page, 'http://localhost/sluice', 502)

	const {stdout: log} = await run(...network.inside('sh', '-c', 'cat /var/log/nginx/*'))
	for (const path of ['/ws/stream', '/whep', '/stream.mjpeg', '/snapshot.jpg'])
		t.true(log.includes(`/sluice${path}`), path)
	t.notRegex(log, /rtsp|secret2?@/)
})

test.serial('HAProxy with examples/haproxy/haproxy.cfg', async t => {
	const network = await ownNetwork(t)
	if (!network) return
	const file = 'examples/haproxy/haproxy.cfg'
	const {stdout, stderr} = await run(...network.inside('haproxy', '-c', '-f', file))
	t.regex(stdout, /valid/)
	t.is(stderr, '')
	const server = await startServer(network)
	const proxy = startProxy(t, network, 'haproxy', ['-db', '-f', file])
	const page = await lookThrough(t, network, 'http://localhost')
	await stopServer(t, server, page, 'http://localhost', 503)

	const isLogged = (path: string) => proxy.text.some(line => line.includes(path))
	for (const path of ['/ws/stream', '/whep', '/stream.mjpeg', '/snapshot.jpg'])
		await until(() => isLogged(path), 20_000, `${path} is in the log`)
	t.notRegex(proxy.text.join('\n'), /rtsp|secret2?@/)
})
