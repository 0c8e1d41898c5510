import {spawn} from 'node:child_process'
import {once} from 'node:events'
import {readdirSync, readFileSync} from 'node:fs'
import {mkdtemp, writeFile} from 'node:fs/promises'
import http from 'node:http'
import net, {type AddressInfo} from 'node:net'
import {tmpdir} from 'node:os'
import path from 'node:path'
import process from 'node:process'
import {setTimeout as delay} from 'node:timers/promises'
import test, {type ExecutionContext} from 'ava'
import {chromium} from 'playwright-core'
import {jpegSize} from '../support/jpeg.js'
import {clockOf} from '../support/picture.js'
import {
	type Camera,
	patient,
	type Sluice,
	startCamera,
	startSluice as start
} from '../support/processes.js'
import {onlySpare, until} from '../support/viewer.js'

/** Small pictures keep the load of the tests small. */
const cameraFlags = ['--width', '640', '--height', '360', '--fps', '25', '--key-interval', '0.5']
/** Noise in a camera's own JPEG images: 25 pictures of some 200 kB a second, which no encoder of ours works for. */
const bulkyFlags = ['--width', '640', '--height', '360', '--fps', '25', '--pattern', 'snow']

/** On a machine that is busy with other tests too, a first picture may take long. */
const startSluice = async (t: ExecutionContext, flags: string[] = []) =>
	start(t, ['--open-timeout', '30', ...flags])

/** How far two looks at the time since 1970 may be apart: it is told in whole milliseconds, and set to the network's. */
const clockMs = 10

/** The machine's monotonic time, which is the camera's clock, in ms. */
const monotonicMs = () => Number(process.hrtime.bigint() / 1_000_000n)

const mjpegPath = (query: Record<string, string>) =>
	`/stream.mjpeg?${new URLSearchParams(query).toString()}`
const snapshotPath = (query: Record<string, string>) =>
	`/snapshot.jpg?${new URLSearchParams(query).toString()}`

interface Part {
	headers: Record<string, string>
	body: Buffer
	/** When it was whole here, in ms since 1970. */
	atMs: number
	sequence: number
	/** Of X-Timestamp, in ms since 1970; the system tells this clock in whole milliseconds. */
	takenMs: number
}

/** A client of multipart/x-mixed-replace that takes nothing which is not exactly right. */
class MjpegClient {
	readonly socket: net.Socket
	/** In ms since 1970. */
	readonly askedMs = Date.now()
	status = ''
	headers: Record<string, string> = {}
	/** The newest ones. */
	parts: Part[] = []
	count = 0
	/** What was wrong; everything behind it is left unread. */
	wrong: string | undefined
	/** Resolves when the connection is closed, with what came behind the last whole part, or in the place of parts. */
	readonly closed: Promise<string>
	#buffer = Buffer.alloc(0)
	#keep: number

	constructor(t: ExecutionContext, port: number, request: string, keep = 1000) {
		this.#keep = keep
		this.socket = net.connect(port, '127.0.0.1')
		t.teardown(() => {
			this.socket.destroy()
		})
		// The close says more.
		this.socket.on('error', () => undefined)
		this.closed = new Promise(resolve =>
			this.socket.once('close', () => {
				resolve(this.#buffer.toString())
			})
		)
		this.socket.on('data', data => {
			this.#buffer = Buffer.concat([this.#buffer, data])
			while (this.wrong === undefined && this.#read());
		})
		this.socket.write(request)
	}

	/** Resolves when so many parts have come in all. */
	async received(count: number, timeoutMs = 40_000): Promise<void> {
		await new Promise<void>((resolve, reject) => {
			const settle = (error?: Error) => {
				clearTimeout(timer)
				this.socket.off('data', check).off('close', check)
				if (error) reject(error)
				else resolve()
			}
			const check = () => {
				const seen = `${this.count} of ${count} parts: ${this.wrong ?? `${this.status} ${this.#buffer.toString('utf8', 0, 500)}`}`
				if (this.count >= count) settle()
				else if (this.wrong !== undefined || this.socket.closed)
					settle(new Error(`ended after ${seen}`))
			}
			const timer = setTimeout(() => {
				settle(new Error(`${timeoutMs} ms, and ${this.count} of ${count} parts`))
			}, timeoutMs)
			this.socket.on('data', check).on('close', check)
			check()
		})
	}

	/** Reads one piece, if it is there whole. */
	#read(): boolean {
		const headEnd = this.#buffer.indexOf('\r\n\r\n')
		if (headEnd < 0) return false
		const lines = this.#buffer.subarray(0, headEnd).toString().split('\r\n')
		if (this.status === '') {
			const [status = '', ...fields] = lines
			this.status = status
			this.headers = fieldsOf(fields)
			this.#buffer = this.#buffer.subarray(headEnd + 4)
			if (!(this.headers['content-type'] ?? '').startsWith('multipart/')) return false
			return true
		}
		if (!(this.headers['content-type'] ?? '').startsWith('multipart/')) return false
		const [delimiter, ...fields] = lines
		const headers = fieldsOf(fields)
		const length = Number(headers['content-length'])
		const end = headEnd + 4 + length
		if (delimiter !== '--sluice-frame')
			this.wrong = `in the place of a delimiter: ${JSON.stringify(delimiter?.slice(0, 100))}`
		else if (!Number.isInteger(length) || length === 0)
			this.wrong = `Content-Length ${headers['content-length']}`
		const close = '\r\n--sluice-frame\r\n'
		// A browser shows a picture when it has seen the delimiter behind it.
		if (this.wrong !== undefined || this.#buffer.length < end + close.length) return false
		if (this.#buffer.toString('latin1', end, end + close.length) !== close)
			this.wrong = 'no delimiter behind a picture'
		this.count++
		this.parts.push({
			headers,
			body: Buffer.from(this.#buffer.subarray(headEnd + 4, end)),
			atMs: Date.now(),
			sequence: Number(headers['x-sequence']),
			takenMs: Number(headers['x-timestamp']) * 1000
		})
		if (this.parts.length > this.#keep) this.parts.shift()
		this.#buffer = this.#buffer.subarray(end + 2)
		return true
	}
}

const fieldsOf = (lines: string[]) =>
	Object.fromEntries(
		lines.map(line => {
			const colon = line.indexOf(': ')
			return [line.slice(0, colon).toLowerCase(), line.slice(colon + 2)]
		})
	)

function watch(
	t: ExecutionContext,
	{port}: Sluice,
	query: Record<string, string>,
	{version = '1.1', fields = [] as string[], keep = 1000} = {}
): MjpegClient {
	return new MjpegClient(
		t,
		port,
		`${[`GET ${mjpegPath(query)} HTTP/${version}`, `Host: 127.0.0.1:${port}`, ...fields].join('\r\n')}\r\n\r\n`,
		keep
	)
}

interface Answer {
	status: number
	headers: http.IncomingHttpHeaders
	body: Buffer
	/** When it was asked for, and of X-Timestamp, in ms since 1970. */
	askedMs: number
	takenMs: number
}

/** One request on a connection of its own. */
async function ask(
	{port}: Sluice,
	target: string,
	options: http.RequestOptions = {}
): Promise<Answer> {
	const askedMs = Date.now()
	const request = http
		.request({host: '127.0.0.1', port, path: target, agent: false, ...options})
		.end()
	const [response] = (await once(request, 'response', {signal: AbortSignal.timeout(60_000)})) as [
		http.IncomingMessage
	]
	const body = Buffer.concat((await response.toArray()) as Buffer[])
	return {
		status: response.statusCode ?? 0,
		headers: response.headers,
		body,
		askedMs,
		takenMs: Number(response.headers['x-timestamp']) * 1000
	}
}

const bodyOf = ({body}: Answer) => JSON.parse(body.toString()) as Record<string, string>

const alive = (pid: number) => {
	try {
		return !(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.startsWith('Z') ?? true)
	} catch {
		return false
	}
}

/** The workers that the server has given pipelines to, and that still run. */
const workersOf = ({lines}: Sluice) =>
	lines
		.filter(line => line['msg'] === 'opening')
		.map(line => Number(line['worker']))
		.filter(pid => alive(pid))

/** Of viewers. A spare worker that was taken and ended before it was ready is told as an error too, which is the pool's affair. */
const errorsOf = ({lines}: Sluice) =>
	lines.filter(({level, msg}) => level === 'error' && msg !== 'spare worker failed')

/** RTSP sessions that were opened, and those that still are. */
const connected = ({lines}: Camera) => lines.filter(({event}) => event === 'connected').length
const watching = (camera: Camera) =>
	connected(camera) - camera.lines.filter(({event}) => event === 'closed').length

/** A camera that takes connections and says nothing. */
async function startSilentCamera(
	t: ExecutionContext
): Promise<{url: string; connection: Promise<unknown>}> {
	const sockets = new Set<net.Socket>()
	const server = net
		.createServer(socket => {
			socket.on('error', () => undefined)
			sockets.add(socket)
		})
		.listen(0, '127.0.0.1')
	await once(server, 'listening')
	t.teardown(() => {
		server.close()
		for (const socket of sockets) socket.destroy()
	})
	return {
		url: `rtsp://127.0.0.1:${(server.address() as AddressInfo).port}/x`,
		connection: once(server, 'connection')
	}
}

function whole(t: ExecutionContext, image: Buffer): void {
	// This looks for FFD8 and FFD9 too.
	t.truthy(jpegSize(image))
}

/** Every part is a whole picture, of the time in which it was asked for, and they follow each other in time. */
function sound(
	t: ExecutionContext,
	{parts, wrong, askedMs}: Pick<MjpegClient, 'parts' | 'wrong' | 'askedMs'>
): void {
	t.is(wrong, undefined)
	for (const [index, {headers, body, sequence, takenMs, atMs}] of parts.entries()) {
		t.is(headers['content-type'], 'image/jpeg')
		whole(t, body)
		t.regex(headers['x-timestamp'] ?? '', /^\d{10}\.\d{6}$/)
		const before = parts[index - 1]
		if (before)
			t.true(
				sequence > before.sequence && takenMs > before.takenMs,
				`${sequence} at ${takenMs} behind ${before.sequence} at ${before.takenMs}`
			)
		t.true(
			takenMs > askedMs - clockMs && takenMs < atMs + clockMs,
			`asked at ${askedMs}, taken at ${takenMs}, here at ${atMs}`
		)
	}
}

test.serial(
	"MJPEG: each part is a whole picture with its time and number, and the camera's clock is the present",
	async t => {
		const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
		const openedMs = monotonicMs()
		const client = watch(t, sluice, {rtsp_url: camera.url('/h264'), quality: '60'})
		await client.received(30)
		t.is(client.status, 'HTTP/1.1 200 OK')
		t.like(client.headers, {
			'content-type': 'multipart/x-mixed-replace;boundary=sluice-frame',
			'cache-control': 'no-store',
			connection: 'close',
			'x-sequence': '0'
		})
		t.is(client.headers['transfer-encoding'], undefined, 'plain parts, for plain clients')
		t.is(client.headers['content-length'], undefined)
		sound(t, client)
		const newest = client.parts.at(-1)
		t.deepEqual(jpegSize(newest?.body ?? Buffer.alloc(0)), {width: 640, height: 360})
		const clock = (await clockOf(newest?.body ?? Buffer.alloc(0))) ?? 0
		const lateMs = monotonicMs() - (Date.now() - (newest?.takenMs ?? 0)) - clock
		t.true(lateMs > 0, `${lateMs} ms from the camera to X-Timestamp`)
		t.true(clock > openedMs, `the picture is ${openedMs - clock} ms older than the request`)
	}
)

test.serial(
	'MJPEG: an HTTP/1.0 client, and one that asks for ranges or changes, get the same',
	async t => {
		const sluice = await startSluice(t)
		const old = watch(t, sluice, {pipeline: 'test'}, {version: '1.0'})
		const odd = watch(
			t,
			sluice,
			{pipeline: 'test'},
			{
				fields: [
					'Range: bytes=0-99',
					'If-Modified-Since: Mon, 01 Jan 2035 00:00:00 GMT',
					'If-None-Match: *',
					'Connection: keep-alive',
					'Accept: text/html'
				]
			}
		)
		for (const client of [old, odd]) {
			await client.received(5)
			t.is(client.status, 'HTTP/1.1 200 OK')
			t.is(client.headers['connection'], 'close')
			sound(t, client)
		}
		const {status, headers, body} = await ask(sluice, snapshotPath({pipeline: 'test'}), {
			headers: {
				range: 'bytes=0-99',
				'if-modified-since': 'Mon, 01 Jan 2035 00:00:00 GMT',
				'if-none-match': '*'
			}
		})
		t.is(status, 200)
		t.is(headers['content-length'], String(body.length))
		whole(t, body)
	}
)

test.serial("MJPEG: GStreamer's own HTTP client decodes it", async t => {
	const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
	const location = sluice.http + mjpegPath({rtsp_url: camera.url('/h264')})
	const child = spawn(
		'gst-launch-1.0',
		[
			'-q',
			'souphttpsrc',
			`location=${location}`,
			'!',
			'multipartdemux',
			'!',
			'image/jpeg',
			'!',
			'jpegdec',
			'!',
			'identity',
			'eos-after=10',
			'!',
			'fakesink',
			'sync=false'
		],
		{stdio: ['ignore', 'pipe', 'pipe']}
	)
	t.teardown(() => child.kill('SIGKILL'))
	const errors = child.stderr.toArray()
	const [code] = (await once(child, 'exit', {signal: AbortSignal.timeout(60_000)})) as [number]
	t.is(code, 0, Buffer.concat((await errors) as Buffer[]).toString())
	await until(() => workersOf(sluice).length === 0, 30_000, 'its pipeline has ended')
})

test.serial(
	'MJPEG: Chromium shows it in an <img> of another origin, and stays in the present',
	async t => {
		const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
		const source = sluice.http + mjpegPath({rtsp_url: camera.url('/h264')})
		const site = http
			.createServer((_request, response) => {
				response
					.setHeader('Content-Type', 'text/html')
					.end(
						`<!doctype html><style>*{margin:0}img{display:block}</style><img src="${source.replaceAll('&', '&amp;')}">`
					)
			})
			.listen(0, '127.0.0.1')
		await once(site, 'listening')
		const browser = await chromium.launch({
			executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
			args: [
				'--no-sandbox',
				'--disable-gpu',
				'--disable-quic',
				'--no-first-run',
				'--disable-background-networking',
				'--disable-component-update',
				'--disable-sync'
			]
		})
		t.teardown(async () => {
			await browser.close()
			site.closeAllConnections()
			site.close()
		})
		const page = await browser.newPage({viewport: {width: 640, height: 360}})
		// The load event of a page with such an image waits for the image's end.
		await page.goto(`http://localhost:${(site.address() as AddressInfo).port}/`, {
			waitUntil: 'commit'
		})
		await page.waitForFunction(
			() => document.querySelector('img')?.naturalWidth === 640,
			undefined,
			{timeout: 60_000}
		)
		const clocks: number[] = []
		let present = 0
		let seenMs = monotonicMs()
		await until(
			async () => {
				const clock = await clockOf(await page.screenshot({type: 'jpeg', quality: 100}))
				// A picture that was painted while it changed has no whole clock.
				if (clock === undefined || clock === clocks.at(-1)) return false
				t.true(clock > (clocks.at(-1) ?? 0), `${clock} behind ${clocks.at(-1) ?? 0}`)
				clocks.push(clock)
				// One that the camera took since the last was seen.
				if (clock > seenMs) {
					present++
					seenMs = monotonicMs()
				}
				return present >= 10
			},
			60_000,
			'ten times a picture of the present'
		)
		// Its image, removed, ends the stream.
		await page.evaluate(() => {
			document.querySelector('img')?.remove()
		})
		await page.goto('about:blank')
		await until(() => workersOf(sluice).length === 0, 30_000, 'the pipeline has ended')
	}
)

test.serial(
	'MJPEG: whoever stops reading misses pictures, sees the newest afterwards, and costs no memory',
	async t => {
		const [camera, sluice] = await Promise.all([
			startCamera(t, bulkyFlags),
			startSluice(t, ['--share'])
		])
		const query = {rtsp_url: camera.url('/mjpeg'), pipeline: 'jpeg.mjpeg'}
		// The quick one tells how far the stream is, which both share.
		const quick = watch(t, sluice, query, {keep: 1})
		const client = watch(t, sluice, query, {keep: 10_000})
		await Promise.all([quick.received(10), client.received(10)])
		const rssMb = () =>
			Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${sluice.pid}/status`, 'utf8'))?.[1]) / 1024
		const before = rssMb()
		const pictureBytes = client.parts.at(-1)?.body.length ?? 0
		client.socket.pause()
		const seen = client.count
		// In this time come some 20 MB.
		await quick.received(quick.count + 160, 60_000)
		const newestSequence = quick.parts.at(-1)?.sequence ?? Infinity
		const grown = rssMb() - before
		const resumedMs = Date.now()
		client.socket.resume()
		await until(
			() => (client.parts.at(-1)?.takenMs ?? 0) > resumedMs,
			30_000,
			'a picture of the present'
		)
		sound(t, client)
		const late = client.parts.slice(seen)
		const missed = late.map(
			({sequence}, index) => sequence - (late[index - 1]?.sequence ?? sequence) - 1
		)
		const buffered = missed.findIndex(count => count > 20)
		t.log(
			`pictures of ${Math.round(pictureBytes / 1000)} kB; ${buffered} of 160 lay in the kernel's buffers, ${missed[buffered]} were missed; ${grown.toFixed(1)} MB more memory`
		)
		t.true(buffered > 0, 'pictures were missed, in one piece')
		const newest = late[buffered]
		t.true(
			(newest?.sequence ?? 0) >= newestSequence,
			`the first one afterwards is number ${newest?.sequence}, and the newest was ${newestSequence}`
		)
		t.true(grown < 60, `${grown} MB`)
	}
)

test.serial(
	'MJPEG: a client that leaves, before the first picture or by a reset amid pictures, leaves no worker and no RTSP session',
	async t => {
		const [camera, silent, flags] = await Promise.all([
			startCamera(t, cameraFlags),
			startSilentCamera(t),
			patient()
		])
		const sluice = await startSluice(t, flags)
		const opening = [
			watch(t, sluice, {rtsp_url: silent.url}),
			watch(t, sluice, {rtsp_url: silent.url})
		]
		await until(() => workersOf(sluice).length === 2, 30_000, 'both are opening')
		opening[0]?.socket.destroy()
		opening[1]?.socket.resetAndDestroy()
		await until(() => workersOf(sluice).length === 0, 30_000, 'no worker is left')

		const waiting = http
			.get({
				port: sluice.port,
				host: '127.0.0.1',
				path: snapshotPath({rtsp_url: silent.url}),
				agent: false
			})
			.on('error', () => undefined)
		await until(() => workersOf(sluice).length === 1, 30_000, 'the snapshot is opening')
		waiting.destroy()
		await until(() => workersOf(sluice).length === 0, 30_000, 'no worker is left')

		for (const end of ['destroy', 'resetAndDestroy', 'end'] as const) {
			const client = watch(t, sluice, {rtsp_url: camera.url('/h264')})
			await client.received(2)
			t.is(watching(camera), 1)
			client.socket[end]()
			await until(() => workersOf(sluice).length === 0, 30_000, 'no worker is left')
			await until(() => watching(camera) === 0, 30_000, 'the RTSP session has ended')
		}
		t.is((await ask(sluice, '/')).status, 200)
		t.deepEqual(errorsOf(sluice), [], 'a viewer that leaves is no error')
	}
)

test.serial(
	'MJPEG: one that leaves at once, or between the headers and the first picture, leaves nothing',
	async t => {
		const sluice = await startSluice(t)
		await onlySpare(sluice, 30_000)
		await ask(sluice, snapshotPath({pipeline: 'test'}))
		await onlySpare(sluice, 30_000)
		const descriptors = () => readdirSync(`/proc/${sluice.pid}/fd`).length
		const before = descriptors()
		for (let round = 0; round < 10; round++) {
			await Promise.all(
				Array.from({length: 10}, async (_, index) => {
					const target =
						index % 3 === 0
							? snapshotPath({pipeline: 'test', fps: '1'})
							: mjpegPath({pipeline: 'test', fps: '1'})
					const socket = net.connect(sluice.port, '127.0.0.1').on('error', () => undefined)
					await once(socket, 'connect')
					// Written and reset, the request is read all the same, and the end may come before or after its template was. The pauses only
					// spread the ends: whatever they hit, nothing may stay.
					socket.write(`GET ${target} HTTP/1.1\r\nHost: x\r\n\r\n`)
					if (index % 2 === 0) await delay(index * 10)
					socket.resetAndDestroy()
				})
			)
		}
		await until(() => workersOf(sluice).length === 0, 30_000, 'no worker has a pipeline')
		await onlySpare(sluice, 30_000)
		await until(() => descriptors() <= before + 2, 30_000, 'its descriptors are as many as before')
		t.deepEqual(errorsOf(sluice), [])
		t.is((await ask(sluice, snapshotPath({pipeline: 'test'}))).status, 200)
	}
)

test.serial('a request behind an MJPEG answer on the same connection starts nothing', async t => {
	const sluice = await startSluice(t)
	const request = `GET ${mjpegPath({pipeline: 'test'})} HTTP/1.1\r\nHost: x\r\n\r\n`
	const client = new MjpegClient(
		t,
		sluice.port,
		request + request + request.replace('stream.mjpeg', 'snapshot.jpg')
	)
	await client.received(10)
	t.is(sluice.lines.filter(({msg}) => msg === 'opening').length, 1)
	client.socket.destroy()
	await until(() => workersOf(sluice).length === 0, 30_000, 'no worker is left')
	const [first, second] = await Promise.all([
		ask(sluice, '/'),
		ask(sluice, snapshotPath({pipeline: 'test'}))
	])
	t.deepEqual([first.status, second.status], [200, 200])
	// One after the other, over a connection that is kept, is fine.
	const agent = new http.Agent({keepAlive: true, maxSockets: 1})
	t.teardown(() => {
		agent.destroy()
	})
	const ports = new Set<unknown>()
	for (let round = 0; round < 3; round++) {
		const one = http.get({
			port: sluice.port,
			host: '127.0.0.1',
			path: snapshotPath({pipeline: 'test'}),
			agent
		})
		const [response] = (await once(one, 'response')) as [http.IncomingMessage]
		ports.add(response.socket.localPort)
		t.is(response.statusCode, 200)
		whole(t, Buffer.concat((await response.toArray()) as Buffer[]))
	}
	t.is(ports.size, 1)
})

test.serial(
	'a client that offers HTTP/2 by Upgrade gets pictures, and its end is seen',
	async t => {
		const silent = await startSilentCamera(t)
		const sluice = await startSluice(t, await patient())
		const fields = [
			'Connection: Upgrade, HTTP2-Settings',
			'Upgrade: h2c',
			'HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA'
		]
		const client = watch(t, sluice, {pipeline: 'test'}, {fields})
		await client.received(5)
		sound(t, client)
		client.socket.end()
		await until(() => workersOf(sluice).length === 0, 30_000, 'no worker is left')
		const waiting = watch(t, sluice, {rtsp_url: silent.url}, {fields})
		await until(() => workersOf(sluice).length === 1, 30_000, 'it is opening')
		waiting.socket.end()
		await until(
			() => workersOf(sluice).length === 0,
			30_000,
			'no worker is left of the one that saw no picture'
		)
		t.is(
			(
				await ask(sluice, snapshotPath({pipeline: 'test'}), {
					headers: {connection: 'Upgrade', upgrade: 'h2c'}
				})
			).status,
			200
		)
	}
)

test.serial('HEAD tells what GET would, and starts nothing that lasts', async t => {
	const [camera, sluice] = await Promise.all([
		startCamera(t, cameraFlags),
		startSluice(t, ['--share', '--linger', '0'])
	])
	const query = {rtsp_url: camera.url('/h264')}
	for (const target of [mjpegPath(query), snapshotPath(query)]) {
		// The second time somebody watches already, and a picture is kept.
		for (const others of [false, true]) {
			const client = others ? watch(t, sluice, query) : undefined
			await client?.received(1)
			const {status, headers, body} = await ask(sluice, target, {method: 'HEAD'})
			t.is(status, 200, target)
			t.is(body.length, 0)
			t.is(headers['cache-control'], 'no-store')
			t.is(
				headers['content-type'],
				target.startsWith('/snapshot')
					? 'image/jpeg'
					: 'multipart/x-mixed-replace;boundary=sluice-frame'
			)
			t.regex(String(headers['x-timestamp']), /^\d{10}\.\d{6}$/)
			if (target.startsWith('/snapshot')) t.true(Number(headers['content-length']) > 1000)
			client?.socket.destroy()
			await until(() => workersOf(sluice).length === 0, 30_000, 'no worker is left')
		}
		const failed = await ask(sluice, target.replace('h264', 'nothing'), {method: 'HEAD'})
		t.is(failed.status, 502)
		t.is(failed.body.length, 0)
	}
})

test('every failure has its status and its JSON, and no log has a password', async t => {
	const [camera, silent, sluice] = await Promise.all([
		startCamera(t, cameraFlags),
		startSilentCamera(t),
		startSluice(t, ['--log-level', 'debug'])
	])
	const closed = net.createServer().listen(0, '127.0.0.1')
	await once(closed, 'listening')
	const {port} = closed.address() as AddressInfo
	closed.close()
	const rows: [Record<string, string>, number, string, RegExp][] = [
		[{}, 400, 'bad_request', /rtsp_url is missing/],
		[{rtsp_url: 'http://camera/'}, 400, 'bad_request', /must begin with rtsp/],
		[
			{rtsp_url: camera.url('/h264'), pipeline: 'nothing'},
			404,
			'not_found',
			/no template is named nothing/
		],
		[{rtsp_url: camera.url('/h264'), pipeline: 'h264'}, 400, 'bad_request', /coded video/],
		[{rtsp_url: camera.url('/h264'), quality: '101'}, 400, 'bad_request', /quality/],
		[{rtsp_url: `rtsp://127.0.0.1:${port}/x`}, 502, 'camera_unreachable', /refused|connect/],
		[{rtsp_url: camera.url('/secret', 'demo:hunter2hunter2')}, 502, 'camera_unauthorized', /401/],
		[{rtsp_url: camera.url('/nothing', 'demo:hunter2hunter2')}, 502, 'camera_not_found', /404/],
		[
			{rtsp_url: silent.url.replace('//', '//demo:hunter2hunter2@')},
			504,
			'camera_timeout',
			/did not answer/
		]
	]
	await Promise.all(
		[mjpegPath, snapshotPath].map(async pathOf => {
			for (const [query, status, code, detail] of rows) {
				const answer = await ask(sluice, pathOf(query))
				const target = pathOf(query)
				t.is(answer.status, status, target)
				t.regex(answer.headers['content-type'] ?? '', /^application\/json/)
				t.is(answer.headers['cache-control'], 'no-store')
				const body = bodyOf(answer)
				t.is(body['code'], code, target)
				t.regex(body['detail'] ?? '', detail)
				t.is(
					body['error']?.startsWith('无法打开RTSP流: ') ? body['error'] : undefined,
					status < 500 ? undefined : `无法打开RTSP流: ${query['rtsp_url'] ?? ''}`,
					target
				)
			}
		})
	)
	for (const target of [mjpegPath({pipeline: 'test'}), snapshotPath({pipeline: 'test'})]) {
		for (const method of ['POST', 'PUT', 'DELETE', 'PROPFIND']) {
			const answer = await ask(sluice, target, {method})
			t.is(answer.status, 405, method)
			t.is(answer.headers.allow, 'GET, HEAD')
			t.is(bodyOf(answer)['code'], 'method_not_allowed')
		}
	}
	const repeated = await ask(sluice, '/snapshot.jpg?pipeline=test&max_age_ms=1&max_age_ms=2')
	t.is(repeated.status, 400)
	for (const [name, value] of [
		['timeout_ms', '0'],
		['timeout_ms', '60001'],
		['timeout_ms', '1.5'],
		['timeout_ms', ''],
		['timeout_ms', '-1'],
		['max_age_ms', 'x'],
		['max_age_ms', '3600001']
	] as const) {
		const answer = await ask(sluice, snapshotPath({pipeline: 'test', [name]: value}))
		t.is(answer.status, 400, `${name}=${value}`)
		t.regex(bodyOf(answer)['detail'] ?? '', new RegExp(`^${name} must be a whole number from`))
	}
	t.regex(
		bodyOf(await ask(sluice, mjpegPath({pipeline: 'test', max_age_ms: '1'})))['detail'] ?? '',
		/max_age_ms/
	)
	const log = JSON.stringify(sluice.lines) + sluice.text.join('\n')
	t.true(log.includes('camera_unauthorized'))
	t.false(log.includes('hunter2'))
})

test.serial(
	'a server without room answers 503 with Retry-After; a broken template is told as over WebSocket',
	async t => {
		const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
		await writeFile(
			path.join(directory, 'test.gst'),
			'# @camera none\nvideotestsrc name=src is-live=true ! video/x-raw,width=320,height=180 ! jpegenc ! appsink name=sink max-buffers=1 drop=true sync=false\n'
		)
		await writeFile(
			path.join(directory, 'png.gst'),
			'# @camera none\n# @output image/png\nvideotestsrc name=src is-live=true ! video/x-raw,width=320,height=180,framerate=5/1 ! pngenc ! appsink name=sink max-buffers=1 drop=true sync=false\n'
		)
		await writeFile(path.join(directory, 'broken.gst'), '# @param nonsense\nx\n')
		const sluice = await startSluice(t, ['--max-pipelines', '1', '--pipelines', directory])
		const client = watch(t, sluice, {pipeline: 'test'})
		await client.received(1)
		for (const target of [
			mjpegPath({pipeline: 'test', rtsp_url: 'rtsp://x/'}),
			snapshotPath({pipeline: 'test', rtsp_url: 'rtsp://x/'})
		]) {
			const answer = await ask(sluice, target)
			t.is(answer.status, 503)
			t.is(answer.headers['retry-after'], '5')
			t.like(bodyOf(answer), {code: 'over_capacity', error: '无法打开RTSP流: rtsp://x/'})
			const broken = await ask(sluice, target.replace('pipeline=test', 'pipeline=broken'))
			t.is(broken.status, 500)
			t.like(bodyOf(broken), {code: 'template_invalid', error: '无法打开RTSP流: rtsp://x/'})
		}
		client.socket.destroy()
		let answer: Answer | undefined
		await until(
			async () => {
				answer = await ask(sluice, snapshotPath({pipeline: 'png'}))
				return answer.status !== 503
			},
			30_000,
			'there is room'
		)
		t.is(answer?.headers['content-type'], 'image/png')
		t.is(answer?.body.toString('latin1', 1, 4), 'PNG')
	}
)

test.serial(
	'a snapshot is fresh; of a stream that runs it comes fast, and max_age_ms takes the picture that was kept',
	async t => {
		const [camera, sluice] = await Promise.all([
			startCamera(t, cameraFlags),
			startSluice(t, ['--share', '--linger', '0'])
		])
		const query = {rtsp_url: camera.url('/h264')}
		const askedMs = monotonicMs()
		const cold = await ask(sluice, snapshotPath(query))
		t.is(cold.status, 200)
		t.is(cold.headers['content-type'], 'image/jpeg')
		t.is(cold.headers['content-length'], String(cold.body.length))
		t.is(cold.headers['cache-control'], 'no-store')
		whole(t, cold.body)
		const clock = (await clockOf(cold.body)) ?? 0
		t.true(clock >= askedMs, `the picture is ${askedMs - clock} ms older than the request`)
		t.true(
			cold.takenMs > cold.askedMs - clockMs && cold.takenMs < Date.now() + clockMs,
			`asked at ${cold.askedMs}, taken at ${cold.takenMs}`
		)
		await until(() => workersOf(sluice).length === 0, 30_000, 'its pipeline has ended')

		const sessions = connected(camera)
		const together = await Promise.all([
			ask(sluice, snapshotPath(query)),
			ask(sluice, snapshotPath(query)),
			ask(sluice, snapshotPath({...query, max_age_ms: '1000'}))
		])
		t.deepEqual(
			together.map(({status}) => status),
			[200, 200, 200]
		)
		t.is(connected(camera), sessions + 1, 'one RTSP session for all')
		await until(() => workersOf(sluice).length === 0, 30_000, 'its pipeline has ended')

		// At two pictures a second, whether one waits for the next can be told.
		const slow = {...query, max_fps: '2'}
		const client = watch(t, sluice, slow)
		await client.received(2)
		const fresh = await ask(sluice, snapshotPath(slow))
		t.true(
			fresh.takenMs > fresh.askedMs - clockMs,
			`asked at ${fresh.askedMs}, taken at ${fresh.takenMs}`
		)
		t.is(connected(camera), sessions + 2, 'of the stream that runs')
		await client.received(client.count + 1)
		const kept = await ask(sluice, snapshotPath({...slow, max_age_ms: '60000'}))
		t.true(
			kept.takenMs < kept.askedMs + clockMs,
			`asked at ${kept.askedMs}, taken at ${kept.takenMs}`
		)
		const next = await ask(sluice, snapshotPath(slow))
		t.true(
			next.takenMs > next.askedMs - clockMs,
			`asked at ${next.askedMs}, taken at ${next.takenMs}`
		)
		await until(
			() => (client.parts.at(-1)?.sequence ?? 0) >= Number(next.headers['x-sequence']),
			30_000,
			'the viewer has them too'
		)
		for (const {headers, body} of [fresh, kept, next])
			t.deepEqual(
				body,
				client.parts.find(({sequence}) => String(sequence) === headers['x-sequence'])?.body
			)
		t.is(connected(camera), sessions + 2)
	}
)

test('a snapshot ends in time: of a silent camera, of one that was lost, and whatever the client asks', async t => {
	const [silent, lost, sluice] = await Promise.all([
		startSilentCamera(t),
		startCamera(t, cameraFlags),
		startSluice(t, ['--share', '--frame-timeout', '1'])
	])
	for (const timeoutMs of [1, 300]) {
		const answer = await ask(
			sluice,
			snapshotPath({rtsp_url: silent.url, timeout_ms: String(timeoutMs)})
		)
		t.is(answer.status, 504)
		t.like(bodyOf(answer), {
			code: 'camera_timeout',
			error: `无法打开RTSP流: ${silent.url}`,
			detail: `no picture within ${timeoutMs / 1000} s`
		})
	}
	const query = {rtsp_url: lost.url('/h264')}
	const client = watch(t, sluice, query)
	await client.received(5)
	lost.child.kill('SIGKILL')
	await sluice.line(({msg}) => msg === 'retrying')
	const answer = await ask(sluice, snapshotPath({...query, timeout_ms: '700', max_age_ms: '60000'}))
	t.is(answer.status, 504)
	// The words tell which of the server's waits it was; how punctual that is, bench/ measures.
	t.like(bodyOf(answer), {code: 'camera_timeout', detail: 'no picture within 0.7 s'})
	t.false(client.socket.closed, 'its viewer waits on')
})

test.serial(
	'MJPEG: a camera that is lost for good ends the response behind a whole part',
	async t => {
		const [camera, sluice] = await Promise.all([
			startCamera(t, cameraFlags),
			startSluice(t, ['--retry-for', '0', '--frame-timeout', '1'])
		])
		const client = watch(t, sluice, {rtsp_url: camera.url('/two-seconds')})
		await client.received(5)
		t.is(await client.closed, '--sluice-frame\r\n')
		sound(t, client)
		await until(() => workersOf(sluice).length === 0, 30_000, 'no worker is left')
	}
)

test.serial('SIGTERM ends viewers, tells those that wait, and the server exits with 0', async t => {
	const [camera, silent, sluice] = await Promise.all([
		startCamera(t, bulkyFlags),
		startSilentCamera(t),
		startSluice(t)
	])
	const playing = watch(t, sluice, {rtsp_url: camera.url('/mjpeg'), pipeline: 'jpeg.mjpeg'})
	const stuck = watch(t, sluice, {rtsp_url: camera.url('/mjpeg'), pipeline: 'jpeg.mjpeg'})
	await Promise.all([playing.received(3), stuck.received(3)])
	stuck.socket.pause()
	const waiting = [
		ask(sluice, mjpegPath({rtsp_url: silent.url})),
		ask(sluice, snapshotPath({rtsp_url: silent.url}))
	]
	await until(() => workersOf(sluice).length === 4, 30_000, 'all are open')
	// The one that reads nothing has its buffers full.
	await playing.received(100)
	sluice.child.kill('SIGTERM')
	for (const answer of await Promise.all(waiting)) {
		t.is(answer.status, 503)
		t.truthy(answer.headers['retry-after'])
		t.like(bodyOf(answer), {code: 'shutting_down', error: `无法打开RTSP流: ${silent.url}`})
	}
	t.deepEqual(await sluice.exit, {code: 0, signal: null})
	t.is(await playing.closed, '--sluice-frame\r\n')
	sound(t, playing)
	t.is(watching(camera), 0)
})
