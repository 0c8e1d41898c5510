import {once} from 'node:events'
import http from 'node:http'
import type {AddressInfo} from 'node:net'
import process from 'node:process'
import test, {type ExecutionContext} from 'ava'
import type {Browser, Page} from 'playwright-core'
import {launchBrowser} from '../support/browser.js'
import {startCamera, startSluice} from '../support/processes.js'

declare global {
	interface Window {
		/** Of the page that these tests are about. */
		whep: {
			pictures: number
			width: number
			sessions: string[]
			connection: RTCPeerConnection | undefined
		}
	}
}

let browser: Browser

test.before(async () => {
	browser = await launchBrowser(['--autoplay-policy=no-user-gesture-required'])
})

test.after.always(async () => browser.close())

/** A viewer as any page could have it: audio and video offered, a new session when the connection is lost, and not back within three seconds. Runs in the page. */
async function watch(url: string): Promise<number> {
	const video = document.createElement('video')
	video.muted = true
	video.autoplay = true
	document.body.append(video)
	window.whep = {pictures: 0, width: 0, sessions: [], connection: undefined}
	const onPicture = () => {
		window.whep.pictures++
		window.whep.width = video.videoWidth
		video.requestVideoFrameCallback(onPicture)
	}
	video.requestVideoFrameCallback(onPicture)
	const connect = async (): Promise<number> => {
		const connection = new RTCPeerConnection()
		window.whep.connection = connection
		connection.addTransceiver('audio', {direction: 'recvonly'})
		connection.addTransceiver('video', {direction: 'recvonly'})
		connection.ontrack = ({track}) => {
			if (track.kind === 'video') video.srcObject = new MediaStream([track])
		}
		await connection.setLocalDescription()
		const response = await fetch(url, {
			method: 'POST',
			headers: {'Content-Type': 'application/sdp'},
			body: connection.localDescription?.sdp ?? ''
		})
		const body = await response.text()
		if (response.status !== 201) return response.status
		window.whep.sessions.push(response.headers.get('Location') ?? '')
		await connection.setRemoteDescription({type: 'answer', sdp: body})
		const isLost = () => ['disconnected', 'failed'].includes(connection.connectionState)
		connection.onconnectionstatechange = () => {
			if (!isLost()) return
			setTimeout(() => {
				if (!isLost()) return
				connection.close()
				void connect()
			}, 3000)
		}
		return response.status
	}
	return connect()
}

/** A page of an origin of this host. */
async function newPage(t: ExecutionContext, origin: string): Promise<Page> {
	const context = await browser.newContext()
	t.teardown(async () => context.close())
	context.setDefaultTimeout(60_000)
	const page = await context.newPage()
	await page.goto(`${origin}/`)
	return page
}

const picturesAre = async (page: Page, least: number) =>
	page.waitForFunction(count => window.whep.pictures >= count, least)
const small = ['--width', '640', '--height', '360', '--fps', '25', '--key-interval', '10']

test.serial('Chromium plays a camera, and a late viewer too; no frame is lost', async t => {
	const [camera, sluice] = await Promise.all([startCamera(t, small), startSluice(t, ['--share'])])
	const other = http
		.createServer((_request, response) =>
			response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>A page</title>')
		)
		.listen(0, '127.0.0.1')
	await once(other, 'listening')
	t.teardown(() => other.close())
	const url = `${sluice.http}/whep?${new URLSearchParams({rtsp_url: camera.url('/h264')}).toString()}`
	for (const viewer of ['first', 'late']) {
		// Of another origin than the camera's server, so that CORS counts.
		const page = await newPage(t, `http://127.0.0.1:${(other.address() as AddressInfo).port}`)
		t.is(await page.evaluate(watch, url), 201)
		await picturesAre(page, 40)
		// When the first came bench/scenarios/webrtc-page.mjs measures.
		const {width, sessions} = await page.evaluate(() => ({
			width: window.whep.width,
			sessions: window.whep.sessions
		}))
		t.is(width, 640, viewer)
		t.is(sessions.length, 1)
		const lost = await page.evaluate(async () => {
			const reports = [
				...((
					(await window.whep.connection?.getStats()) as unknown as
						Map<string, {type: string; kind?: string; packetsLost?: number}> | undefined
				)?.values() ?? [])
			]
			return reports.find(({type, kind}) => type === 'inbound-rtp' && kind === 'video')?.packetsLost
		})
		t.is(lost, 0)
	}
})

test.serial('Chromium goes on after the WebRTC worker was killed', async t => {
	const [camera, sluice] = await Promise.all([startCamera(t, small), startSluice(t, ['--share'])])
	const page = await newPage(t, sluice.http)
	await page.evaluate(
		watch,
		`${sluice.http}/whep?${new URLSearchParams({rtsp_url: camera.url('/h264')}).toString()}`
	)
	await picturesAre(page, 10)
	const {worker} = await sluice.line(line => line['msg'] === 'WebRTC listens')
	process.kill(Number(worker), 'SIGKILL')
	await sluice.line(line => line['msg'] === 'WebRTC worker failed')
	await page.waitForFunction(() => window.whep.sessions.length === 2)
	await picturesAre(page, (await page.evaluate(() => window.whep.pictures)) + 25)
	t.is((await page.evaluate(() => window.whep.sessions)).length, 2)
})

test.serial('Chromium plays a camera with B-frames, transcoded', async t => {
	const [camera, sluice] = await Promise.all([startCamera(t, small), startSluice(t)])
	const page = await newPage(t, sluice.http)
	t.is(
		await page.evaluate(
			watch,
			`${sluice.http}/whep?${new URLSearchParams({rtsp_url: camera.url('/b-frames')}).toString()}`
		),
		201
	)
	await picturesAre(page, 40)
	t.is(await page.evaluate(() => window.whep.width), 640)
})
