/** One picture over HTTP, of a camera that others watch already. */
import {once} from 'node:events'
import http from 'node:http'
import {setTimeout as pause} from 'node:timers/promises'
import {clocksOf, latencyMs} from '../clock.mjs'
import {chosenOf, withCamera, withServer} from '../serving.mjs'
import {nowMs, percentile} from '../statistics.mjs'
import {number, table} from '../table.mjs'
import {startViewers} from '../watch.mjs'

const pauseMs = () => 100 + Math.random() * 100
const KINDS = [
	{id: 'next', title: 'the next picture (`/snapshot.jpg`)', parameters: {}},
	{
		id: 'kept',
		title: 'one of the last second (`max_age_ms=1000`)',
		parameters: {max_age_ms: '1000'}
	}
]

export const snapshot = {
	id: 'snapshot',
	title: 'A snapshot of a stream that runs',
	about:
		'Sluice with `--share` and one viewer that watches all the time. `GET /snapshot.jpg`, each over a connection of its own: the time from connecting to the last byte. Without `max_age_ms` it waits for a picture taken after the request, so for up to one interval between frames (33 ms).',

	/** @param {import('../serving.mjs').Run} run */
	async measure(run) {
		const count = run.settings.quick ? 10 : 30
		const results = {}
		for (const contender of chosenOf(run, 'sluice')) {
			run.say(contender.title)
			await withCamera({}, camera =>
				withServer(contender, run, {flags: ['--share'], camera}, async server => {
					const steady = await startViewers(server.url(camera.url), {
						directory: run.directory,
						keepers: 0
					})
					for (const {id, title, parameters} of KINDS) {
						const url = `${server.http}/snapshot.jpg?${new URLSearchParams({rtsp_url: camera.url, ...parameters})}`
						const taken = []
						for (let index = 0; index < count; index++) {
							await pause(pauseMs())
							taken.push(await take(url))
						}
						const clocks = await clocksOf(
							taken.map(({image}) => image),
							run.directory
						)
						results[id] = {
							title,
							count,
							ms: taken.map(({ms}) => ms),
							ageMs: taken.flatMap(({arrivalMs}, index) =>
								clocks[index] === null ? [] : latencyMs(arrivalMs, clocks[index])
							)
						}
					}
					await steady.result()
				})
			)
		}
		return {results}
	},

	tables({results}) {
		return [
			table(
				['', 'snapshots', 'median, ms', 'p95, ms', 'most, ms', 'its age, median, ms', 'most, ms'],
				Object.values(results).map(({title, count, ms, ageMs}) => [
					title,
					String(count),
					...[0.5, 0.95, 1].map(share => number(percentile(ms, share), 1)),
					...[0.5, 1].map(share => number(percentile(ageMs, share), 1))
				])
			)
		]
	},

	targets({results}) {
		return KINDS.map(({id, title}) => ({
			title: `snapshot of a running stream, ${title}: p95`,
			unit: 'ms',
			atMost: 50,
			value: results[id] && percentile(results[id].ms, 0.95),
			digits: 1
		}))
	}
}

async function take(url) {
	const startMs = nowMs()
	const [response] = await once(http.get(url, {agent: false}), 'response')
	const parts = []
	for await (const part of response) parts.push(part)
	const arrivalMs = nowMs()
	const image = Buffer.concat(parts)
	if (response.statusCode !== 200)
		throw new Error(`${url} answered ${response.statusCode} ${image.toString()}`)
	return {ms: arrivalMs - startMs, arrivalMs, image}
}
