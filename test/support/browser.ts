import process from 'node:process'
import type {ExecutionContext} from 'ava'
import {type Browser, type BrowserContextOptions, chromium, type Page} from 'playwright-core'
import type {SluicePlayer} from '../../player/sluice-player.js'

declare global {
	interface Window {
		/** The camera's clock in the picture that the first player, or a page without one, shows, in ms; null where there is no whole one. */
		cameraClock: () => number | null
	}
}

/** Small pictures keep the load of the tests small. */
export const cameraFlags = [
	'--width',
	'640',
	'--height',
	'360',
	'--fps',
	'25',
	'--kbit',
	'1000',
	'--key-interval',
	'0.5'
]
const browserFlags = [
	'--no-sandbox',
	'--disable-gpu',
	'--disable-quic',
	'--no-first-run',
	'--disable-background-networking',
	'--disable-component-update',
	'--disable-sync'
]

export const chromiumPath = process.env['CHROMIUM'] ?? '/usr/bin/chromium'

export async function launchBrowser(
	flags: string[] = [],
	executablePath = chromiumPath
): Promise<Browser> {
	return chromium.launch({executablePath, args: [...browserFlags, ...flags]})
}

/** Reads the blocks that scripts/camera.py draws. Runs in the page. */
function defineCameraClock(): void {
	window.cameraClock = () => {
		const player = document.querySelector('sluice-player')
		const surface = player
			? player.shadowRoot?.querySelector<HTMLCanvasElement | HTMLVideoElement>(
					'canvas:not([hidden]), :not(:has(canvas:not([hidden]))) > video:not([hidden])'
				)
			: document.querySelector<HTMLCanvasElement | HTMLVideoElement>('canvas, video')
		if (!surface) return null
		const width = surface instanceof HTMLVideoElement ? surface.videoWidth : surface.width
		if (width === 0) return null
		// camera.py's blocks are 14 pixels wide at the width of 640; the picture may be smaller.
		const size = (14 * width) / 640
		const line = new OffscreenCanvas(width, 1).getContext('2d')
		line?.drawImage(surface, 0, Math.floor(size / 2), width, 1, 0, 0, width, 1)
		const row = line?.getImageData(0, 0, width, 1).data
		if (!row) return null
		const bits = Array.from({length: 42}, (_, index) =>
			(row[Math.floor((index + 0.5) * size) * 4] ?? 0) > 127 ? '1' : '0'
		).join('')
		const bytes = [2, 10, 18, 26, 34].map(start => Number.parseInt(bits.slice(start, start + 8), 2))
		const [a = 0, b = 0, c = 0, d = 0, check] = bytes
		return bits.startsWith('10') && (a ^ b ^ c ^ d) === check
			? Number.parseInt(bits.slice(2, 34), 2)
			: null
	}
}

export interface Opened {
	page: Page
	/** Errors on the console, uncaught ones and violations of the Content-Security-Policy. */
	errors: string[]
}

/** A page of a browser profile of its own, closed with the test. */
export async function newPage(
	t: ExecutionContext,
	browser: Browser,
	options: BrowserContextOptions = {}
): Promise<Opened> {
	const context = await browser.newContext({locale: 'en-GB', ...options})
	t.teardown(async () => context.close())
	context.setDefaultTimeout(60_000)
	const errors: string[] = []
	await context.exposeFunction('reportViolation', (text: string) => errors.push(text))
	await context.addInitScript(() => {
		document.addEventListener('securitypolicyviolation', event => {
			const report = (window as unknown as {reportViolation: (text: string) => void})
				.reportViolation
			report(`${event.violatedDirective} ${event.blockedURI}`)
		})
	})
	await context.addInitScript(defineCameraClock)
	const page = await context.newPage()
	// A browser asks for an icon of a page that names none.
	page.on('console', message => {
		if (message.type() === 'error' && !message.location().url.endsWith('/favicon.ico'))
			errors.push(message.text())
	})
	page.on('pageerror', error => errors.push(error.message))
	return {page, errors}
}

/** Resolves with the clock in the picture once it shows a later time than `after`. */
export async function clockAfter(page: Page, after = 0): Promise<number> {
	const later = await page.waitForFunction(before => {
		const clock = window.cameraClock()
		return clock !== null && clock > before && clock
	}, after)
	return Number(await later.jsonValue())
}

/** Resolves when the picture has moved on by half a second since the call. */
export async function advances(page: Page): Promise<void> {
	await clockAfter(page, (await clockAfter(page)) + 500)
}

/** The machine's monotonic time, which is the camera's clock, in ms. */
export const monotonicMs = () => Number(process.hrtime.bigint() / 1_000_000n)

/** Resolves when the first player's state is one of `names`. */
export async function inState(
	page: Page,
	...names: SluicePlayer['state']['name'][]
): Promise<void> {
	await page.waitForFunction(
		wanted => wanted.includes(document.querySelector('sluice-player')?.state.name ?? 'idle'),
		names
	)
}
