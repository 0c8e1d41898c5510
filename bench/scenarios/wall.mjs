/** Sluice's wall in Chromium: many cameras in one page, each with a pipeline of its own. */
import {setTimeout as pause} from 'node:timers/promises'
import {launchBrowser} from '../browser.mjs'
import {cpuSeconds} from '../processes.mjs'
import {chosenOf, withCamera, withServer} from '../serving.mjs'
import {nowMs, percentile} from '../statistics.mjs'
import {number, table} from '../table.mjs'

const CAMERA = {width: 640, height: 360, fps: 15, kbit: 500}
const TILES = 16
/** The player's rates are means of three seconds. */
const SETTLE_SECONDS = 4
const LIVE_TIMEOUT_MS = 60_000

export const wall = {
	id: 'wall',
	title: 'A wall of sixteen cameras',
	about: `Sluice's page \`wall.html\` in Debian's Chromium without a GPU, 1600x900, with ${TILES} tiles of ${CAMERA.width}x${CAMERA.height}, ${CAMERA.fps} frames a second: one camera's stream ${TILES} times, each with a pipeline of its own, in the mode that the player finds by itself. All are live when the last tile shows its first picture, counted from the call of the page. A tile is lost where its player's state is not \`live\` all the time after that. Chromium decodes and draws all of it on the same two cores.`,

	/** @param {import('../serving.mjs').Run} run */
	async measure(run) {
		const seconds = run.settings.quick ? 5 : 15
		const [contender] = chosenOf(run, 'sluice')
		if (!contender) return {seconds, tiles: []}
		run.say(`${TILES} tiles`)
		const browser = await launchBrowser(run)
		try {
			return {
				seconds,
				...(await withCamera(CAMERA, camera =>
					withServer(contender, run, {flags: ['--webrtc-port', '0']}, async server =>
						watch(browser, server, camera.url, seconds)
					)
				))
			}
		} finally {
			await browser.close()
		}
	},

	tables({tiles, allLiveMs, cpuCores}) {
		if (tiles.length === 0) return []
		const fps = tiles.map(tile => tile.fps)
		const modes = [...new Set(tiles.map(({mode}) => mode))].map(
			mode => `${mode}: ${tiles.filter(tile => tile.mode === mode).length}`
		)
		return [
			table(
				[
					'tiles',
					'all live after, ms',
					'modes',
					'frames a second, the slowest tile',
					'median',
					'tiles lost',
					"server's CPU, cores"
				],
				[
					[
						String(tiles.length),
						number(allLiveMs),
						modes.join(', '),
						number(Math.min(...fps), 1),
						number(percentile(fps, 0.5), 1),
						String(lostOf(tiles)),
						number(cpuCores, 2)
					]
				]
			)
		]
	},

	targets({tiles}) {
		return [
			{
				title: `wall of ${TILES} cameras, ${CAMERA.width}x${CAMERA.height} at ${CAMERA.fps} frames a second: frames a second of the slowest tile`,
				unit: '',
				atLeast: CAMERA.fps - 1,
				value: tiles.length === 0 ? undefined : Math.min(...tiles.map(({fps}) => fps)),
				digits: 1
			},
			{
				title: `wall of ${TILES} cameras: tiles lost`,
				unit: '',
				atMost: 0,
				value: tiles.length === 0 ? undefined : lostOf(tiles),
				digits: 0
			}
		]
	}
}

const lostOf = tiles => tiles.filter(({left}) => left).length

async function watch(browser, server, url, seconds) {
	const tab = await browser.newPage({viewport: {width: 1600, height: 900}})
	const wanted = new URLSearchParams(
		Array.from({length: TILES}, (_, index) => [
			['rtsp_url', url],
			['name', `camera ${index + 1}`]
		]).flat()
	)
	const calledMs = nowMs()
	await tab.goto(`${server.http}/wall.html#${wanted}`)
	await tab.waitForFunction(
		count => {
			const players = [...document.querySelectorAll('.tile sluice-player')]
			return players.length === count && players.every(({state}) => state.name === 'live')
		},
		TILES,
		{timeout: LIVE_TIMEOUT_MS}
	)
	const allLiveMs = nowMs() - calledMs
	await tab.evaluate(observe)
	await pause(SETTLE_SECONDS * 1000)
	await tab.evaluate(() => {
		for (const tile of window.tiles) tile.fps = []
	})
	const [fromMs, cpuBefore] = [nowMs(), cpuSeconds(server.pid)]
	await pause(seconds * 1000)
	const [toMs, cpuAfter] = [nowMs(), cpuSeconds(server.pid)]
	const seen = await tab.evaluate(() =>
		window.tiles.map(({player: {state}, fps, left}) => ({
			mode: state.mode,
			fps,
			left: left || state.name !== 'live'
		}))
	)
	await tab.close()
	return {
		allLiveMs,
		tiles: seen.map(({fps, ...tile}) => ({
			...tile,
			fps: fps.reduce((sum, value) => sum + value, 0) / fps.length
		})),
		cpuCores: ((cpuAfter - cpuBefore) / (toMs - fromMs)) * 1000
	}
}

/** Runs in the page: notes each tile's rates, and whether it leaves its picture. */
function observe() {
	window.tiles = [...document.querySelectorAll('.tile sluice-player')].map(player => {
		const tile = {player, fps: [], left: player.state.name !== 'live'}
		player.addEventListener('statistics', ({detail: {fps}}) => {
			if (fps !== null) tile.fps.push(fps)
		})
		player.addEventListener('statechange', () => {
			tile.left = true
		})
		return tile
	})
}
