/** A viewer that comes to a shared stream which runs already: when does it see its first picture? */
import {setTimeout as pause} from 'node:timers/promises'
import {WebSocket} from 'ws'
import {clocksOf, latencyMs} from '../clock.mjs'
import {chosenOf, withCamera, withServer} from '../serving.mjs'
import {nowMs, percentile} from '../statistics.mjs'
import {number, table} from '../table.mjs'
import {startViewers} from '../watch.mjs'

/** Longer than an interval between frames, and of no fixed phase to it. */
const pauseMs = () => 100 + Math.random() * 100

export const lateViewer = {
	id: 'late-viewer',
	title: 'A late viewer of a stream that runs',
	about:
		'Sluice with `--share` and one viewer that watches all the time. Others come one after the other, at any moment between two frames: the time from connecting to the first whole picture, and how old that picture is.',

	/** @param {import('../serving.mjs').Run} run */
	async measure(run) {
		const count = run.settings.quick ? 10 : 40
		const results = {}
		for (const contender of chosenOf(run, 'sluice')) {
			run.say(contender.title)
			results[contender.id] = await withCamera({}, camera =>
				withServer(contender, run, {flags: ['--share'], camera}, async server => {
					const steady = await startViewers(server.url(camera.url), {
						directory: run.directory,
						keepers: 0
					})
					const seen = []
					for (let index = 0; index < count; index++) {
						await pause(pauseMs())
						seen.push(await firstPicture(server.url(camera.url)))
					}
					await steady.result()
					const clocks = await clocksOf(
						seen.map(({image}) => image),
						run.directory
					)
					return {
						title: contender.title,
						count,
						firstMs: seen.map(({ms}) => ms),
						ageMs: seen.flatMap(({arrivalMs}, index) =>
							clocks[index] === null ? [] : latencyMs(arrivalMs, clocks[index])
						)
					}
				})
			)
		}
		return {results}
	},

	tables({results}) {
		return [
			table(
				[
					'',
					'late viewers',
					'first picture, median, ms',
					'p95, ms',
					'most, ms',
					'its age, median, ms',
					'most, ms'
				],
				Object.values(results).map(({title, count, firstMs, ageMs}) => [
					title,
					String(count),
					...[0.5, 0.95, 1].map(share => number(percentile(firstMs, share), 1)),
					...[0.5, 1].map(share => number(percentile(ageMs, share), 1))
				])
			)
		]
	},

	targets({results: {sluice}}) {
		return [
			{
				title: 'late viewer of a shared stream: first picture, p95',
				unit: 'ms',
				atMost: 50,
				value: sluice && percentile(sluice.firstMs, 0.95),
				digits: 1
			}
		]
	}
}

async function firstPicture(url) {
	const startMs = nowMs()
	const socket = new WebSocket(url, {perMessageDeflate: false})
	return new Promise((resolve, reject) => {
		socket.once('error', reject)
		socket.once('close', code => {
			reject(new Error(`closed with ${code} before a picture`))
		})
		socket.once('message', (image, isBinary) => {
			const arrivalMs = nowMs()
			socket.terminate()
			if (isBinary) resolve({ms: arrivalMs - startMs, arrivalMs, image})
			else reject(new Error(image.toString()))
		})
	})
}
