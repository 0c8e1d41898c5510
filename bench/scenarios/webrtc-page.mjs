/** A camera over WebRTC in Chromium: when its first picture is there, how late its pictures are, and what lost packets do. */
import {setTimeout as pause} from 'node:timers/promises'
import {compareClocks, defineCameraClock, launchBrowser} from '../browser.mjs'
import {latencyMs} from '../clock.mjs'
import {linkHost, startLink, startNetwork} from '../link.mjs'
import {udpErrors} from '../processes.mjs'
import {chosenOf, withCamera, withServer} from '../serving.mjs'
import {janus, whep} from '../signalling.mjs'
import {sightOf} from '../sight.mjs'
import {nowMs, percentile} from '../statistics.mjs'
import {number, table} from '../table.mjs'
import {startWebrtcViewers} from '../watch.mjs'

const CAMERA = {keyIntervalSeconds: 10}
/**
 * Not every camera makes a key frame when RTCP asks for one. Where it does not, it is the server's affair that a late viewer
 * waits for none; where it does, a server that asks is helped, and Janus does.
 */
const LATE = [
	{kind: 'late', title: 'a late one', contenders: ['sluice', 'janus'], facts: {deaf: true}},
	{
		kind: 'late-asking',
		title: 'a late one, of a camera that makes a key frame when it is asked for one',
		contenders: ['janus'],
		facts: {}
	}
]
const LOSSY = {title: '20 ms, 3 % loss', terms: {roundTripMs: 20, lossPercent: 3}}
/** A server that prepares itself ahead for its first viewer is done by then. */
const IDLE_SECONDS = 2
/** Until then a late viewer shows the past at a higher speed, and Chromium finds out how long it has to buffer. */
const SETTLE_SECONDS = 4
/** Whoever is given no key frame waits for the camera's next one. */
const PICTURE_TIMEOUT_MS = 30_000
const FRESH_MS = 500
const FREEZE_MS = 500
/** A viewer comes at any moment between two key frames. */
const pauseMs = () => Math.random() * CAMERA.keyIntervalSeconds * 1000

export const webrtcPage = {
	id: 'webrtc-page',
	title: 'WebRTC in Chromium',
	about: `The same camera with a key frame every ${CAMERA.keyIntervalSeconds} s, in Debian's Chromium without a GPU: a page with a \`video\` element and the few lines of script that WebRTC takes. The first picture is there when \`requestVideoFrameCallback\` says so; times count from the page's call to play, before its \`RTCPeerConnection\` is made. "Fresh" is the first picture that is at most ${FRESH_MS / 1000} s old, for one that was kept for late viewers may be older. Late viewers come at any moment between two key frames, while another one watches. The delay is from the clock in the picture to that callback; "on the screen" is when Chromium expects the picture there, mostly with the screen's next refresh. Of loss, the program of \`links\` takes 3 % of all packets between server and browser in each direction.`,

	/** @param {import('../serving.mjs').Run} run */
	async measure(run) {
		const {quick} = run.settings
		const counts = {cold: quick ? 2 : 5, late: quick ? 3 : 6}
		const seconds = {plain: quick ? 5 : 12, lossy: quick ? 8 : 30}
		const network = await startNetwork()
		const {impossible} = network
		const contenders = chosenOf(
			run,
			'sluice',
			...(quick || impossible !== undefined ? [] : ['janus'])
		)
		const first = []
		const streams = []
		try {
			await withBrowser(run, network.within, async browser => {
				for (const contender of contenders) {
					// Janus plays its camera from its own start on, so it has no first viewer.
					if (contender.id === 'sluice') {
						run.say(`${contender.title}: first viewers`)
						first.push({
							contender: contender.id,
							title: contender.title,
							kind: 'cold',
							...(await measureCold(run, contender, browser, network, counts.cold))
						})
					}
					for (const {kind, title, facts} of LATE.filter(({contenders}) =>
						contenders.includes(contender.id)
					)) {
						run.say(`${contender.title}: ${title}`)
						first.push({
							contender: contender.id,
							title: contender.title,
							kind,
							...(await measureLate(run, contender, browser, network, facts, counts.late))
						})
					}
					run.say(`${contender.title}: delay`)
					streams.push({
						contender: contender.id,
						title: contender.title,
						link: 'none',
						lossPercent: 0,
						...(await measureDelay(run, contender, browser, network, seconds.plain))
					})
				}
			})
		} finally {
			await network.stop()
		}
		if (impossible === undefined) {
			for (const contender of contenders) {
				run.say(`${contender.title}: ${LOSSY.title}`)
				streams.push({
					contender: contender.id,
					title: contender.title,
					link: LOSSY.title,
					lossPercent: LOSSY.terms.lossPercent,
					...(await measureLossy(run, contender, seconds.lossy))
				})
			}
		}
		return {seconds, impossible, first, streams}
	},

	tables({impossible, first, streams}) {
		const kinds = Object.fromEntries(
			[{kind: 'cold', title: 'the first of a cold server'}, ...LATE].map(({kind, title}) => [
				kind,
				title
			])
		)
		return [
			...(impossible === undefined
				? []
				: [
						`Without loss, and without Janus, which takes no loopback address: no network could be made here (it takes root and /dev/net/tun): ${impossible}`
					]),
			table(
				[
					'',
					'viewer',
					'viewers',
					'first picture, median, ms',
					'most, ms',
					'fresh picture, median, ms',
					'most, ms'
				],
				first.map(({title, kind, firstMs, freshMs}) => [
					title,
					kinds[kind],
					String(firstMs.length),
					...[firstMs, freshMs].flatMap(values => [
						number(percentile(values, 0.5)),
						number(percentile(values, 1))
					])
				])
			),
			table(
				[
					'',
					'link',
					'delay, median, ms',
					'p95, ms',
					'most, ms',
					'±, ms',
					'on the screen, median, ms',
					'pictures a second',
					'frames not presented',
					'longest gap, ms',
					`gaps over ${FREEZE_MS / 1000} s`,
					'unreadable',
					'packets dropped by the kernel'
				],
				streams.map(
					({title, link, sight, screenMs, longestGapMs, freezes, uncertainMs, kernelDropped}) => [
						title,
						link,
						number(sight.latencyMs.p50, 1),
						number(sight.latencyMs.p95, 1),
						number(sight.latencyMs.max, 1),
						number(uncertainMs, 1),
						number(screenMs, 1),
						number(sight.fps, 1),
						number(sight.lost),
						number(longestGapMs),
						number(freezes),
						number(sight.unreadable),
						number(kernelDropped)
					]
				)
			)
		]
	},

	targets({first, streams}) {
		const firstMs = wanted =>
			percentile(
				first.find(({contender, kind}) => contender === 'sluice' && kind === wanted)?.firstMs ?? [],
				0.5
			)
		const stream = wanted =>
			streams.find(
				({contender, lossPercent}) => contender === 'sluice' && lossPercent > 0 === wanted
			)
		return [
			{
				title: 'WebRTC in Chromium, key frames every 10 s: first picture of a cold server, median',
				unit: 'ms',
				atMost: 600,
				value: firstMs('cold'),
				digits: 0
			},
			{
				title: 'WebRTC in Chromium, key frames every 10 s: first picture of a late viewer, median',
				unit: 'ms',
				atMost: 600,
				value: firstMs('late'),
				digits: 0
			},
			{
				title: "WebRTC in Chromium: from the camera's clock to the presented picture, median",
				unit: 'ms',
				atMost: 60,
				value: stream(false)?.sight.latencyMs.p50,
				digits: 1
			},
			{
				title: `WebRTC in Chromium, ${LOSSY.title}: longest gap between pictures`,
				unit: 'ms',
				atMost: FREEZE_MS,
				value: stream(true)?.longestGapMs,
				digits: 0
			}
		]
	}
}

async function withBrowser({directory}, within, act) {
	const browser = await launchBrowser({directory, within})
	try {
		return await act(browser)
	} finally {
		await browser.close()
	}
}

const serverOptions = (host, within, camera) => ({
	flags: ['--share', '--webrtc-port', '0'],
	host,
	within,
	camera
})

/** Each first viewer has a server of its own, which was never watched before, and a camera that stands still. */
async function measureCold(run, contender, browser, {host, within}, count) {
	return withCamera({...CAMERA, within}, async camera => {
		const seen = []
		for (let index = 0; index < count; index++) {
			await camera.idle()
			seen.push(
				await withServer(contender, run, serverOptions(host, within, camera), async server => {
					await pause(IDLE_SECONDS * 1000)
					return firstPictures(browser, server.webrtc(camera.url))
				})
			)
		}
		return timesOf(seen)
	})
}

const timesOf = seen => ({
	firstMs: seen.map(({firstMs}) => firstMs),
	freshMs: seen.map(({freshMs}) => freshMs)
})

/** Late viewers, one after the other, beside one that watches all the time. */
async function measureLate(run, contender, browser, {host, within}, facts, count) {
	return withCamera({...CAMERA, ...facts, within}, camera =>
		withServer(contender, run, serverOptions(host, within, camera), async server => {
			const target = server.webrtc(camera.url)
			const steady = await startWebrtcViewers(target, {host, within, camera})
			const seen = []
			for (let index = 0; index < count; index++) {
				await pause(pauseMs())
				seen.push(await firstPictures(browser, target))
			}
			await steady.result()
			return timesOf(seen)
		})
	)
}

async function measureDelay(run, contender, browser, {host, within}, seconds) {
	return withCamera({...CAMERA, within}, camera =>
		withServer(contender, run, serverOptions(host, within, camera), server =>
			watch(browser, server.webrtc(camera.url), camera, seconds, [within ?? process.pid])
		)
	)
}

async function measureLossy(run, contender, seconds) {
	const link = await startLink(LOSSY.terms)
	try {
		return await withCamera({...CAMERA, within: link.server}, camera =>
			withServer(contender, run, serverOptions(linkHost, link.server, camera), server =>
				withBrowser(run, link.viewer, browser =>
					watch(browser, server.webrtc(camera.url), camera, seconds, [link.server, link.viewer])
				)
			)
		)
	} finally {
		await link.stop()
	}
}

/** A page that plays a camera; `startMs` by its own clock. */
async function open(browser, target) {
	const tab = await browser.newPage({viewport: {width: 1400, height: 900}})
	await tab.addInitScript(defineCameraClock)
	await tab.addInitScript(definePlayer)
	await tab.addInitScript({content: `window.signallings = {whep: ${whep}, janus: ${janus}}`})
	await tab.goto(target.page)
	const {offsetMs, uncertainMs} = await compareClocks(tab)
	await tab.evaluate(wanted => window.play(wanted), target)
	await tab.waitForFunction(() => window.shown.length > 0, undefined, {timeout: PICTURE_TIMEOUT_MS})
	return {tab, offsetMs, uncertainMs}
}

/** How long a viewer waits for its first picture, and for one that is fresh. */
async function firstPictures(browser, target) {
	const {tab, offsetMs} = await open(browser, target)
	const deadline = nowMs() + PICTURE_TIMEOUT_MS
	try {
		for (;;) {
			const {startMs, shown} = await tab.evaluate(() => ({
				startMs: window.startMs,
				shown: window.shown
			}))
			const fresh = shown.find(
				({atMs, clockMs}) => clockMs !== null && latencyMs(atMs + offsetMs, clockMs) <= FRESH_MS
			)
			if (fresh) return {firstMs: shown[0].atMs - startMs, freshMs: fresh.atMs - startMs}
			if (nowMs() > deadline)
				throw new Error(
					`${target.url} showed no fresh picture within ${PICTURE_TIMEOUT_MS / 1000} s`
				)
			await pause(100)
		}
	} finally {
		await tab.close()
	}
}

/** A viewer in a stretch of time; `networks` are processes in whose networks packets may be lost. */
async function watch(browser, target, {fps}, seconds, networks) {
	const {tab, offsetMs, uncertainMs} = await open(browser, target)
	await pause(SETTLE_SECONDS * 1000)
	const droppedByKernel = () =>
		networks.map(udpErrors).reduce((sum, {receive, send}) => sum + receive + send, 0)
	const [fromMs, droppedBefore] = [nowMs(), droppedByKernel()]
	await pause(seconds * 1000)
	const kernelDropped = droppedByKernel() - droppedBefore
	const window = {fromMs, toMs: nowMs()}
	// What Chromium itself says of the stream, for whoever looks for the cause of a figure.
	const {shown, inbound} = await tab.evaluate(async () => ({
		shown: window.shown,
		inbound: [...(await window.connection.getStats()).values()].find(
			({type, kind}) => type === 'inbound-rtp' && kind === 'video'
		)
	}))
	await tab.close()
	const frames = shown.map(({atMs}) => ({arrivalMs: atMs + offsetMs, bytes: 0, kept: true}))
	const onScreen = shown.flatMap(({screenMs, clockMs}, index) =>
		clockMs !== null && within(frames[index].arrivalMs, window)
			? latencyMs(screenMs + offsetMs, clockMs)
			: []
	)
	const gaps = gapsOf(
		frames.map(({arrivalMs}) => arrivalMs),
		window
	)
	const {
		packetsReceived,
		packetsLost,
		nackCount,
		pliCount,
		framesDecoded,
		framesDropped,
		freezeCount
	} = inbound
	return {
		screenMs: percentile(onScreen, 0.5),
		sight: sightOf(
			frames,
			shown.map(({clockMs}) => clockMs),
			{...window, fps}
		),
		longestGapMs: Math.max(...gaps),
		freezes: gaps.filter(ms => ms > FREEZE_MS).length,
		uncertainMs,
		kernelDropped,
		inbound: {
			packetsReceived,
			packetsLost,
			nackCount,
			pliCount,
			framesDecoded,
			framesDropped,
			freezeCount
		}
	}
}

/** Times without a picture in a stretch, with what is cut off by its ends: a picture that stands still until then has no next one. */
function gapsOf(times, {fromMs, toMs}) {
	const marks = [fromMs, ...times.filter(ms => within(ms, {fromMs, toMs})), toMs]
	return marks.slice(1).map((ms, index) => ms - marks[index])
}

const within = (ms, {fromMs, toMs}) => ms >= fromMs && ms < toMs

/** Runs in the page, before its own scripts: `play(target)` plays a camera, and every picture that is presented is noted in `shown`. */
function definePlayer() {
	window.shown = []
	window.play = async target => {
		window.startMs = performance.now()
		const video = Object.assign(document.createElement('video'), {
			muted: true,
			autoplay: true,
			playsInline: true
		})
		document.body.replaceChildren(video)
		const context = document.createElement('canvas').getContext('2d', {willReadFrequently: true})
		const onPicture = (_now, {expectedDisplayTime}) => {
			const atMs = performance.now()
			video.requestVideoFrameCallback(onPicture)
			const {canvas} = context
			// The clock is at the top; setting a canvas' size empties it, so that is done once.
			if (canvas.width !== video.videoWidth)
				Object.assign(canvas, {width: video.videoWidth, height: 32})
			context.drawImage(video, 0, 0, canvas.width, canvas.height, 0, 0, canvas.width, canvas.height)
			window.shown.push({
				atMs,
				screenMs: Math.max(atMs, expectedDisplayTime),
				clockMs: window.cameraClock(context)
			})
		}
		video.requestVideoFrameCallback(onPicture)
		const connection = new RTCPeerConnection()
		// Held here, or it might be collected.
		window.connection = connection
		connection.ontrack = ({track}) => {
			video.srcObject = new MediaStream([track])
		}
		await window.signallings[target.signalling](target, {
			async offer() {
				connection.addTransceiver('video', {direction: 'recvonly'})
				await connection.setLocalDescription()
				return connection.localDescription.sdp
			},
			async accept(sdp) {
				await connection.setRemoteDescription({type: 'answer', sdp})
			},
			async answer(sdp) {
				await connection.setRemoteDescription({type: 'offer', sdp})
				await connection.setLocalDescription()
				return connection.localDescription.sdp
			}
		})
	}
}
