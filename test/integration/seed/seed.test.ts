import {once} from 'node:events'
import {readFile} from 'node:fs/promises'
import {createServer} from 'node:http'
import type {AddressInfo} from 'node:net'
import test, {type ExecutionContext} from 'ava'
import {cameraFlags, launchBrowser, newPage} from '../../support/browser.js'
import {
	type Program,
	type Sluice,
	startCamera,
	startProgram,
	startSluice
} from '../../support/processes.js'

const folder = 'test/integration/seed'
const cannotOpen = (rtspUrl: string) => `无法打开RTSP流: ${rtspUrl}`

/** Nobody listens there, and its characters mean something in a query, in JSON or in Python. */
const odd = 'rtsp://127.0.0.1:1/é?a=1&b=%20+"\\#x'

async function startBoth(t: ExecutionContext) {
	return Promise.all([startCamera(t, cameraFlags), startSluice(t)])
}

function client(t: ExecutionContext, sluice: Sluice, rtspUrl: string, pictures: number): Program {
	const words = [`ws://127.0.0.1:${sluice.port}`, rtspUrl, String(pictures)]
	return startProgram(t, '/usr/bin/python3', [`${folder}/client.py`, ...words])
}

test.serial('the Python client gets complete pictures', async t => {
	const [camera, sluice] = await startBoth(t)
	const program = client(t, sluice, camera.url('/h264'), 12)
	await program.line(line => line['picture'] === 12)
	t.deepEqual(await program.exit, {code: 0, signal: null}, program.text.join('\n'))
	t.deepEqual(program.lines[0], {status: 'ok'})
	const pictures = program.lines.slice(1)
	t.is(pictures.length, 12)
	for (const [index, line] of pictures.entries()) t.like(line, {picture: index + 1, complete: true})
})

test.serial('the Python client is told which stream could not be opened', async t => {
	const [camera, sluice] = await startBoth(t)
	for (const rtspUrl of [camera.url('/nothing'), odd]) {
		const program = client(t, sluice, rtspUrl, 1)
		await program.line(line => 'closed' in line)
		t.deepEqual(await program.exit, {code: 1, signal: null}, program.text.join('\n'))
		t.deepEqual(program.lines, [
			{status: 'ok'},
			{error: cannotOpen(rtspUrl)},
			{closed: 4502, raised: 'ConnectionClosedError'}
		])
	}
})

test.serial('the page of another origin shows pictures, and else the error text', async t => {
	const [camera, sluice] = await startBoth(t)
	const html = await readFile(`${folder}/page.html`)
	const server = createServer((_, response) => {
		response.setHeader('content-type', 'text/html').end(html)
	}).listen(0, '127.0.0.1')
	t.teardown(() => {
		server.close()
	})
	await once(server, 'listening')
	const browser = await launchBrowser()
	t.teardown(async () => browser.close())
	const {page, errors} = await newPage(t, browser)
	const {port} = server.address() as AddressInfo
	const address = (rtsp_url: string) => {
		const query = new URLSearchParams({server: `ws://127.0.0.1:${sluice.port}`, rtsp_url})
		return `http://127.0.0.1:${port}/page.html?${query.toString()}`
	}

	await page.goto(address(camera.url('/h264')))
	const shown = async (before: string) =>
		page.waitForFunction(last => {
			const picture = document.querySelector('img')
			if (picture?.complete !== true || picture.src === last) return false
			return picture.naturalWidth === 640 && picture.naturalHeight === 360 && picture.src
		}, before)
	const first = String(await (await shown('')).jsonValue())
	t.true(first.startsWith('blob:'))
	await shown(first)
	t.is(await page.textContent('#message'), '')

	for (const rtspUrl of [camera.url('/nothing'), odd]) {
		await page.goto(address(rtspUrl))
		await page.waitForFunction(() => document.getElementById('closed')?.textContent !== '')
		t.is(await page.textContent('#message'), cannotOpen(rtspUrl))
		t.is(await page.textContent('#closed'), '4502')
	}
	t.deepEqual(errors, [])
})
