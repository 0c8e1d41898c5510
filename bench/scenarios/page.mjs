/** Sluice's own page in Chromium, idle and with a main thread that is kept busy. */
import {setTimeout as pause} from 'node:timers/promises'
import {compareClocks, defineCameraClock, launchBrowser} from '../browser.mjs'
import {latencyMs} from '../clock.mjs'
import {cpuSeconds, processTree} from '../processes.mjs'
import {chosenOf, withCamera, withServer} from '../serving.mjs'
import {nowMs, percentile} from '../statistics.mjs'
import {number, table} from '../table.mjs'

const CASES = [
	{id: 'idle', title: 'nothing else', busyMs: 0},
	{id: 'busy', title: 'busy for 100 ms per picture', busyMs: 100}
]
/** By itself the page may choose coded video, which it does not draw on a canvas. */
const WANTED = {pipeline: 'jpeg', mode: 'jpeg'}
const SETTLE_SECONDS = 2

export const page = {
	id: 'page',
	title: 'The page in Chromium',
	about:
		"Sluice's page `index.html` in Debian's Chromium without a GPU, showing JPEGs. The camera's clock is read out of the canvas' pixels right after each picture is drawn, which is when its age is taken. Busy: a script keeps the main thread in a loop for 100 ms after every picture that the page draws, so it can draw fewer than ten a second. The two clocks are compared before; that is exact to the \"±\" below.",

	/** @param {import('../serving.mjs').Run} run */
	async measure(run) {
		const seconds = run.settings.quick ? 4 : 10
		const results = {}
		if (chosenOf(run, 'sluice').length === 0) return {seconds, results}
		const browser = await launchBrowser(run)
		try {
			for (const {id, title, busyMs} of CASES) {
				run.say(title)
				results[id] = await withCamera({}, camera =>
					withServer(chosenOf(run, 'sluice')[0], run, {}, async server => ({
						title,
						...(await watch(browser, server, {rtsp_url: camera.url, ...WANTED}, busyMs, seconds))
					}))
				)
			}
		} finally {
			await browser.close()
		}
		return {seconds, results}
	},

	tables({results}) {
		return [
			table(
				[
					'main thread',
					'age when drawn, median, ms',
					'p95, ms',
					'most, ms',
					'pictures drawn a second',
					'unreadable',
					"server's CPU, cores",
					'±, ms'
				],
				Object.values(results).map(({title, ageMs, fps, unreadable, cpuCores, uncertainMs}) => [
					title,
					...[0.5, 0.95, 1].map(share => number(percentile(ageMs, share), 1)),
					number(fps, 1),
					String(unreadable),
					number(cpuCores, 2),
					number(uncertainMs, 1)
				])
			)
		]
	},

	targets({results: {idle, busy}}) {
		return [
			{
				title: 'page, JPEG: age of a picture on the canvas, median',
				unit: 'ms',
				atMost: 50,
				value: idle && percentile(idle.ageMs, 0.5),
				digits: 1
			},
			{
				title: 'page, JPEG, main thread busy for 100 ms per picture: age, the most',
				unit: 'ms',
				atMost: 250,
				value: busy && percentile(busy.ageMs, 1),
				digits: 0
			}
		]
	}
}

async function watch(browser, server, wanted, busyMs, seconds) {
	const tab = await browser.newPage({viewport: {width: 1400, height: 900}})
	await tab.addInitScript(defineCameraClock)
	await tab.addInitScript(instrument, busyMs)
	await tab.goto(`${server.http}/index.html#${new URLSearchParams(wanted)}`)
	await tab.waitForFunction(() => window.drawn.length > 0, undefined, {timeout: 20_000})
	const {offsetMs, uncertainMs} = await compareClocks(tab)
	await pause(SETTLE_SECONDS * 1000)
	const cpu = () => (processTree(server.pid).length > 0 ? cpuSeconds(server.pid) : 0)
	const [fromMs, cpuBefore] = [nowMs(), cpu()]
	await pause(seconds * 1000)
	const [toMs, cpuAfter] = [nowMs(), cpu()]
	const drawn = (await tab.evaluate(() => window.drawn))
		.map(({atMs, clockMs}) => ({atMs: atMs + offsetMs, clockMs}))
		.filter(({atMs}) => atMs >= fromMs && atMs < toMs)
	await tab.close()
	const dated = drawn.filter(({clockMs}) => clockMs !== null)
	return {
		ageMs: dated.map(({atMs, clockMs}) => latencyMs(atMs, clockMs)),
		fps: (drawn.length / (toMs - fromMs)) * 1000,
		unreadable: drawn.length - dated.length,
		cpuCores: ((cpuAfter - cpuBefore) / (toMs - fromMs)) * 1000,
		uncertainMs
	}
}

/** Runs in the page, before its own scripts: notes every picture that is drawn, and keeps the main thread busy after it. */
function instrument(busyMs) {
	const {CanvasRenderingContext2D: Context} = window
	const draw = Context.prototype.drawImage
	window.drawn = []
	Context.prototype.drawImage = function (...args) {
		draw.apply(this, args)
		const clockMs = window.cameraClock(this)
		const atMs = performance.now()
		window.drawn.push({atMs, clockMs})
		while (performance.now() - atMs < busyMs);
	}
}
