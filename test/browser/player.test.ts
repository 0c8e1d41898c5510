import {once} from 'node:events'
import {readFile} from 'node:fs/promises'
import http from 'node:http'
import https from 'node:https'
import type {AddressInfo} from 'node:net'
import test, {type ExecutionContext} from 'ava'
import type {Browser, BrowserContextOptions, Page} from 'playwright-core'
import type {ModeName, SluicePlayer} from '../../player/sluice-player.js'
import {
	advances,
	cameraFlags,
	inState,
	launchBrowser,
	monotonicMs,
	newPage,
	type Opened
} from '../support/browser.js'
import {type Camera, type Sluice, startCamera, startSluice} from '../support/processes.js'
import {until, view} from '../support/viewer.js'

type Properties = Partial<
	Pick<SluicePlayer, 'src' | 'camera' | 'rtspUrl' | 'mode' | 'pipeline' | 'parameters'>
>

let browser: Browser

test.before(async () => {
	browser = await launchBrowser()
})

test.after.always(async () => browser.close())

/** What the player's events told, as `state mode reason`. */
const told = async (page: Page) => page.evaluate(() => (window as unknown as {told: string[]}).told)

/** A page of the server itself, with its Content-Security-Policy and one player. */
async function openPlayer(
	t: ExecutionContext,
	address: string,
	properties: Properties,
	options: BrowserContextOptions = {}
): Promise<Opened> {
	const opened = await newPage(t, browser, options)
	await opened.page.goto(`${address}/`)
	await addPlayer(opened.page, properties)
	return opened
}

async function addPlayer(
	page: Page,
	properties: Properties,
	module = '/sluice-player.js'
): Promise<void> {
	await page.evaluate(
		async ([file, values]) => {
			await import(file)
			const player = Object.assign(document.createElement('sluice-player'), values)
			const told: string[] = []
			Object.assign(window, {told})
			player.addEventListener('statechange', ({detail: {name, mode, reason}}) => {
				told.push([name, mode, reason?.code].filter(Boolean).join(' '))
			})
			document.body.replaceChildren(player)
		},
		[module, properties] as const
	)
}

const statistics = async (page: Page) =>
	page.evaluate(() => document.querySelector('sluice-player')?.statistics)
const mode = async (page: Page) =>
	page.evaluate(() => document.querySelector('sluice-player')?.state.mode)
/** Resolves when a picture is shown in that mode; otherwise its error says what the player went through. */
async function playsIn(page: Page, name: ModeName): Promise<void> {
	try {
		await page.waitForFunction(wanted => {
			const state = document.querySelector('sluice-player')?.state
			return state?.name === 'live' && state.mode === wanted
		}, name)
	} catch (error) {
		throw new Error(`the player does not play in ${name}: ${(await told(page)).join(', ')}`, {
			cause: error
		})
	}
}

/**
 * A server whose stream of the camera's H.264 runs already. In `auto` a mode has three seconds; how long a camera and a pipeline
 * take to start, on a machine that has other tests to run, is no matter of the player's.
 */
async function startWarm(t: ExecutionContext): Promise<{camera: Camera; sluice: Sluice}> {
	const [camera, sluice] = await Promise.all([
		startCamera(t, cameraFlags),
		startSluice(t, ['--share'])
	])
	await view(t, sluice.stream({rtsp_url: camera.url('/h264'), pipeline: 'h264'})).received(2)
	return {camera, sluice}
}

/** Whether there is a picture that is not black throughout. */
const showsPicture = async (page: Page) =>
	page.evaluate(async () => {
		const image = await document
			.querySelector('sluice-player')
			?.snapshot()
			.catch(() => undefined)
		if (!image) return false
		const bitmap = await createImageBitmap(image)
		const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d')
		context?.drawImage(bitmap, 0, 0)
		return (
			context
				?.getImageData(0, 0, bitmap.width, bitmap.height)
				.data.some((value, index) => index % 4 !== 3 && value > 128) ?? false
		)
	})

/** Has `POST /whep` answer as a server does that knows nothing of it. Resolves with how often it was asked. */
async function withoutWhep(page: Page): Promise<() => number> {
	let asked = 0
	await page.context().route(/\/whep/, async route => {
		asked++
		await route.fulfill({
			status: 404,
			contentType: 'application/json',
			body: JSON.stringify({
				error: 'There is no such template or page',
				code: 'not_found',
				detail: 'there is nothing at /whep'
			})
		})
	})
	return () => asked
}

/** An answer whose packets reach nobody. */
const leadingNowhere = (sdp: string) =>
	sdp.replace(
		/^(a=candidate:\S+ \d+ UDP \d+ )\S+ \d+/gim,
		(_, start: string) => `${start}192.0.2.1 9`
	)

/** Hides the page as another tab in front of it does; Chromium without a window has no other way. */
async function setHidden(page: Page, hidden: boolean): Promise<void> {
	await page.evaluate(value => {
		Object.defineProperty(document, 'hidden', {value, configurable: true})
		document.dispatchEvent(new Event('visibilitychange'))
	}, hidden)
}

const delays = {jpeg: 'draw', webcodecs: 'decode', webrtc: 'network', mse: 'buffer'} as const
const playsVideo = (name: ModeName) => name === 'webrtc' || name === 'mse'

for (const name of ['jpeg', 'webcodecs', 'webrtc', 'mse'] as const) {
	test.serial(`${name}: the picture moves, and the figures are there`, async t => {
		const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
		const {page, errors} = await openPlayer(t, sluice.http, {
			rtspUrl: camera.url('/h264'),
			mode: name
		})
		await inState(page, 'live')
		await advances(page)
		await page.waitForFunction(() => {
			const {fps, bitsPerSecond, delayMs} =
				document.querySelector('sluice-player')?.statistics ?? {}
			return Number(fps) > 0 && Number(bitsPerSecond) > 0 && Number(delayMs) > 0
		})
		const {mode, width, height, delayOf, firstPictureMs} = (await statistics(page)) ?? {}
		t.deepEqual(
			{mode, width, height, delayOf},
			{mode: name, width: 640, height: 360, delayOf: delays[name]}
		)
		t.true(Number(firstPictureMs) > 0)
		t.log(`${name}: first picture after ${Math.round(Number(firstPictureMs))} ms`)
		t.is((await told(page)).at(-1), `live ${name}`)
		t.is(await page.textContent('sluice-player .state'), 'Live')
		t.true(await page.isHidden('sluice-player .message'))

		await page.hover('sluice-player')
		await page.click('sluice-player button.statistics')
		t.regex((await page.textContent('sluice-player .figures')) ?? '', /640 × 360/)
		const saved = page.waitForEvent('download')
		await page.click('sluice-player button.snapshot')
		t.regex((await saved).suggestedFilename(), /^camera-.*\.jpg$/)
		t.deepEqual(
			await page.evaluate(async () => {
				const image = await document.querySelector('sluice-player')?.snapshot()
				const {width, height} = await createImageBitmap(image ?? new Blob())
				return {type: image?.type, width, height}
			}),
			{type: 'image/jpeg', width: 640, height: 360}
		)
		t.is(
			await page.isVisible('sluice-player button.picture_in_picture'),
			playsVideo(name),
			'a canvas has none'
		)
		t.deepEqual(errors, [])
	})

	test.serial(
		`${name}: comes back when the camera was restarted with another format, and the server too`,
		async t => {
			const [camera, first] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
			const {page} = await openPlayer(t, first.http, {rtspUrl: camera.url('/h264'), mode: name})
			await advances(page)
			camera.child.kill('SIGKILL')
			await camera.exit
			// Of WebRTC the browser asks for a key frame again and again, which the server may answer with its last pictures.
			if (name !== 'webrtc') {
				await inState(page, 'waiting', 'reconnecting')
				t.true(await page.isVisible('sluice-player .message'))
				t.regex((await page.textContent('sluice-player .age')) ?? '', /The last picture/)
			}
			t.true(await showsPicture(page), 'the last picture stays')
			await startCamera(t, [
				'--port',
				String(camera.port),
				'--width',
				'640',
				'--height',
				'272',
				'--fps',
				'15',
				'--key-interval',
				'0.5'
			])
			await page.waitForFunction(
				() => document.querySelector('sluice-player')?.statistics.height === 272,
				null,
				{timeout: 60_000}
			)
			await advances(page)
			await inState(page, 'live')
			t.is(await page.textContent('sluice-player .state'), 'Live')

			first.child.kill('SIGKILL')
			await inState(page, 'reconnecting')
			t.true(await showsPicture(page), 'the last picture stays')
			t.regex(
				(await page.textContent('sluice-player .title')) ?? '',
				/^The connection to the server was lost|^The server cannot be reached/
			)
			await first.exit
			await startSluice(t, ['--port', String(first.port)])
			await inState(page, 'live')
			await advances(page)
			t.is(await mode(page), name)
		}
	)
}

test.serial(
	'webcodecs and mse play a camera with B-frames; a page that is busy stays in the present',
	async t => {
		const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
		const {page} = await openPlayer(t, sluice.http, {
			rtspUrl: camera.url('/b-frames'),
			mode: 'webcodecs'
		})
		for (const name of ['webcodecs', 'mse'] as const) {
			await page.evaluate(value => {
				document.querySelector('sluice-player')?.setAttribute('mode', value)
			}, name)
			await playsIn(page, name)
			await advances(page)
		}

		await page.evaluate(url => {
			Object.assign(document.querySelector('sluice-player') ?? {}, {
				rtspUrl: url,
				mode: 'webcodecs'
			})
			const block = () => {
				const endMs = performance.now() + 120
				while (performance.now() < endMs);
				setTimeout(block)
			}
			block()
		}, camera.url('/h264'))
		await page.waitForFunction(
			() => Number(document.querySelector('sluice-player')?.statistics.dropped) >= 60
		)
		// The page shows eight pictures a second, and falls behind with each that it does not drop: twenty would be as old as 2.5 s. In time
		// bench/scenarios/page.mjs measures it.
		const shown = await page.evaluate(async nowMs => {
			const clocks = new Set<number>()
			while (Math.max(...clocks) <= nowMs) {
				await new Promise(requestAnimationFrame)
				const clock = window.cameraClock()
				if (clock !== null) clocks.add(clock)
			}
			return clocks.size
		}, monotonicMs())
		t.true(shown <= 20, `${shown} pictures up to the present`)
	}
)

test.serial(
	'mse: what came while the browser was not ready is dropped, and not what the rest needs',
	async t => {
		const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
		const {page} = await newPage(t, browser)
		await page.addInitScript(() => {
			const ready = new Promise(resolve => {
				Object.assign(window, {ready: resolve})
			})
			Object.defineProperty(MediaSource.prototype, 'onsourceopen', {
				set(this: MediaSource, act: (() => void) | null) {
					if (act)
						this.addEventListener('sourceopen', () => {
							void ready.then(act)
						})
				}
			})
		})
		await page.goto(`${sluice.http}/`)
		await addPlayer(page, {rtspUrl: camera.url('/h264'), mode: 'mse'})
		await page.waitForFunction(
			() => Number(document.querySelector('sluice-player')?.statistics.dropped) >= 60
		)
		await page.evaluate(() => {
			;(window as unknown as {ready: () => void}).ready()
		})
		await inState(page, 'live')
		await advances(page)
		t.deepEqual(
			(await told(page)).filter(text => text.startsWith('reconnecting')),
			[]
		)
	}
)

test.serial(
	'auto goes down the ladder where the server has no WHEP, and remembers what worked',
	async t => {
		const {camera, sluice} = await startWarm(t)
		const {page} = await newPage(t, browser)
		const asked = await withoutWhep(page)
		await page.goto(`${sluice.http}/`)
		await addPlayer(page, {rtspUrl: camera.url('/h264')})
		await playsIn(page, 'webcodecs')
		await advances(page)
		t.is(asked(), 1)
		await page.reload()
		await addPlayer(page, {rtspUrl: camera.url('/h264')})
		await playsIn(page, 'webcodecs')
		t.is(asked(), 1, 'what worked is tried first')
		const stored = await page.evaluate(() => JSON.stringify([localStorage, sessionStorage]))
		t.false(stored.includes('rtsp') || stored.includes('h264'), stored)
	}
)

test.serial(
	'auto takes WebRTC where it can be had, and the next mode where UDP is blocked',
	async t => {
		const {camera, sluice} = await startWarm(t)
		const {page} = await openPlayer(t, sluice.http, {rtspUrl: camera.url('/h264')})
		await playsIn(page, 'webrtc')
		await advances(page)
		// Where the browser's packets reach nobody.
		const {page: blocked} = await newPage(t, browser)
		await blocked.context().route(/\/whep/, async route => {
			const response = await route.fetch()
			await route.fulfill({response, body: leadingNowhere(await response.text())})
		})
		await blocked.goto(`${sluice.http}/`)
		await addPlayer(blocked, {rtspUrl: camera.url('/h264')})
		await playsIn(blocked, 'webcodecs')
		await advances(blocked)
		const tried = (await told(blocked)).filter(text => text.startsWith('loading'))
		t.deepEqual(tried, ['loading webrtc', 'loading webcodecs'])
		// Another camera of the server need not find out again.
		await addPlayer(blocked, {rtspUrl: camera.url('/secret', 'demo:secret')})
		await inState(blocked, 'live')
		t.is(
			(await told(blocked)).find(text => text.startsWith('loading')),
			'loading webcodecs'
		)
		await addPlayer(blocked, {rtspUrl: camera.url('/h264'), mode: 'webrtc'})
		await inState(blocked, 'reconnecting')
		t.is(await blocked.textContent('sluice-player .title'), 'The network lets no WebRTC through.')

		// Of B-frames WebRTC knows nothing: the server transcodes them, or the next mode takes over.
		await addPlayer(page, {rtspUrl: camera.url('/b-frames')})
		await inState(page, 'live')
		await advances(page)
	}
)

test.serial(
	'auto plays an H.265 camera as JPEG, and one whose coded video never comes',
	async t => {
		const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
		const {page} = await newPage(t, browser)
		await withoutWhep(page)
		await page.goto(`${sluice.http}/`)
		await addPlayer(page, {rtspUrl: camera.url('/h265'), parameters: {max_width: '320'}})
		await playsIn(page, 'jpeg')
		await advances(page)
		t.is((await statistics(page))?.width, 320, 'a template’s parameters are those of JPEG')
		const tried = (await told(page)).filter(text => text.startsWith('loading'))
		t.deepEqual(tried, ['loading webrtc', 'loading webcodecs', 'loading mse', 'loading jpeg'])

		await page.routeWebSocket(/pipeline=(h264|mp4)/, () => undefined)
		await addPlayer(page, {rtspUrl: camera.url('/h264')})
		await playsIn(page, 'jpeg')
		t.is(await mode(page), 'jpeg')
	}
)

test.serial(
	'a mode that the browser lacks is passed over, and said where it is pinned',
	async t => {
		const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
		const {page} = await newPage(t, browser)
		// As on http:// and another host than localhost.
		await page.addInitScript(() => {
			for (const name of ['VideoDecoder', 'RTCPeerConnection', 'MediaSource', 'ManagedMediaSource'])
				Reflect.deleteProperty(window, name)
		})
		await page.goto(`${sluice.http}/`)
		await addPlayer(page, {rtspUrl: camera.url('/h264'), mode: 'webcodecs'})
		await inState(page, 'failed')
		t.is(
			await page.textContent('sluice-player .title'),
			'This browser does not have this mode here.'
		)
		await page.evaluate(() => {
			document.querySelector('sluice-player')?.setAttribute('mode', 'auto')
		})
		await playsIn(page, 'jpeg')
		t.false((await told(page)).some(text => /webrtc|mse/.test(text)))
	}
)

test.serial(
	'a server that the browser does not open is named, and holds up no other player of the page',
	async t => {
		const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
		const key = await readFile('test/support/self-signed.pem')
		const players = [
			// A page of https opens no WebSocket without it, but for one of this machine. Four that stuck would leave no turn for others.
			...Array<string>(4).fill('src="http://camera.example:8000" camera="door"'),
			'src="camera.example:8000" camera="door"',
			`src="${sluice.http}" rtsp-url="${camera.url('/h264')}"`
		].map(
			attributes => `<sluice-player mode="jpeg" style="width: 300px" ${attributes}></sluice-player>`
		)
		const pages = https.createServer({key, cert: key}, (request, response) => {
			const name = request.url ?? '/'
			response.setHeader('Content-Type', name === '/' ? 'text/html' : 'text/javascript')
			if (name === '/')
				response.end(
					`<!doctype html><script type="module" src="sluice-player.js"></script>${players.join('')}`
				)
			else
				void readFile(`player${name}`).then(
					text => response.end(text),
					() => response.writeHead(404).end()
				)
		})
		pages.listen(0, '127.0.0.1')
		await once(pages, 'listening')
		t.teardown(() => pages.close())
		const {page} = await newPage(t, browser, {
			ignoreHTTPSErrors: true,
			viewport: {width: 1280, height: 1400}
		})
		await page.goto(`https://127.0.0.1:${(pages.address() as AddressInfo).port}/`)
		const states = async () =>
			page.evaluate(() =>
				[...document.querySelectorAll('sluice-player')].map(({state: {name, reason}}) =>
					[name, reason?.code].filter(Boolean).join(' ')
				)
			)
		await page.waitForFunction(() =>
			[...document.querySelectorAll('sluice-player')].every(
				({state}) => state.name === 'failed' || state.name === 'live'
			)
		)
		t.deepEqual(await states(), [...Array<string>(5).fill('failed bad_address'), 'live'])
		t.regex((await page.textContent('sluice-player .title')) ?? '', /https/)
	}
)

test.serial(
	'an answer that comes late is no network that lets no WebRTC through: the connection gets its time',
	async t => {
		const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
		const {page} = await newPage(t, browser)
		await page.clock.install({time: 0})
		await page.addInitScript(() => {
			window.RTCPeerConnection = class extends RTCPeerConnection {
				constructor() {
					super()
					this.addEventListener('signalingstatechange', () => {
						if (this.signalingState === 'stable') Object.assign(window, {answered: true})
					})
				}
			}
		})
		await page.context().route(/\/whep/, async route => {
			if (route.request().method() === 'DELETE') return route.continue()
			const response = await route.fetch()
			await page.clock.runFor(2500)
			await route.fulfill({response, body: leadingNowhere(await response.text())})
		})
		await page.goto(`${sluice.http}/`)
		await page.clock.pauseAt(10_000)
		await addPlayer(page, {rtspUrl: camera.url('/h264')})
		await page.waitForFunction(() => 'answered' in window)
		const tried = async () => (await told(page)).filter(text => text.startsWith('loading'))
		await page.clock.runFor(1500)
		t.deepEqual(await tried(), ['loading webrtc'])
		await page.clock.runFor(1500)
		t.deepEqual(await tried(), ['loading webrtc', 'loading webcodecs'])
	}
)

test.serial(
	'WebRTC that plays after all ends what was remembered of a network that blocks it, pinned or not',
	async t => {
		const {camera, sluice} = await startWarm(t)
		const {page} = await newPage(t, browser)
		await page.goto(`${sluice.http}/`)
		await page.evaluate(async file => {
			const {Ladder} = (await import(file)) as {
				Ladder: new (options: object) => {drop: (reason: object) => boolean}
			}
			new Ladder({
				wish: 'auto',
				supported: () => true,
				server: new URL('.', location.href).href,
				camera: 'another'
			}).drop({code: 'media_blocked', detail: ''})
		}, '/ladder.js')
		await addPlayer(page, {rtspUrl: camera.url('/h264')})
		await playsIn(page, 'webcodecs')
		await page.evaluate(() => {
			localStorage.setItem(
				'sluice.modes',
				JSON.stringify(
					Object.fromEntries(
						Object.entries(
							JSON.parse(localStorage.getItem('sluice.modes') ?? '{}') as object
						).filter(([, [value]]) => value === 'blocked')
					)
				)
			)
		})
		await addPlayer(page, {rtspUrl: camera.url('/h264'), mode: 'webrtc'})
		await playsIn(page, 'webrtc')
		await addPlayer(page, {rtspUrl: camera.url('/h264')})
		await playsIn(page, 'webrtc')
		t.false((await told(page)).includes('loading webcodecs'))
	}
)

test.serial('WebRTC in a small window of its own plays on while its tab is hidden', async t => {
	const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
	const {page} = await newPage(t, browser)
	await page.goto(`${sluice.http}/`)
	await addPlayer(page, {rtspUrl: camera.url('/h264'), mode: 'webrtc'})
	// The player stands in an element of the page's own, as frameworks have it.
	await page.evaluate(() => {
		const player = document.querySelector('sluice-player')
		const box = document.createElement('div')
		document.body.append(box)
		if (player) box.attachShadow({mode: 'open'}).append(player)
		Object.assign(window, {player})
	})
	await page.waitForFunction(
		() => (window as unknown as {player: SluicePlayer}).player.state.name === 'live'
	)
	const frames = await page.evaluate(async () => {
		const {player} = window as unknown as {player: SluicePlayer}
		const video = player.shadowRoot?.querySelector('video')
		// Chromium without a window has no small one either.
		Object.defineProperty(player.shadowRoot, 'pictureInPictureElement', {value: video})
		// A browser calls these for no page that is hidden.
		HTMLVideoElement.prototype.requestVideoFrameCallback = () => 0
		Object.defineProperty(document, 'hidden', {value: true, configurable: true})
		document.dispatchEvent(new Event('visibilitychange'))
		const told = (window as unknown as {told: string[]}).told.length
		// Longer than a player waits before it leaves unseen, or says that it waits for the camera.
		for (let events = 0; events < 14; events++)
			await new Promise(resolve => {
				player.addEventListener('statistics', resolve, {once: true})
			})
		return (window as unknown as {told: string[]}).told.slice(told)
	})
	t.deepEqual(frames, [])
})

test.serial(
	'pause() holds, also in the moment of a change and before the element is in the page',
	async t => {
		const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
		const {page} = await openPlayer(t, sluice.http, {rtspUrl: camera.url('/h264'), mode: 'jpeg'})
		await inState(page, 'live')
		const sockets: string[] = []
		page.on('websocket', socket => sockets.push(socket.url()))
		await page.evaluate(url => {
			const player = document.querySelector('sluice-player')
			if (player) player.rtspUrl = url
			player?.pause()
		}, camera.url('/mjpeg'))
		await inState(page, 'paused')
		await page.evaluate(url => {
			const player = Object.assign(document.createElement('sluice-player'), {
				rtspUrl: url,
				mode: 'jpeg'
			})
			player.pause()
			document.body.replaceChildren(player)
		}, camera.url('/mjpeg'))
		await inState(page, 'paused')
		// Whoever looks: the element has been in sight by now.
		await page.evaluate(
			async () =>
				new Promise(resolve => {
					new IntersectionObserver(resolve).observe(
						document.querySelector('sluice-player') ?? document.body
					)
				})
		)
		await inState(page, 'paused')
		t.deepEqual(sockets, [])
		await page.evaluate(() => {
			document.querySelector('sluice-player')?.play()
		})
		await inState(page, 'live')
	}
)

test.serial('a player that nobody sees disconnects, and comes back at once', async t => {
	const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
	const {page} = await openPlayer(t, sluice.http, {rtspUrl: camera.url('/h264'), mode: 'webcodecs'})
	await advances(page)
	const viewersGone = () => sluice.lines.filter(line => line['msg'] === 'viewer gone').length
	const gone = async (count: number) => sluice.line(() => viewersGone() >= count)

	await setHidden(page, true)
	await inState(page, 'paused')
	await gone(1)
	t.true(await page.isVisible('sluice-player canvas'), 'the last picture stays')
	await setHidden(page, false)
	await inState(page, 'loading', 'live')
	await advances(page)

	await page.evaluate(() => {
		document
			.querySelector('sluice-player')
			?.insertAdjacentHTML('beforebegin', '<div id="above"></div>')
	})
	await page.evaluate(() => {
		document.getElementById('above')?.style.setProperty('height', '5000px')
	})
	await inState(page, 'paused')
	await gone(2)
	await page.evaluate(() => {
		document.querySelector('sluice-player')?.scrollIntoView()
	})
	await inState(page, 'loading', 'live')
	await advances(page)

	// pause() holds, whoever looks; play() ends it.
	await page.evaluate(() => {
		document.querySelector('sluice-player')?.pause()
	})
	await inState(page, 'paused')
	await setHidden(page, true)
	await setHidden(page, false)
	await inState(page, 'paused')
	await page.evaluate(() => {
		document.querySelector('sluice-player')?.play()
	})
	await advances(page)

	await page.evaluate(() => {
		document.querySelector('sluice-player')?.remove()
	})
	await gone(4)
})

test.serial('attributes may be missing, come late, and change', async t => {
	const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
	const {page, errors} = await openPlayer(t, sluice.http, {})
	t.deepEqual(await told(page), [])
	t.is(await page.textContent('sluice-player .state'), 'Not connected')
	const sockets: string[] = []
	page.on('websocket', socket => sockets.push(socket.url()))
	await page.evaluate(url => {
		const player = document.querySelector('sluice-player')
		player?.setAttribute('mode', 'jpeg')
		player?.setAttribute('parameters', 'max_width=320&quality=50')
		player?.setAttribute('rtsp-url', url)
	}, camera.url('/h264'))
	await inState(page, 'live')
	t.deepEqual(
		sockets.map(address => Object.fromEntries(new URL(address).searchParams)),
		[{rtsp_url: camera.url('/h264'), max_width: '320', quality: '50'}]
	)

	// Another camera's picture does not stay under this one's name.
	await page.evaluate(url => {
		document.querySelector('sluice-player')?.setAttribute('rtsp-url', url)
	}, camera.url('/nothing'))
	await inState(page, 'failed')
	t.true(await page.isHidden('sluice-player canvas'))
	t.is(await page.textContent('sluice-player .title'), 'The camera has no such stream.')
	await page.evaluate(() => {
		document.querySelector('sluice-player')?.removeAttribute('rtsp-url')
	})
	await inState(page, 'idle')

	// A property that was set before the module came, and an address that is none.
	await page.evaluate(url => {
		const player = document.querySelector('sluice-player')
		player?.setAttribute('src', 'http://[')
		if (player) player.rtspUrl = url
	}, camera.url('/h264'))
	await inState(page, 'failed')
	await page.evaluate(() => {
		document.querySelector('sluice-player')?.removeAttribute('src')
	})
	await inState(page, 'live')
	t.is(
		await page.evaluate(() =>
			document.querySelector('sluice-player')?.outerHTML.includes('rtsp://')
		),
		false,
		'the property, which may hold a password, is in no attribute'
	)

	// A property that is cleared takes the attribute's word away as well; what is undefined is nothing.
	await page.evaluate(url => {
		document.querySelector('sluice-player')?.setAttribute('rtsp-url', url)
	}, camera.url('/h264'))
	await inState(page, 'live')
	await page.evaluate(() => {
		Object.assign(document.querySelector('sluice-player') ?? {}, {
			rtspUrl: '',
			camera: undefined,
			pipeline: null,
			token: undefined,
			parameters: undefined
		})
	})
	await inState(page, 'idle')
	t.deepEqual(
		await page.evaluate(() => {
			const {camera, rtspUrl, pipeline, token, parameters} =
				document.querySelector('sluice-player') ?? {}
			return {camera, rtspUrl, pipeline, token, parameters}
		}),
		{camera: '', rtspUrl: '', pipeline: '', token: '', parameters: {}}
	)
	t.deepEqual(errors, [])
})

test.serial('a page of another server may use it, under a strict policy of its own', async t => {
	const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
	const pages = http.createServer((request, response) => {
		const name = request.url === '/' ? '' : (request.url ?? '')
		const type = name === '' ? 'text/html' : 'text/javascript'
		response.setHeader('Content-Type', type)
		response.setHeader(
			'Content-Security-Policy',
			`default-src 'none'; script-src 'self'; connect-src ${sluice.http} ${sluice.http.replace('http', 'ws')}`
		)
		if (name === '')
			response.end(
				`<!doctype html><sluice-player src="${sluice.http}" mode="jpeg"></sluice-player>`
			)
		else
			void readFile(`player${name}`).then(
				text => response.end(text),
				() => response.writeHead(404).end()
			)
	})
	pages.listen(0, '127.0.0.1')
	await once(pages, 'listening')
	t.teardown(() => pages.close())
	const {page, errors} = await newPage(t, browser)
	await page.goto(`http://127.0.0.1:${(pages.address() as AddressInfo).port}/`)
	// The element was there before its definition, and so was this property.
	await page.evaluate(
		async ([module, url]) => {
			const player = document.querySelector('sluice-player')
			if (player) player.rtspUrl = url
			await import(module)
		},
		['/sluice-player.js', camera.url('/h264')] as const
	)
	await inState(page, 'live')
	await advances(page)
	t.deepEqual(
		errors.filter(text => !text.includes('favicon')),
		[]
	)
})

test.serial(
	'a page of another origin loads the module from the server, which then is its server',
	async t => {
		const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
		const pages = http.createServer((_request, response) => {
			response.setHeader('Content-Type', 'text/html')
			response.end(
				`<!doctype html><script type="module" src="${sluice.http}/sluice-player.js"></script><sluice-player mode="jpeg" rtsp-url="${camera.url('/h264')}"></sluice-player>`
			)
		})
		pages.listen(0, '127.0.0.1')
		await once(pages, 'listening')
		t.teardown(() => pages.close())
		const {page, errors} = await newPage(t, browser)
		await page.goto(`http://127.0.0.1:${(pages.address() as AddressInfo).port}/`)
		await inState(page, 'live')
		await advances(page)
		t.deepEqual(errors, [])
	}
)

test.serial(
	'a wall fits its tiles to the screen, shows sub-streams, and one camera large',
	async t => {
		const [camera, sluice] = await Promise.all([
			startCamera(t, [...cameraFlags, '--fps', '10']),
			startSluice(t, ['--share'])
		])
		const {page, errors} = await newPage(t, browser, {viewport: {width: 1280, height: 720}})
		const wanted = new URLSearchParams({mode: 'webcodecs'})
		for (const name of ['one', 'two', 'three', 'four', 'five']) {
			for (const [key, value] of [
				['rtsp_url', camera.url('/b-frames')],
				['sub_url', camera.url('/h264')],
				['name', name]
			] as const)
				wanted.append(key, value)
		}
		const sockets: string[] = []
		page.on('websocket', socket => sockets.push(new URL(socket.url()).search))
		await page.goto(`${sluice.http}/wall.html#${wanted.toString()}`)
		const allIn = async (state: string) =>
			page.waitForFunction(name => {
				const players = [...document.querySelectorAll('.tile sluice-player')] as SluicePlayer[]
				return players.length === 5 && players.every(player => player.state.name === name)
			}, state)
		await allIn('live')
		await advances(page)
		t.is(
			await page.getByRole('heading', {level: 1}).textContent(),
			'Cameras',
			'a screen reader hears what the page is'
		)
		t.is(await page.getByRole('main', {name: 'Cameras'}).count(), 1)
		const asked = (path: string) =>
			`?${new URLSearchParams({rtsp_url: camera.url(path), pipeline: 'h264'}).toString()}`
		t.deepEqual(
			sockets,
			Array<string>(5).fill(asked('/h264')),
			'a template of a mode that is pinned does not know the parameters of JPEG'
		)
		t.deepEqual(await page.locator('figcaption').allTextContents(), [
			'one',
			'two',
			'three',
			'four',
			'five'
		])
		t.true(
			await page.evaluate(
				() =>
					document.documentElement.scrollHeight <= innerHeight &&
					document.documentElement.scrollWidth <= innerWidth
			),
			'all fit'
		)

		await page.click('.tile > button >> nth=2')
		await page.waitForFunction(
			() => document.querySelector<SluicePlayer>('dialog sluice-player')?.state.name === 'live'
		)
		t.is(await page.textContent('dialog h2'), 'three')
		t.is(sockets.at(-1), asked('/b-frames'))
		await allIn('paused')
		await page.keyboard.press('Escape')
		await allIn('live')
		t.is(await page.locator('dialog sluice-player').count(), 0)

		await page.setViewportSize({width: 320, height: 640})
		await page.waitForFunction(() => document.documentElement.scrollWidth <= 320)
		t.deepEqual(errors, [])

		await page.goto('about:blank')
		await page.goto(`${sluice.http}/wall.html`)
		await page.waitForSelector('#empty:not([hidden])')
		t.is(await page.textContent('#empty-title'), 'No camera to show')
	}
)

test.serial(
	'a tile of a wall that has failed is tried again by a click, and after it was shown large',
	async t => {
		const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
		const {page} = await newPage(t, browser, {viewport: {width: 1280, height: 720}})
		const sockets: string[] = []
		page.on('websocket', socket => sockets.push(socket.url()))
		const hasFailed = async (selector: string, asked: number) => {
			await until(() => sockets.length === asked, 30_000, `${asked} requests`)
			await page.waitForFunction(
				name => document.querySelector<SluicePlayer>(name)?.state.name === 'failed',
				`${selector} sluice-player`
			)
		}
		await page.goto(
			`${sluice.http}/wall.html#${new URLSearchParams({rtsp_url: camera.url('/nothing'), mode: 'jpeg'}).toString()}`
		)
		await hasFailed('.tile', 1)
		await page.click('.tile sluice-player .message button')
		await hasFailed('.tile', 2)
		t.is(await page.locator('dialog sluice-player').count(), 0)

		// A small tile has no room for the button.
		await page.setViewportSize({width: 200, height: 400})
		await page.waitForSelector('.tile sluice-player .message button', {state: 'hidden'})
		await page.click('.tile')
		await hasFailed('dialog', 3)
		await page.keyboard.press('Escape')
		await hasFailed('.tile', 4)
	}
)

test.serial(
	'a wall shows what its address says last, whichever list comes first, and nothing plays behind a large picture',
	async t => {
		const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
		const {page} = await newPage(t, browser)
		let answer = () => undefined as unknown
		const asked = new Promise<void>(resolve => {
			void page.route('**/cameras', route => {
				answer = async () => route.fulfill({json: {cameras: [{name: 'late'}]}})
				resolve()
			})
		})
		await page.goto(`${sluice.http}/wall.html`)
		await asked
		const go = async (name: string) =>
			page.evaluate(
				hash => {
					location.hash = hash
				},
				new URLSearchParams({rtsp_url: camera.url('/h264'), name, mode: 'jpeg'}).toString()
			)
		await go('one')
		await page.waitForSelector('figcaption:has-text("one")')
		const listed = page.waitForResponse('**/cameras')
		await answer()
		await (await listed).finished()
		await page.evaluate(async () => fetch('cameras.json').catch(() => undefined))
		t.deepEqual(await page.locator('figcaption').allTextContents(), ['one'])

		await page.click('.tile')
		await page.waitForFunction(
			() => document.querySelector<SluicePlayer>('dialog sluice-player')?.state.name === 'live'
		)
		await go('two')
		await page.waitForSelector('figcaption:has-text("two")')
		await page.waitForFunction(
			() =>
				document.querySelector('dialog')?.open === false &&
				document.querySelector<SluicePlayer>('.tile sluice-player')?.state.name === 'live'
		)
		t.is(await page.locator('dialog sluice-player').count(), 0)
	}
)

test.serial('what the element has is in its types and in README.md', async t => {
	const sluice = await startSluice(t)
	const {page} = await openPlayer(t, sluice.http, {})
	const {members, attributes} = await page.evaluate(() => {
		const player = document.querySelector('sluice-player')
		const own = Object.getOwnPropertyNames(player?.constructor.prototype).filter(
			name => name !== 'constructor' && !name.endsWith('Callback')
		)
		return {
			members: own,
			attributes: (player?.constructor as typeof SluicePlayer).observedAttributes
		}
	})
	const [types, readme] = await Promise.all(
		['player/sluice-player.d.ts', 'README.md'].map(async file => readFile(file, 'utf8'))
	)
	t.deepEqual(
		members.filter(name => !new RegExp(`^\\t(readonly |get )?${name}[:(]`, 'm').test(types ?? '')),
		[]
	)
	t.deepEqual(
		[...members, ...attributes].filter(
			name => !new RegExp(`[\`\\n ]${name}[\`(]`).test(readme ?? '')
		),
		[]
	)
})

test.serial('words are in the browser’s language', async t => {
	const sluice = await startSluice(t)
	const {page} = await openPlayer(
		t,
		sluice.http,
		{rtspUrl: 'rtsp://127.0.0.1:9/x', mode: 'jpeg'},
		{locale: 'zh-CN'}
	)
	await inState(page, 'reconnecting')
	t.is(await page.textContent('sluice-player .state'), '正在重新连接…')
	t.is(await page.textContent('sluice-player .title'), '无法连接到摄像机。')
	await page.waitForFunction(() =>
		/^\d+ 秒后重试。$/.test(
			document.querySelector('sluice-player')?.shadowRoot?.querySelector('.countdown')
				?.textContent ?? ''
		)
	)
	t.is(
		await page.getAttribute('sluice-player [lang]', 'lang'),
		'zh-CN',
		'whatever the page’s language is'
	)
	// The button hides while it tries, and the keyboard's place stays in the player.
	await page.focus('sluice-player .message button')
	await page.evaluate(() => {
		const player = document.querySelector('sluice-player')
		player?.addEventListener(
			'statechange',
			() => {
				requestAnimationFrame(() =>
					requestAnimationFrame(() =>
						Object.assign(window, {focused: document.activeElement === player})
					)
				)
			},
			{once: true}
		)
	})
	await page.keyboard.press('Enter')
	await page.waitForFunction(() => (window as unknown as {focused?: boolean}).focused)
	await page.waitForFunction(
		() =>
			(window as unknown as {told: string[]}).told.filter(
				text => text === 'reconnecting jpeg camera_unreachable'
			).length >= 2
	)
})
