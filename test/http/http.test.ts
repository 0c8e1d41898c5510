import http from 'node:http'
import net from 'node:net'
import {once} from 'node:events'
import {mkdtemp, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import path from 'node:path'
import test from 'ava'
import {startSluice} from '../support/processes.js'
import {view} from '../support/viewer.js'

/** A request whose path is sent as it is, not tidied up as fetch() does. */
async function get(
	port: number,
	target: string,
	options: http.RequestOptions = {}
): Promise<{status: number | undefined; headers: http.IncomingHttpHeaders; body: string}> {
	const request = http.request({host: '127.0.0.1', port, path: target, ...options}).end()
	const [response] = (await once(request, 'response')) as [http.IncomingMessage]
	const chunks = (await response.toArray()) as Buffer[]
	return {
		status: response.statusCode,
		headers: response.headers,
		body: Buffer.concat(chunks).toString()
	}
}

test('GET / answers exactly as the server that it replaces', async t => {
	const {port} = await startSluice(t)
	const {status, headers, body} = await get(port, '/')
	t.is(status, 200)
	t.is(body, '{"status":"ok","message":"Video Streaming Server is running."}')
	t.regex(headers['content-type'] ?? '', /^application\/json/)
	t.is((await get(port, '/', {method: 'HEAD'})).status, 200)
})

test('a plain GET of the WebSocket answers 426', async t => {
	const {port} = await startSluice(t)
	const {status, headers, body} = await get(port, '/ws/stream?rtsp_url=rtsp%3A%2F%2Fcamera%2F')
	t.is(status, 426)
	t.is(headers.upgrade, 'websocket')
	t.like(JSON.parse(body), {code: 'upgrade_required'})
})

test('the page and its files come with a strict policy; nothing outside player/ is served', async t => {
	const {port} = await startSluice(t)
	const page = await get(port, '/index.html')
	t.is(page.status, 200)
	t.regex(page.headers['content-type'] ?? '', /^text\/html/)
	const policy = String(page.headers['content-security-policy'])
	t.regex(policy, /default-src 'none'; script-src 'self'/)
	t.notRegex(policy, /unsafe/)
	t.is(page.headers['x-content-type-options'], 'nosniff')
	const scripts = [...page.body.matchAll(/(?:src|href)="([^"#]+)"/g)]
		.map(match => match[1] ?? '')
		.filter(target => !target.startsWith('data:'))
	t.true(scripts.length > 0)
	for (const script of scripts)
		t.is((await get(port, `/${script.replace(/^\.?\//, '')}`)).status, 200, script)
	for (const target of [
		'/../package.json',
		'/%2e%2e/package.json',
		'/..%2fpackage.json',
		'/player/../../package.json',
		'//etc/passwd',
		'/.git/config',
		'/package.json',
		'/nothing',
		'/%00',
		'/%ff',
		'/index.html/x',
		'/ws/stream/x'
	]) {
		const {status, body} = await get(port, target)
		t.is(status, 404, target)
		t.like(JSON.parse(body), {code: 'not_found'}, target)
	}
	const post = await get(port, '/', {method: 'POST'})
	t.is(post.status, 405)
	t.like(JSON.parse(post.body), {code: 'method_not_allowed'})
	t.is((await get(port, '/index.html', {method: 'PUT'})).status, 404)
})

test('GET /pipelines describes every template; a broken one does not hide the others', async t => {
	const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
	await writeFile(
		path.join(directory, 'good.gst'),
		'# @title Good\n# @description For tests\n# @needs nothing\n# @tested here\n# @param {integer 1..3} speed=2 How fast\n# @param {a|b} way=b Which way\nrtspsrc name=src ! appsink name=sink\n'
	)
	await writeFile(path.join(directory, 'broken.gst'), '# @param nonsense\nx\n')
	await writeFile(
		path.join(directory, 'missing.gst'),
		'rtspsrc name=src ! nosuch1 ! nosuch2 ! appsink name=sink\n'
	)
	await writeFile(path.join(directory, 'unlinked.gst'), 'rtspsrc name=src ! fakesink\n')
	const {port} = await startSluice(t, ['--pipelines', directory])
	const {status, body} = await get(port, '/pipelines')
	t.is(status, 200)
	const none = {
		description: '',
		needs: '',
		tested: '',
		output: '',
		rank: 0,
		camera: true,
		adaptive: []
	}
	t.deepEqual(JSON.parse(body), {
		pipelines: [
			{
				...none,
				name: 'broken',
				title: 'broken',
				parameters: [],
				available: false,
				error: 'broken.gst:1:3: expected "@param {integer 1..100} name=default What it does"'
			},
			{
				name: 'good',
				title: 'Good',
				description: 'For tests',
				needs: 'nothing',
				tested: 'here',
				output: 'image/jpeg',
				rank: 0,
				camera: true,
				adaptive: [],
				available: true,
				parameters: [
					{name: 'speed', type: 'integer', minimum: 1, maximum: 3, default: 2, text: 'How fast'},
					{name: 'way', type: 'choice', choices: ['a', 'b'], default: 'b', text: 'Which way'}
				]
			},
			{
				...none,
				name: 'missing',
				title: 'missing',
				output: 'image/jpeg',
				parameters: [],
				available: false,
				unavailable: 'no element "nosuch1", no element "nosuch2"'
			},
			{
				...none,
				name: 'unlinked',
				title: 'unlinked',
				output: 'image/jpeg',
				parameters: [],
				available: false,
				error: 'unlinked.gst:1:1: no appsink is named "sink"'
			}
		]
	})
})

for (const [query, code, status, detail] of [
	['', 'bad_request', 400, /rtsp_url is missing/],
	['rtsp_url=', 'bad_request', 400, /rtsp_url is missing/],
	['rtsp_url=http%3A%2F%2Fx%2F', 'bad_request', 400, /must begin with rtsp/],
	['rtsp_url=rtsp%3A%2F%2Fa%2F&rtsp_url=rtsp%3A%2F%2Fb%2F', 'bad_request', 400, /given 2 times/],
	[
		'rtsp_url=rtsp%3A%2F%2Fa%2F&quality=101',
		'bad_request',
		400,
		/quality must be a whole number from 1 to 100, not "101"/
	],
	[
		'rtsp_url=rtsp%3A%2F%2Fa%2F&colour=red',
		'bad_request',
		400,
		/"colour" is no parameter of the template jpeg/
	],
	[
		'rtsp_url=rtsp://a/?channel=1&subtype=0',
		'bad_request',
		400,
		/"subtype" is no parameter of the template jpeg; if it is a part of rtsp_url, encode that: its & is %26/
	],
	[
		'rtsp_url=rtsp%3A%2F%2Fa%2F&pipeline=..%2Fpackage',
		'bad_request',
		400,
		/pipeline must be the name of a template/
	],
	['rtsp_url=rtsp%3A%2F%2Fa%2F&pipeline=nothing', 'not_found', 404, /no template is named nothing/],
	['rtsp_url=%ff%fe', 'bad_request', 400, /must begin with rtsp/],
	['rtsp_url=%', 'bad_request', 400, /must begin with rtsp/],
	['__proto__=1&rtsp_url=rtsp%3A%2F%2Fa%2F', 'bad_request', 400, /"__proto__" is no parameter/]
] as [string, string, number, RegExp][]) {
	test(`/ws/stream?${query}`, async t => {
		const {port} = await startSluice(t)
		const end = await view(t, `ws://127.0.0.1:${port}/ws/stream?${query}`).closed
		t.is(end.code, 4000 + status)
		t.is(end.reason, code)
		t.is(end.error?.['code'], code)
		t.regex(end.error?.['detail'] ?? '', detail)
		t.false(end.error?.['error']?.includes('无法打开RTSP流'))
	})
}

test('a broken handshake, and an upgrade elsewhere, get an answer and leave the server well', async t => {
	const {port} = await startSluice(t)
	const upgrade = {Upgrade: 'websocket', Connection: 'Upgrade'}
	t.is((await get(port, '/ws/stream?rtsp_url=rtsp%3A%2F%2Fa%2F', {headers: upgrade})).status, 400)
	t.is(
		(
			await get(port, '/ws/stream?rtsp_url=rtsp%3A%2F%2Fa%2F', {
				headers: {...upgrade, 'Sec-WebSocket-Key': 'short', 'Sec-WebSocket-Version': '13'}
			})
		).status,
		400
	)
	t.is((await get(port, '/', {headers: upgrade})).status, 200)
	t.is((await get(port, '/nothing', {headers: upgrade})).status, 404)
	t.is((await get(port, '/', {headers: {Upgrade: 'h2c', Connection: 'Upgrade'}})).status, 200)
	const garbage = net.connect(port, '127.0.0.1')
	garbage.end('\u0000\u0001\u0002 nonsense\r\n\r\n')
	const [answer] = (await once(garbage, 'data')) as [Buffer]
	t.regex(answer.toString(), /^HTTP\/1\.1 400 /)
	t.is((await get(port, '/')).status, 200)
})

// Node tells late that an answer has left: a client that asks again at once does as these do.
for (const [what, request] of [
	[
		'a snapshot',
		'GET /snapshot.jpg?pipeline=nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
	],
	[
		'an offer',
		'POST /whep?pipeline=nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\nx'
	]
] as const)
	test(`a request for ${what} that comes before the answer ahead of it has left is answered as any other`, async t => {
		const {port} = await startSluice(t)
		const client = net.connect(port, '127.0.0.1')
		t.teardown(() => {
			client.destroy()
		})
		client.write(`GET / HTTP/1.1\r\nHost: x\r\n\r\n${request}`)
		const text = Buffer.concat((await client.toArray()) as Buffer[]).toString()
		const statuses = [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)
		t.deepEqual(statuses, ['200', what === 'an offer' ? '415' : '404'], text.slice(-300))
	})
