import {once} from 'node:events'
import {readFile} from 'node:fs/promises'
import http, {type IncomingMessage, type ServerResponse} from 'node:http'
import type {AddressInfo} from 'node:net'
import test, {type ExecutionContext} from 'ava'
import type {Browser} from 'playwright-core'
import {launchBrowser, newPage} from '../support/browser.js'
import {until} from '../support/viewer.js'

let browser: Browser
test.before(async () => {
	browser = await launchBrowser()
})
test.after.always(async () => browser.close())

async function serve(
	t: ExecutionContext,
	answer: (request: IncomingMessage, response: ServerResponse) => void
): Promise<string> {
	const server = http.createServer(answer).listen(0, '127.0.0.1')
	await once(server, 'listening')
	t.teardown(() => {
		server.close()
		server.closeAllConnections()
	})
	return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A page of another owner's, with a cookie and a copy of the player. `changed` is what was asked of it beside GET. */
async function startPage(
	t: ExecutionContext,
	body: () => string
): Promise<{origin: string; changed: string[]}> {
	const changed: string[] = []
	const origin = await serve(t, (request, response) => {
		const {method = '', url = '/', headers} = request
		if (method !== 'GET') {
			changed.push(`${method} ${url} ${headers.cookie ?? ''}`)
			response.end()
		} else if (url === '/')
			response
				.writeHead(200, {'Content-Type': 'text/html', 'Set-Cookie': 'session=secret'})
				.end(body())
		else {
			readFile(`player${new URL(url, 'http://x').pathname}`).then(
				file =>
					response
						.writeHead(200, {'Content-Type': url.endsWith('.js') ? 'text/javascript' : 'text/css'})
						.end(file),
				() => response.writeHead(404).end()
			)
		}
	})
	return {origin, changed}
}

const open = {
	'Access-Control-Allow-Origin': '*',
	'Access-Control-Allow-Headers': '*',
	'Access-Control-Allow-Methods': '*',
	'Access-Control-Expose-Headers': 'Location'
}

test.serial(
	'a server that names a session on another origin does not make the player DELETE there',
	async t => {
		let target = ''
		let asked = 0
		const hostile = await serve(t, ({method}, response) => {
			if (method === 'POST') asked++
			response
				.writeHead(method === 'POST' ? 201 : 200, {
					...open,
					...(method === 'POST' && {'Content-Type': 'application/sdp', Location: target})
				})
				.end('v=0\r\n')
		})
		const {origin, changed} = await startPage(
			t,
			() =>
				`<script type="module" src="sluice-player.js"></script><sluice-player src="${hostile}/" camera="door" mode="webrtc"></sluice-player>`
		)
		target = `${origin}/account`
		const {page} = await newPage(t, browser)
		await page.goto(origin)
		// The second time it has ended what the first answer named.
		await until(() => asked > 1, 60_000, 'the player asks for the stream, and again')
		await page.evaluate(async () => {
			document.querySelector('sluice-player')?.remove()
			await fetch('/last', {method: 'DELETE'})
		})
		t.deepEqual(changed, ['DELETE /last session=secret'])
	}
)

test.serial(
	'a Link header made to keep the page busy is read, and a TURN server without a user name does no harm',
	async t => {
		const link = `<turn:a.example>; rel="ice-server", <STUN:b.example>; rel="ice-server", <turn:c.example>; rel="ice-server"; username="u"; credential="c"${', <stun:'.repeat(20_000)}`
		const hostile = await serve(t, ({method}, response) => {
			response
				.writeHead(method === 'POST' ? 201 : 200, {
					...open,
					'Access-Control-Expose-Headers': 'Location, Link',
					...(method === 'POST' && {
						'Content-Type': 'application/sdp',
						Location: '/session',
						Link: link
					})
				})
				.end('v=0\r\n')
		})
		const {origin} = await startPage(
			t,
			() =>
				`<script type="module" src="sluice-player.js"></script><sluice-player src="${hostile}/" camera="door" mode="webrtc"></sluice-player>`
		)
		const {page} = await newPage(t, browser)
		await page.addInitScript(() => {
			window.RTCPeerConnection = class extends RTCPeerConnection {
				override setConfiguration(configuration: RTCConfiguration) {
					Object.assign(window, {taken: configuration.iceServers})
					super.setConfiguration(configuration)
				}
			}
		})
		await page.goto(origin)
		const taken = await page.waitForFunction(
			() => (window as unknown as {taken?: RTCIceServer[]}).taken
		)
		t.deepEqual(await taken.jsonValue(), [
			{urls: 'STUN:b.example'},
			{urls: 'turn:c.example', username: 'u', credential: 'c'}
		])
	}
)
