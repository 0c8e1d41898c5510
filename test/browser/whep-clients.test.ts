import {once} from 'node:events'
import {readFile} from 'node:fs/promises'
import http from 'node:http'
import type {AddressInfo} from 'node:net'
import test, {type ExecutionContext} from 'ava'
import type {Browser} from 'playwright-core'
import {cameraFlags, launchBrowser, newPage, type Opened} from '../support/browser.js'
import {type Camera, type Sluice, startCamera, startSluice} from '../support/processes.js'
import {until} from '../support/viewer.js'

/** What a client has of its own beside the video that it shows. */
interface Client {
	connection: RTCPeerConnection
	stop: () => Promise<void>
}

declare global {
	interface Window {
		/** Of the pages of these tests. */
		foreign: {client: Client | undefined; pictures: number; sessions: string[]}
	}
}

let browser: Browser
test.before(async () => {
	browser = await launchBrowser()
})
test.after.always(async () => browser.close())

const page =
	'<!doctype html><title>A page</title><link rel="icon" href="data:,"><video autoplay muted playsinline></video>'

/** A page of another origin than the server's, so that CORS counts; it has the packages under their names. */
async function openPage(t: ExecutionContext): Promise<Opened> {
	const server = http
		.createServer((request, response) => {
			const {pathname} = new URL(request.url ?? '/', 'http://x')
			if (pathname === '/') response.writeHead(200, {'Content-Type': 'text/html'}).end(page)
			else {
				readFile(`node_modules${pathname}`).then(
					file => response.writeHead(200, {'Content-Type': 'text/javascript'}).end(file),
					() => response.writeHead(404).end()
				)
			}
		})
		.listen(0, '127.0.0.1')
	await once(server, 'listening')
	t.teardown(() => {
		server.close()
		server.closeAllConnections()
	})
	const opened = await newPage(t, browser)
	await opened.page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
	await opened.page.evaluate(() => {
		window.foreign = {client: undefined, pictures: 0, sessions: []}
		const video = document.querySelector('video')
		const onPicture = () => {
			window.foreign.pictures++
			video?.requestVideoFrameCallback(onPicture)
		}
		video?.requestVideoFrameCallback(onPicture)
	})
	return opened
}

const whepUrl = ({http: origin}: Sluice, camera: Camera) =>
	`${origin}/whep?${new URLSearchParams({rtsp_url: camera.url('/h264')}).toString()}`

/** Resolves when the page has presented so many pictures more. */
async function plays({page: shown}: Opened, count = 20): Promise<void> {
	const before = await shown.evaluate(() => window.foreign.pictures)
	await shown.waitForFunction(least => window.foreign.pictures >= least, before + count)
}

type Change = readonly [pattern: string, by: string]

interface Offered {
	policy: RTCBundlePolicy
	/** In the order of the offer's sections. */
	sections: readonly ('audio' | 'video' | 'data')[]
	direction?: RTCRtpTransceiverDirection
	/** What to change in the offer's text, if anything: before the browser takes it for its own, or only as it is sent. */
	change?: readonly Change[]
	send?: readonly Change[]
}

/** A player of one's own, as simple as they come. Runs in the page. */
async function watch({
	url,
	policy,
	sections,
	direction = 'recvonly',
	change,
	send
}: Offered & {url: string}): Promise<string> {
	const connection = new RTCPeerConnection({bundlePolicy: policy})
	connection.ontrack = ({track}) => {
		const video = document.querySelector('video')
		if (video && track.kind === 'video') video.srcObject ??= new MediaStream([track])
	}
	for (const section of sections) {
		if (section === 'data') connection.createDataChannel('events')
		else connection.addTransceiver(section, {direction})
		// Sections keep the order in which descriptions had them; else data channels are the last ones.
		await connection.setLocalDescription()
	}
	const changed = (sdp: string, changes: readonly Change[] = []) =>
		changes.reduce((text, [pattern, by]) => text.replaceAll(new RegExp(pattern, 'gm'), by), sdp)
	const offer = await connection.createOffer()
	await connection.setLocalDescription({type: 'offer', sdp: changed(offer.sdp ?? '', change)})
	const body = changed(connection.localDescription?.sdp ?? '', send)
	const response = await fetch(url, {
		method: 'POST',
		headers: {'Content-Type': 'application/sdp'},
		body
	})
	const answer = await response.text()
	if (response.status !== 201) throw new Error(answer)
	await connection.setRemoteDescription({type: 'answer', sdp: answer})
	window.foreign.client = {
		connection,
		stop: async () => {
			connection.close()
			await fetch(response.headers.get('Location') ?? '', {method: 'DELETE'})
		}
	}
	return answer
}

const policies = ['max-bundle', 'balanced', 'max-compat'] as const
const orders = [
	['audio', 'video'],
	['video', 'audio'],
	['audio', 'video', 'data'],
	['video', 'audio', 'data'],
	['data', 'audio', 'video']
] as const
/** GStreamer's max-bundle: sections after the first have no port and none of the transport's attributes. */
const bundleOnly = [
	['^m=video 9', 'm=video 0'],
	['(?<=^m=video[^]*)^a=(?:ice-|fingerprint|setup|rtcp-mux|candidate).*\\r\\n', ''],
	['(?<=^m=video[^]*)^a=mid:1', 'a=mid:1\r\na=bundle-only']
] as const

const offers: Record<string, [name: string, offer: Offered][]> = {
	...Object.fromEntries(
		policies.map(policy => [
			policy,
			orders.map(sections => [sections.join(', '), {policy, sections}])
		])
	),
	'other offers': [
		[
			'several audio sections around the video',
			{policy: 'max-bundle', sections: ['audio', 'audio', 'video', 'audio']}
		],
		['two videos', {policy: 'max-bundle', sections: ['video', 'video']}],
		['two videos behind audio', {policy: 'max-bundle', sections: ['audio', 'video', 'video']}],
		['a data channel and video alone', {policy: 'max-bundle', sections: ['data', 'video']}],
		['sendrecv', {policy: 'max-bundle', sections: ['audio', 'video'], direction: 'sendrecv'}],
		[
			'no BUNDLE',
			{
				policy: 'max-compat',
				sections: ['audio', 'video', 'data'],
				change: [['^a=group:BUNDLE.*\r\n', '']]
			}
		],
		[
			'a viewer that begins DTLS',
			{
				policy: 'max-bundle',
				sections: ['audio', 'video'],
				send: [['^a=setup:actpass', 'a=setup:active']]
			}
		],
		[
			'a viewer that waits for DTLS to begin',
			{
				policy: 'max-bundle',
				sections: ['audio', 'video'],
				send: [['^a=setup:actpass', 'a=setup:passive']]
			}
		],
		[
			'video that is bundle-only',
			{policy: 'max-bundle', sections: ['audio', 'video'], send: bundleOnly}
		]
	]
}

for (const [name, cases] of Object.entries(offers)) {
	test.serial(`Chromium takes the answer to its offer, and plays: ${name}`, async t => {
		const [camera, sluice] = await Promise.all([
			startCamera(t, cameraFlags),
			startSluice(t, ['--share'])
		])
		await Promise.all(
			cases.map(async ([what, offer]) => {
				const opened = await openPage(t)
				const played = opened.page
					.evaluate(watch, {url: whepUrl(sluice, camera), ...offer})
					.then(async () => plays(opened))
				await t.notThrowsAsync(played, what)
				t.deepEqual(opened.errors, [], what)
			})
		)
	})
}

/** As the README of both packages has it, but for the page's own names. Runs in the page. */
async function asTheReadmeSays({module, url}: {module: string; url: string}): Promise<void> {
	interface WhepClient {
		view: (connection: RTCPeerConnection, url: string) => Promise<void>
		stop: () => Promise<void>
		resourceURL: URL
	}
	const {WHEPClient} = (await import(module)) as {WHEPClient: new () => WhepClient}
	const connection = new RTCPeerConnection({bundlePolicy: 'max-bundle'})
	connection.addTransceiver('audio')
	connection.addTransceiver('video')
	connection.ontrack = event => {
		const video = document.querySelector('video')
		if (video && event.track.kind === 'video') video.srcObject = event.streams[0] ?? null
	}
	const client = new WHEPClient()
	await client.view(connection, url)
	window.foreign.client = {connection, stop: async () => client.stop()}
	window.foreign.sessions.push(client.resourceURL.href)
}

/** What MediaMTX's reader.js does: it asks for ICE servers, offers, and trickles. Runs in the page. */
async function likeMediaMtx({url}: {url: string}): Promise<void> {
	const link = (await fetch(url, {method: 'OPTIONS'})).headers.get('Link')
	const iceServers = link?.split(', ').map(text => {
		const [, server = '', , username, credential] =
			/^<(.+?)>; rel="ice-server"(; username="(.*?)"; credential="(.*?)"; credential-type="password")?/i.exec(
				text
			) ?? []
		return {
			urls: [server],
			...(username !== undefined && credential !== undefined && {username, credential})
		}
	})
	const connection = new RTCPeerConnection({iceServers: iceServers ?? []})
	connection.addTransceiver('video', {direction: 'recvonly'})
	connection.addTransceiver('audio', {direction: 'recvonly'})
	connection.ontrack = event => {
		const video = document.querySelector('video')
		if (video) video.srcObject ??= event.streams[0] ?? null
	}
	const waiting: RTCIceCandidate[] = []
	let session = ''
	const offer = await connection.createOffer()
	const first = (name: string) =>
		new RegExp(`^a=${name}:.*$`, 'm').exec(offer.sdp ?? '')?.[0].trim() ?? ''
	const trickle = async (candidates: RTCIceCandidate[]) => {
		const media = (offer.sdp ?? '').split('\r\n').filter(line => line.startsWith('m='))
		const parts = media.map((line, index) => {
			const own = candidates.filter(({sdpMLineIndex}) => sdpMLineIndex === index)
			return own.length === 0
				? ''
				: [line, `a=mid:${index}`, ...own.map(({candidate}) => `a=${candidate}`), ''].join('\r\n')
		})
		const body = `${first('ice-ufrag')}\r\n${first('ice-pwd')}\r\n${parts.join('')}`
		const {status} = await fetch(session, {
			method: 'PATCH',
			headers: {'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': '*'},
			body
		})
		if (status !== 204) throw new Error(`bad status code ${status}`)
	}
	connection.onicecandidate = ({candidate}) => {
		if (candidate && session === '') waiting.push(candidate)
		else if (candidate) void trickle([candidate])
	}
	await connection.setLocalDescription(offer)
	const response = await fetch(url, {
		method: 'POST',
		headers: {'Content-Type': 'application/sdp'},
		body: offer.sdp ?? ''
	})
	if (response.status !== 201) throw new Error(`bad status code ${response.status}`)
	session = new URL(response.headers.get('Location') ?? '', url).href
	window.foreign.sessions.push(session)
	await connection.setRemoteDescription({type: 'answer', sdp: await response.text()})
	if (waiting.length > 0) await trickle(waiting)
	window.foreign.client = {
		connection,
		stop: async () => {
			connection.close()
			await fetch(session, {method: 'DELETE'})
		}
	}
}

/** What the page has asked of the server, and what it was answered. */
function answers({page: shown}: Opened): string[] {
	const seen: string[] = []
	shown.on('response', response => {
		const {pathname} = new URL(response.url())
		if (pathname.startsWith('/whep'))
			seen.push(`${response.request().method()} ${response.status()}`)
	})
	return seen
}

const iceServer = ['--ice-server', 'turn:127.0.0.1:9?transport=udp;username=u;credential=c']
for (const [name, run, first] of [
	['whip-whep', 'whip-whep', 'POST 201'],
	['@binbat/whip-whep', '@binbat/whip-whep', 'POST 201'],
	["MediaMTX's reader.js, imitated", undefined, 'OPTIONS 200']
] as const) {
	test.serial(
		`${name} plays, trickles, learns of ICE servers and leaves, without an error in the page`,
		async t => {
			const [camera, sluice] = await Promise.all([
				startCamera(t, cameraFlags),
				startSluice(t, iceServer)
			])
			const opened = await openPage(t)
			const {page: shown, errors} = opened
			const seen = answers(opened)
			const url = whepUrl(sluice, camera)
			if (run === undefined) await shown.evaluate(likeMediaMtx, {url})
			else await shown.evaluate(asTheReadmeSays, {module: `/${run}/whep.js`, url})
			await plays(opened)
			await until(() => seen.some(answer => answer.startsWith('PATCH ')), 10_000, 'a PATCH')
			const {servers, decoded, sessions} = await shown.evaluate(async () => {
				const {client, sessions: opened_} = window.foreign
				const stats = [
					...(
						(await client?.connection.getStats()) as unknown as Map<
							string,
							{type: string; framesDecoded?: number}
						>
					).values()
				]
				const inbound = stats.find(
					({type, framesDecoded}) => type === 'inbound-rtp' && framesDecoded !== undefined
				)
				return {
					servers: client?.connection.getConfiguration().iceServers,
					decoded: inbound?.framesDecoded ?? 0,
					sessions: opened_
				}
			})
			t.true(decoded >= 20)
			t.is(servers?.length, 1)
			t.like(servers?.[0], {username: 'u', credential: 'c'})
			t.is(seen[0], first)
			t.deepEqual(
				seen.filter(answer => !/ 20[014]$/.test(answer)),
				[]
			)
			t.deepEqual(errors, [])
			await shown.evaluate(async () => window.foreign.client?.stop())
			await sluice.line(line => line['msg'] === 'viewer gone')
			t.is((await fetch(sessions[0] ?? '')).status, 404)
			// All of them close the connection before they send DELETE, and the session may have ended with that.
			t.deepEqual(
				errors.filter(error => !error.includes('404 (Not Found)')),
				[]
			)
		}
	)
}
