import {EventEmitter, once} from 'node:events'
import http from 'node:http'
import type {AddressInfo} from 'node:net'
import test, {type ExecutionContext} from 'ava'
import type {Browser, BrowserContextOptions, Page, WebSocketRoute} from 'playwright-core'
import {errorTable} from '../../dist/base/errors.js'
import {
	advances,
	cameraFlags,
	clockAfter,
	launchBrowser,
	monotonicMs,
	newPage as newPageOf
} from '../support/browser.js'
import {startCamera, startSluice} from '../support/processes.js'

let browser: Browser

test.before(async () => {
	browser = await launchBrowser()
})

test.after.always(async () => browser.close())

const newPage = async (t: ExecutionContext, options: BrowserContextOptions = {}) =>
	newPageOf(t, browser, options)

/** Most tests are of the page, and want the mode that asks for one thing only. */
const link = (http: string, rtspUrl: string, others: Record<string, string> = {mode: 'jpeg'}) =>
	`${http}/index.html#${new URLSearchParams({rtsp_url: rtspUrl, ...others}).toString()}`

async function inState(page: Page, state: string): Promise<void> {
	await page.waitForFunction(wanted => document.body.dataset['state'] === wanted, state)
}

/** The bytes of a JPEG image that the browser makes. */
async function jpegImage(page: Page, width: number, height: number): Promise<Buffer> {
	const bytes = await page.evaluate(
		async size => {
			const blob = await new Promise<Blob | null>(resolve => {
				Object.assign(document.createElement('canvas'), size).toBlob(resolve, 'image/jpeg')
			})
			return [...new Uint8Array(await (blob ?? new Blob()).arrayBuffer())]
		},
		{width, height}
	)
	return Buffer.from(bytes)
}

const droppedIs = async (page: Page, least: number) =>
	page.waitForFunction(
		count => Number(document.getElementById('dropped')?.textContent.replace(/\D/g, '')) >= count,
		least
	)

/** The rate that the page shows, once it shows one that is not zero. */
const rateShown = async (page: Page) =>
	page.waitForFunction(
		() => Number.parseInt(document.getElementById('rate')?.textContent ?? '') > 0
	)

test.serial(
	'a link connects at once: the picture moves, nothing breaks the security policy or complains',
	async t => {
		const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
		const {page, errors} = await newPage(t)
		const sockets: string[] = []
		page.on('websocket', socket => sockets.push(socket.url()))
		await page.goto(
			link(sluice.http, camera.url('/h264'), {pipeline: 'jpeg', quality: '60', max_width: '320'})
		)
		await inState(page, 'live')
		await advances(page)
		await rateShown(page)
		t.is(await page.getAttribute('html', 'lang'), 'en')
		t.is(await page.textContent('#state'), 'Live')
		t.is(await page.textContent('#resolution'), '320 × 180')
		t.regex((await page.textContent('#rate')) ?? '', /^\d+ fps$/)
		t.regex((await page.textContent('#bandwidth')) ?? '', /^\d+\.\d Mbit\/s$/)
		t.is(await page.inputValue('#rtsp-url'), camera.url('/h264'))
		t.is(await page.inputValue('[name=quality]'), '60')
		t.true(await page.isHidden('#message'))
		t.true(await page.isHidden('sluice-player .message'))

		// The form sends what differs from the template's defaults, and nothing else.
		await page.fill('[name=quality]', '80')
		await page.fill('[name=max_width]', '352')
		await page.click('#connect')
		await page.waitForFunction(
			() => document.getElementById('resolution')?.textContent === '352 × 198'
		)
		t.deepEqual(
			sockets.map(address => Object.fromEntries(new URL(address).searchParams)),
			[
				{rtsp_url: camera.url('/h264'), pipeline: 'jpeg', quality: '60', max_width: '320'},
				{rtsp_url: camera.url('/h264'), pipeline: 'jpeg', max_width: '352'}
			]
		)
		t.is(page.url(), link(sluice.http, camera.url('/h264'), {pipeline: 'jpeg', max_width: '352'}))
		t.deepEqual(errors, [])
	}
)

test.serial(
	'adaptive quality is asked for in the form, and the page shows the quality that each picture has',
	async t => {
		const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
		const {page, errors} = await newPage(t)
		// The first list waits for a check of every template, on a busy machine for longer than the page does.
		await fetch(`${sluice.http}/pipelines`)
		await page.goto(
			link(sluice.http, camera.url('/h264'), {pipeline: 'jpeg', quality: '60', adaptive: 'on'})
		)
		await inState(page, 'live')
		await page.waitForFunction(() => document.getElementById('quality')?.textContent === '60 of 60')
		t.true(await page.isChecked('#parameter-adaptive'))
		t.is(
			await page.textContent('#parameter-adaptive-note'),
			'While the link is too slow, lowers: JPEG quality to 25, then Maximum frame rate to 5'
		)

		await page.uncheck('#parameter-adaptive')
		await page.click('#connect')
		await page.waitForFunction(() => document.getElementById('quality-figure')?.hidden)
		t.is(page.url(), link(sluice.http, camera.url('/h264'), {pipeline: 'jpeg', quality: '60'}))
		await page.selectOption('#template', 'jpeg.mjpeg')
		t.is(
			await page.locator('#parameter-adaptive').count(),
			0,
			'a template that lowers nothing offers nothing'
		)
		t.deepEqual(errors, [])
	}
)

test.serial('an error is told in words, and a link that is put right connects', async t => {
	const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
	const {page} = await newPage(t)
	await page.goto(link(sluice.http, camera.url('/nothing')))
	await inState(page, 'failed')
	t.is(await page.textContent('#message-title'), 'The camera has no such stream.')
	t.regex((await page.textContent('#message-advice')) ?? '', /Check the path in the URL/)
	t.regex((await page.textContent('#detail')) ?? '', /404/)
	t.true(await page.isHidden('#retry'), 'no other try mends this')
	t.true(await page.isDisabled('#disconnect'))

	await page.evaluate(
		address => {
			location.href = address
		},
		link(sluice.http, camera.url('/h264'), {quality: '900'})
	)
	await page.waitForFunction(
		() =>
			document.getElementById('message-title')?.textContent ===
			'The server cannot work with this request.'
	)
	await inState(page, 'failed')
	t.regex((await page.textContent('#detail')) ?? '', /quality .*1 to 100/)
	t.is(await page.inputValue('[name=quality]'), '900')

	await page.evaluate(
		address => {
			location.href = address
		},
		link(sluice.http, camera.url('/h264'), {quality: '90'})
	)
	await inState(page, 'live')
	await advances(page)
	t.true(await page.isHidden('#message'))
})

test.serial('the picture comes back by itself when the server was restarted', async t => {
	const [camera, first] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
	const {page} = await newPage(t)
	await page.goto(link(first.http, camera.url('/h264')))
	await advances(page)
	first.child.kill('SIGKILL')
	await inState(page, 'reconnecting')
	t.true(await page.isVisible('canvas'), 'the last picture stays')
	t.true(await page.isVisible('sluice-player .age'))
	t.regex((await page.textContent('sluice-player .age')) ?? '', /^The last picture/)
	t.regex(
		(await page.textContent('#message-title')) ?? '',
		/^The connection to the server was lost|^The server cannot be reached/
	)
	t.true(await page.isVisible('#try-now'))
	await first.exit
	await startSluice(t, ['--port', String(first.port)])
	await inState(page, 'live')
	await advances(page)
	t.true(await page.isHidden('sluice-player .message'))
	t.true(await page.isHidden('#message'))
})

test.serial('a password is used and goes nowhere else', async t => {
	const password = 'p@55:w#rd?'
	const [camera, sluice] = await Promise.all([
		startCamera(t, [...cameraFlags, '--password', password]),
		startSluice(t)
	])
	const {page} = await newPage(t)
	await page.goto(link(sluice.http, camera.url('/secret', `demo:${password}`)))
	await inState(page, 'live')
	await advances(page)
	const clean = camera.url('/secret', 'demo')
	t.is(new URLSearchParams(new URL(page.url()).hash.slice(1)).get('rtsp_url'), clean)
	const stored = await page.evaluate(() => JSON.stringify([localStorage, sessionStorage]))
	t.true(stored.includes(encodeURIComponent(clean)), 'the rest of the URL is remembered')
	for (const part of ['p@55', 'w#rd', 'p%4055', 'w%23rd', 'p%254055']) {
		t.false(stored.includes(part), part)
		t.false(page.url().includes(part), part)
	}

	// On the next visit the field waits, and nothing is connected without being asked.
	await page.goto('about:blank')
	await page.goto(`${sluice.http}/index.html`)
	await page.waitForFunction(
		url => (document.getElementById('rtsp-url') as HTMLInputElement).value === url,
		clean
	)
	await inState(page, 'idle')
})

test.serial('passwords are found wherever vendors put them', async t => {
	const sluice = await startSluice(t)
	const {page} = await newPage(t)
	await page.goto(`${sluice.http}/index.html`)
	const cases: [url: string, clean: string][] = [
		[
			'rtsp://10.0.0.5:554/live?channel=1&subtype=0',
			'rtsp://10.0.0.5:554/live?channel=1&subtype=0'
		],
		['rtsp://cam:554/stream@hd', 'rtsp://cam:554/stream@hd'],
		['rtsp://[::1]:8554/a@b', 'rtsp://[::1]:8554/a@b'],
		['rtsp://admin@cam/x', 'rtsp://admin@cam/x'],
		['rtsp://admin:pw@cam/x', 'rtsp://admin@cam/x'],
		['rtsps://:pw@cam/x', 'rtsps://cam/x'],
		['rtsp://admin:p@ss/w:rd#?1@10.0.0.5:554/live?x=1', 'rtsp://admin@10.0.0.5:554/live?x=1'],
		['rtsp://admin:1234/5@192.168.1.9/s', 'rtsp://admin@192.168.1.9/s'],
		['rtsp://admin:p%40w@[fe80::1]/s', 'rtsp://admin@[fe80::1]/s'],
		['admin:pw@cam/x', 'admin@cam/x'],
		['rtsp://admin:pw', 'rtsp://admin'],
		['rtsp://cam/x?user=admin&password=xyz', 'rtsp://cam/x?user=admin&password='],
		['rtsp://cam/user=admin&password=xyz&channel=1', 'rtsp://cam/user=admin&password=&channel=1'],
		[
			'rtsp://cam/user=admin_password=x_y_channel=1_stream=0.sdp?real_stream',
			'rtsp://cam/user=admin_password=_channel=1_stream=0.sdp?real_stream'
		],
		[
			'rtsp://cam/user=admin&password=a&b/c?d#e@f&channel=1',
			'rtsp://cam/user=admin&password=&channel=1'
		],
		['rtsp://cam/?usr=a&PWD=x', 'rtsp://cam/?usr=a&PWD='],
		[
			'rtsp://cam/live%3Fuser%3Da%26password%3Dxyz%26c%3D1',
			'rtsp://cam/live%3Fuser%3Da%26password%3D%26c%3D1'
		]
	]
	const module = `${sluice.http}/address.js`
	const results = await page.evaluate(
		async ([file, urls]) => {
			const {withoutPassword} = (await import(file)) as {withoutPassword: (url: string) => string}
			return urls.map(url => withoutPassword(url))
		},
		[module, cases.map(([url]) => url)] as const
	)
	for (const [index, [url, clean]] of cases.entries()) t.is(results[index], clean, url)

	const long = [
		'rtsp://cam/' + '_'.repeat(100_000),
		'rtsp://cam/' + '_pass'.repeat(20_000),
		'a.'.repeat(50_000) + ':x'
	]
	const cleaned = await page.evaluate(
		async ([file, urls]) => {
			const {withoutPassword} = (await import(file)) as {withoutPassword: (url: string) => string}
			return urls.map(url => withoutPassword(url))
		},
		[module, long] as const
	)
	t.deepEqual(cleaned, [long[0], long[1], 'a.'.repeat(50_000)])

	const address = await page.evaluate(async file => {
		const {socketAddress} = (await import(file)) as {
			socketAddress: (wanted: object, pipeline: string) => string
		}
		return socketAddress(
			{
				server: 'https://example.org/cameras/',
				camera: '',
				rtspUrl: 'rtsp://a:b@cam/?x=1&y=#2',
				parameters: {quality: '5'},
				token: ''
			},
			'jpeg'
		)
	}, `${sluice.http}/modes/mode.js`)
	t.is(
		address,
		'wss://example.org/cameras/ws/stream?rtsp_url=rtsp%3A%2F%2Fa%3Ab%40cam%2F%3Fx%3D1%26y%3D%232&pipeline=jpeg&quality=5',
		'behind a proxy the path stays'
	)
})

test.serial(
	'a name is a camera’s, also before the server’s list is there, and its own template stays',
	async t => {
		const sluice = await startSluice(t)
		const {page} = await newPage(t)
		await page.route('**/cameras', async route => route.abort())
		const sockets: string[] = []
		await page.routeWebSocket(/\/ws\/stream/, socket => {
			sockets.push(new URL(socket.url()).search)
			socket.send(JSON.stringify({error: 'e', code: 'not_found', detail: `try ${sockets.length}`}))
			void socket.close({code: 4404})
		})
		await fetch(`${sluice.http}/pipelines`)
		await page.goto(`${sluice.http}/index.html`)
		await page.selectOption('#mode', 'jpeg')
		await page.waitForSelector('[name=quality]')
		t.is(await page.locator('#template option:checked').textContent(), 'The server’s default')
		await page.fill('#rtsp-url', 'front-door.2')
		await page.click('#connect')
		await page.waitForFunction(() => document.getElementById('detail')?.textContent === 'try 1')
		await page.selectOption('#template', 'jpeg')
		await page.click('#connect')
		await page.waitForFunction(() => document.getElementById('detail')?.textContent === 'try 2')
		t.deepEqual(sockets, ['?camera=front-door.2', '?camera=front-door.2&pipeline=jpeg'])
	}
)

test.serial("no page of another site can frame the server's pages", async t => {
	const sluice = await startSluice(t)
	const site = http
		.createServer((_, response) => {
			response.setHeader('Content-Type', 'text/html')
			response.end(
				['index.html', 'wall.html']
					.map(name => `<iframe src="${sluice.http}/${name}"></iframe>`)
					.join('')
			)
		})
		.listen(0, '127.0.0.1')
	t.teardown(() => {
		site.close()
	})
	await once(site, 'listening')
	const {page, errors} = await newPage(t)
	await page.goto(`http://127.0.0.1:${(site.address() as AddressInfo).port}/`)
	t.is(page.frames().length, 3)
	t.is(errors.filter(text => text.includes('frame-ancestors')).length, 2, errors.join('\n'))
	for (const frame of page.frames().slice(1)) t.is(await frame.locator('main').count(), 0)
})

test.serial('advice is of the mode that the browser lacks', async t => {
	const sluice = await startSluice(t)
	const lacking: [mode: string, names: string[]][] = [
		['webrtc', ['RTCPeerConnection']],
		['mse', ['MediaSource', 'ManagedMediaSource']],
		['webcodecs', ['VideoDecoder']]
	]
	for (const [mode, names] of lacking) {
		const {page} = await newPage(t)
		await page.addInitScript(missing => {
			for (const name of missing) Reflect.deleteProperty(window, name)
		}, names)
		await page.goto(link(sluice.http, 'rtsp://127.0.0.1:1/any', {mode}))
		await inState(page, 'failed')
		t.is(await page.getAttribute('#message', 'data-code'), 'mode_unsupported', mode)
		const advice = (await page.textContent('#message-advice')) ?? ''
		t.regex(advice, /Choose another mode, or Automatic\.$/, mode)
		t.is(advice.includes('WebCodecs'), mode === 'webcodecs', `${mode}: ${advice}`)
	}
})

test.serial(
	'a Chinese browser gets Chinese; each error of the server has words in both languages',
	async t => {
		const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
		const {page} = await newPage(t, {locale: 'zh-CN'})
		await page.goto(link(sluice.http, camera.url('/nothing')))
		await inState(page, 'failed')
		t.is(await page.getAttribute('html', 'lang'), 'zh-CN')
		t.is(await page.textContent('#connect'), '连接')
		t.is(await page.textContent('#message-title'), '摄像机上没有此视频流。')
		await page.waitForSelector('[name=quality]')
		t.is(await page.textContent('label[for=parameter-quality]'), 'JPEG 质量')
		const wall = await page.context().newPage()
		await wall.goto(`${sluice.http}/wall.html`)
		await wall.waitForSelector('#empty:not([hidden])')
		t.deepEqual(await wall.locator('h1, h2:visible').allTextContents(), [
			'摄像机墙',
			'没有可显示的摄像机'
		])

		// These tell a program that it speaks HTTP or WHEP wrongly.
		const forPrograms = [
			'upgrade_required',
			'method_not_allowed',
			'precondition_failed',
			'too_large',
			'unsupported_media_type',
			'unprocessable'
		]
		const own = [
			'unauthorized',
			'forbidden',
			'server_unreachable',
			'connection_lost',
			'silent',
			'not_images',
			'not_video',
			'no_first_picture',
			'media_blocked',
			'mode_unsupported',
			'decode_failed',
			'bad_address',
			'unknown'
		]
		const codes = [...Object.keys(errorTable).filter(code => !forPrograms.includes(code)), ...own]
		const words = await page.evaluate(
			async ([file, keys]) => {
				const {textsFor} = (await import(file)) as {
					textsFor: (languages: string[]) => {text: (key: string) => string}
				}
				return ['en', 'zh'].flatMap(language =>
					keys
						.flatMap(key => [key, `${key}_advice`])
						.map(key => ({language, key, text: textsFor([language]).text(key)}))
				)
			},
			[`${sluice.http}/texts.js`, codes] as const
		)
		t.deepEqual(
			words.filter(({text}) => text === ''),
			[]
		)

		// So has each parameter that the form offers.
		const raw = await page.evaluate(async file => {
			const {textsFor} = (await import(file)) as {
				textsFor: (languages: string[]) => {text: (key: string) => string}
			}
			const {pipelines} = (await (await fetch('pipelines')).json()) as {
				pipelines: {parameters?: {name: string}[]}[]
			}
			const names = new Set(
				pipelines.flatMap(({parameters = []}) => parameters.map(({name}) => name))
			)
			return [...names].filter(
				name =>
					textsFor(['en']).text(`label_${name}`) === '' ||
					textsFor(['zh']).text(`label_${name}`) === '' ||
					textsFor(['zh']).text(`hint_${name}`) === ''
			)
		}, `${sluice.http}/texts.js`)
		t.deepEqual(raw, [])
	}
)

test.serial('the keyboard is enough: Enter connects, Escape disconnects', async t => {
	const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
	const {page} = await newPage(t)
	await fetch(`${sluice.http}/pipelines`)
	await page.goto(`${sluice.http}/index.html`)
	await page.waitForFunction(() => document.activeElement?.id === 'rtsp-url')
	t.is(await page.inputValue('#mode'), 'auto')
	t.true(await page.isHidden('#template'), 'a template is of one mode')
	await page.selectOption('#mode', 'jpeg')
	await page.focus('#rtsp-url')
	await page.keyboard.type(camera.url('/mjpeg'))
	await page.keyboard.press('Enter')
	await inState(page, 'live')
	await advances(page)
	await page.keyboard.press('Escape')
	await inState(page, 'idle')
	await sluice.line(line => line['msg'] === 'viewer gone')
	t.true(await page.isHidden('canvas'))

	// Every control can be reached, shows that it has the focus, and has a name.
	await page.waitForSelector('[name=quality]')
	await page.focus('#rtsp-url')
	const seen: {id: string; outlined: boolean; named: boolean}[] = []
	for (let presses = 0; presses < 25 && seen.at(-1)?.id !== 'full_screen'; presses++) {
		await page.keyboard.press('Tab')
		seen.push(
			await page.evaluate(() => {
				const element = (document.activeElement?.shadowRoot?.activeElement ??
					document.activeElement) as HTMLElement & {labels?: NodeListOf<HTMLLabelElement>}
				const name = element.labels?.[0]?.textContent ?? element.ariaLabel ?? element.textContent
				return {
					id: element.id || element.className || element.tagName,
					outlined: getComputedStyle(element).outlineStyle === 'solid',
					named: name.trim() !== ''
				}
			})
		)
	}
	t.deepEqual(
		seen.filter(({outlined, named}) => !outlined || !named),
		[]
	)
	for (const id of [
		'mode',
		'template',
		'connect',
		'parameter-quality',
		'statistics',
		'full_screen'
	])
		t.true(
			seen.some(control => control.id === id),
			id
		)

	// Enter in a parameter connects too, and Disconnect hands the focus on rather than losing it.
	await page.focus('#parameter-quality')
	await page.keyboard.press('Enter')
	await inState(page, 'live')
	await page.focus('#disconnect')
	await page.keyboard.press('Space')
	await inState(page, 'idle')
	t.is(await page.evaluate(() => document.activeElement?.id), 'connect')
})

test.serial('nothing is wider than a small phone', async t => {
	const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
	for (const locale of ['en-GB', 'zh-CN']) {
		const {page} = await newPage(t, {viewport: {width: 320, height: 640}, locale})
		// Where a box hides what does not fit, the document's width would not tell.
		const tooWide = async () =>
			page.evaluate(() =>
				[
					document.documentElement,
					...document.querySelectorAll<HTMLElement>('body :not(input)'),
					...(document
						.querySelector('sluice-player')
						?.shadowRoot?.querySelectorAll<HTMLElement>('*') ?? [])
				]
					.filter(
						element => element.scrollWidth > 320 || element.getBoundingClientRect().right > 320
					)
					.map(element => `${element.tagName} ${element.id} ${element.textContent.slice(0, 40)}`)
			)
		await page.routeWebSocket(/rtsp_url=rtsp%3A%2F%2Fdemo/, socket => {
			socket.send(
				JSON.stringify({error: 'e', code: 'camera_unauthorized', detail: 'x'.repeat(300)})
			)
			void socket.close({code: 4502})
		})
		await page.goto(link(sluice.http, camera.url('/h264'), {max_width: '16384'}))
		await inState(page, 'live')
		await rateShown(page)
		await page.click('summary')
		t.true(await page.isVisible('[name=quality]'))
		t.deepEqual(await tooWide(), [], `${locale}, live`)
		await page.evaluate(
			address => {
				location.href = address
			},
			link(sluice.http, camera.url('/h264', `demo:${'x'.repeat(80)}`))
		)
		await inState(page, 'failed')
		t.deepEqual(await tooWide(), [], `${locale}, failed`)
	}
})

test.serial(
	'a busy page skips pictures and stays in the present; a hidden one draws none',
	async t => {
		const [camera, sluice] = await Promise.all([startCamera(t, cameraFlags), startSluice(t)])
		const {page} = await newPage(t)
		await page.goto(link(sluice.http, camera.url('/h264')))
		await inState(page, 'live')
		await page.evaluate(() => {
			const block = () => {
				const endMs = performance.now() + 120
				while (performance.now() < endMs);
				setTimeout(block)
			}
			block()
		})
		// Most pictures find the page busy. One that took them in turn would drop none, and get later with each; how late it is, bench/ measures.
		await droppedIs(page, 100)
		await clockAfter(page, monotonicMs())

		const hidden = await newPage(t)
		await hidden.page.goto(link(sluice.http, camera.url('/h264')))
		await inState(hidden.page, 'live')
		await advances(hidden.page)
		await hidden.page.evaluate(() => {
			Object.defineProperty(document, 'hidden', {value: true, configurable: true})
		})
		await droppedIs(hidden.page, 20)
		const clocks = await hidden.page.evaluate(() => window.cameraClock())
		await droppedIs(hidden.page, 40)
		t.is(await hidden.page.evaluate(() => window.cameraClock()), clocks)
		await hidden.page.evaluate(() => {
			Object.defineProperty(document, 'hidden', {value: false, configurable: true})
		})
		await advances(hidden.page)
	}
)

test.serial(
	'a broken image is skipped; without a list of templates one can connect all the same',
	async t => {
		const sluice = await startSluice(t)
		const {page} = await newPage(t)
		await page.route('**/pipelines', async route => route.fulfill({status: 500, body: 'not JSON'}))
		const connected = new Promise<WebSocketRoute>(resolve => {
			void page.routeWebSocket(/\/ws\/stream/, resolve)
		})
		await page.goto(`${sluice.http}/index.html`)
		await page.waitForFunction(() => document.getElementById('list-note')?.hidden === false)
		t.regex((await page.textContent('#list-note')) ?? '', /could not be loaded/)
		await page.fill('#rtsp-url', 'rtsp://cam/x')
		await page.selectOption('#mode', 'jpeg')
		await page.click('#connect')
		const socket = await connected
		t.deepEqual(Object.fromEntries(new URL(socket.url()).searchParams), {rtsp_url: 'rtsp://cam/x'})
		const image = await jpegImage(page, 48, 24)
		socket.send(Buffer.from('no JPEG'))
		socket.send(image.subarray(0, 40))
		t.true(await page.isHidden('canvas'))
		socket.send(image)
		await inState(page, 'live')
		await page.waitForFunction(
			() => document.getElementById('resolution')?.textContent === '48 × 24'
		)
	}
)

test.serial(
	'images that the browser cannot draw are said to be such, where there is no other',
	async t => {
		const sluice = await startSluice(t)
		const {page} = await newPage(t)
		await page.routeWebSocket(/\/ws\/stream/, socket => {
			const timer = setInterval(() => {
				socket.send(Buffer.from('no JPEG'))
			}, 50)
			socket.onClose(() => {
				clearInterval(timer)
			})
		})
		await page.goto(link(sluice.http, 'rtsp://cam/x'))
		await inState(page, 'reconnecting')
		t.is(await page.textContent('#message-title'), 'This browser cannot decode the camera’s video.')
	}
)

test.serial('each loss makes the pause longer, to 30 s at most; some errors end it', async t => {
	const sluice = await startSluice(t)
	const {page} = await newPage(t)
	await page.clock.install()
	let attempts = 0
	const codes = [...Array<string>(8).fill('camera_lost'), 'camera_unauthorized']
	await page.routeWebSocket(/\/ws\/stream/, socket => {
		const code = codes[attempts++]
		socket.send(JSON.stringify({error: 'e', code, detail: `<b>try ${attempts}</b>`}))
		void socket.close({code: 4502})
	})
	await page.goto(link(sluice.http, 'rtsp://cam/x'))
	const pauses: number[] = []
	for (let attempt = 1; attempt <= 8; attempt++) {
		await page.waitForFunction(
			text => document.getElementById('detail')?.textContent === text,
			`<b>try ${attempt}</b>`
		)
		const seconds = /^Next try in (\d+) s\.$/.exec(
			(await page.textContent('#countdown')) ?? ''
		)?.[1]
		pauses.push(Number(seconds))
		// Neither a network that came back nor a person waits for the end of the pause.
		if (attempt === 7) await page.evaluate(() => dispatchEvent(new Event('online')))
		else if (attempt < 7) await page.clock.fastForward(31_000)
	}
	t.deepEqual(pauses.slice(0, 1), [1])
	for (const [index, seconds] of pauses.entries()) {
		const full = Math.min(30, 2 ** index)
		t.true(seconds >= 0.65 * full && seconds <= full, `pause ${index + 1}: ${seconds} s`)
	}
	t.is(attempts, 8)
	await page.focus('#try-now')
	await page.keyboard.press('Enter')
	await inState(page, 'failed')
	t.is(
		await page.evaluate(() => document.activeElement?.id),
		'connect',
		'the keyboard’s place is not lost with the button'
	)
	await page.clock.fastForward(60_000)
	t.is(attempts, 9, 'nobody guesses passwords by itself')
	t.is(await page.locator('#detail b').count(), 0, 'what the server says is text')
})

test.serial(
	'a camera that has played is waited for, also when it says for a while that it has no such stream; the picture tells its age',
	async t => {
		const sluice = await startSluice(t)
		const {page} = await newPage(t)
		await page.clock.install()
		const server = new EventEmitter<{socket: [WebSocketRoute]}>()
		await page.routeWebSocket(/\/ws\/stream/, socket => {
			server.emit('socket', socket)
		})
		const next = async () => ((await once(server, 'socket')) as [WebSocketRoute])[0]
		let coming = next()
		await page.goto(link(sluice.http, 'rtsp://cam/x'))
		let socket = await coming
		const image = await jpegImage(page, 48, 24)
		socket.send(image)
		await inState(page, 'live')
		const away = async () => {
			socket.send(JSON.stringify({error: 'e', code: 'camera_not_found', detail: '404'}))
			void socket.close({code: 4502})
			await page.waitForFunction(
				() =>
					document.body.dataset['state'] === 'reconnecting' &&
					document.getElementById('retry')?.hidden === false &&
					/\d/.test(document.getElementById('countdown')?.textContent ?? '')
			)
			coming = next()
			await page.clock.fastForward(31_000)
			socket = await coming
		}
		await away()
		await away()
		// The try has begun just now; the picture is of two pauses ago.
		await page.clock.runFor(1000)
		t.regex((await page.textContent('sluice-player .age')) ?? '', /, 6\d s old$/)
		socket.send(image)
		await inState(page, 'live')
	}
)

test.serial('only ten seconds of live picture make the pauses short again', async t => {
	const sluice = await startSluice(t)
	const {page} = await newPage(t)
	await page.clock.install()
	const server = new EventEmitter<{socket: [WebSocketRoute]}>()
	await page.routeWebSocket(/\/ws\/stream/, socket => {
		server.emit('socket', socket)
	})
	const first = once(server, 'socket')
	await page.goto(link(sluice.http, 'rtsp://cam/x'))
	let [socket] = (await first) as [WebSocketRoute]
	const image = await jpegImage(page, 48, 24)
	/** Is live for this long, loses the camera, and tells the pause that follows, in seconds. */
	const pauseAfterLive = async (liveMs: number) => {
		socket.send(image)
		await inState(page, 'live')
		await page.clock.fastForward(liveMs)
		socket.send(image)
		void socket.close({code: 4502})
		await inState(page, 'reconnecting')
		const seconds = Number(/\d+/.exec((await page.textContent('#countdown')) ?? '')?.[0])
		const next = once(server, 'socket')
		await page.clock.fastForward(31_000)
		;[socket] = (await next) as [WebSocketRoute]
		return seconds
	}
	const pauses = [
		await pauseAfterLive(1),
		await pauseAfterLive(9000),
		await pauseAfterLive(9000),
		await pauseAfterLive(9000)
	]
	t.true((pauses[3] ?? 0) >= 5, `after short pictures: ${pauses.join(', ')} s`)
	t.is(await pauseAfterLive(10_500), 1)
	t.is(await page.textContent('#message-title'), 'The camera’s video stopped.')
})
