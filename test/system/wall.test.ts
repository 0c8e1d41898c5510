import test from 'ava'
import type {SluicePlayer} from '../../player/sluice-player.js'
import {cameraFlags, clockAfter, launchBrowser, newPage} from '../support/browser.js'
import {startCamera, startSluice} from '../support/processes.js'

test('sixteen tiles of 360p, each with a pipeline of its own: all play, and none is lost', async t => {
	t.timeout(240_000)
	const browser = await launchBrowser()
	t.teardown(async () => browser.close())
	const [camera, sluice] = await Promise.all([
		startCamera(t, [...cameraFlags, '--fps', '15']),
		startSluice(t)
	])
	const {page, errors} = await newPage(t, browser, {viewport: {width: 1600, height: 900}})
	const wanted = new URLSearchParams()
	for (let index = 1; index <= 16; index++) {
		wanted.append('rtsp_url', camera.url('/h264'))
		wanted.append('name', `camera ${index}`)
	}
	await page.goto(`${sluice.http}/wall.html#${wanted.toString()}`)
	const frames = async () =>
		page.evaluate(() =>
			[...document.querySelectorAll<SluicePlayer>('.tile sluice-player')].map(
				({state, statistics}) => ({state: state.name, fps: statistics.fps ?? 0})
			)
		)
	await page.waitForFunction(
		() =>
			[...document.querySelectorAll<SluicePlayer>('.tile sluice-player')].filter(
				({state}) => state.name === 'live'
			).length === 16,
		null,
		{timeout: 120_000}
	)
	await page.evaluate(() => {
		const left: string[] = []
		Object.assign(window, {left})
		for (const player of document.querySelectorAll<SluicePlayer>('.tile sluice-player'))
			player.addEventListener('statechange', ({detail}) => {
				left.push(detail.name)
			})
	})
	// Each tile has moved on for ten seconds of the camera's clock.
	const players = await page.locator('.tile sluice-player').count()
	t.is(players, 16)
	await clockAfter(page, (await clockAfter(page)) + 10_000)
	const seen = await frames()
	// How many frames a second these are, beside other tests, is the machine's affair; bench/scenarios/wall.mjs measures it.
	t.deepEqual(
		seen.filter(({state, fps}) => state !== 'live' || fps < 1),
		[],
		JSON.stringify(seen)
	)
	t.deepEqual(
		await page.evaluate(() => (window as unknown as {left: string[]}).left),
		[],
		'no tile has left its picture meanwhile'
	)
	t.deepEqual(errors, [])
	t.log(`frames a second: ${seen.map(({fps}) => Math.round(fps)).join(' ')}`)
})
