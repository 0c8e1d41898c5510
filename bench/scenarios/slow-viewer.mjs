/** A viewer that takes 2 MB/s of a stream of 5 MB/s, and what its neighbours notice of it. */
import {setTimeout as pause} from 'node:timers/promises'
import {agesOf, rateOf, sightOf} from '../sight.mjs'
import {chosenOf, withCamera, withServer} from '../serving.mjs'
import {nowMs, percentile} from '../statistics.mjs'
import {NONE, number, table} from '../table.mjs'
import {startViewers} from '../watch.mjs'

const BYTES_PER_SECOND = 2e6
const NEIGHBOURS = 2
/** Until then the buffers between server and viewer fill; what follows is the steady state. */
const FILLING_SECONDS = 2

export const slowViewer = {
	id: 'slow-viewer',
	title: 'A viewer held to 2 MB/s',
	about: `One viewer reads 2 MB/s of a stream of 5 MB/s, ${NEIGHBOURS} others beside it as fast as they can, of the same camera and server. How old is a picture when the slow viewer has it? Sluice runs with \`--share\`, so that all hang on one pipeline; the slow one reads a socket of its own kernel slowly, with no link in between.`,

	/** @param {import('../serving.mjs').Run} run */
	async measure(run) {
		const seconds = run.settings.quick ? 6 : 15
		const results = {}
		for (const contender of chosenOf(
			run,
			'sluice',
			'opencv',
			...(run.settings.quick ? [] : ['motion'])
		)) {
			run.say(contender.title)
			results[contender.id] = await withCamera({}, camera =>
				withServer(contender, run, {flags: ['--share'], camera}, async server => {
					const watched = server.url(camera.url)
					const neighbours = await startViewers(watched, {
						directory: run.directory,
						count: NEIGHBOURS,
						keepEvery: 3
					})
					const slow = await startViewers(watched, {
						directory: run.directory,
						bytesPerSecond: BYTES_PER_SECOND
					})
					const window = {fromMs: nowMs()}
					await pause(seconds * 1000)
					window.toMs = nowMs()
					const [seen] = await slow.result()
					return {
						title: contender.title,
						...figuresOf(seen, await neighbours.result(), window, camera.fps)
					}
				})
			)
		}
		return {seconds, results}
	},

	tables({seconds, results}) {
		return [
			table(
				[
					'',
					'age, median, s',
					'age, most, s',
					`age after ${seconds} s, s`,
					'change of the median, first half to second, s',
					'frames a second',
					'neighbours: frames a second, least',
					'neighbours: latency, median / p95, ms'
				],
				Object.values(results).map(({title, age, slowFps, neighbours}) => [
					title,
					number(age.p50 / 1000, 2),
					number(age.max / 1000, 2),
					number(age.last / 1000, 2),
					number((age.secondHalf - age.firstHalf) / 1000, 2),
					number(slowFps, 1),
					number(neighbours.leastFps, 1),
					neighbours.latencyMs.p50 === undefined
						? NONE
						: `${number(neighbours.latencyMs.p50, 0)} / ${number(neighbours.latencyMs.p95, 0)}`
				])
			)
		]
	},

	targets({results: {sluice, opencv}}) {
		return [
			{
				title: 'slow viewer: age of a picture, median',
				unit: 's',
				atMost: 0.4,
				value: sluice && sluice.age.p50 / 1000,
				digits: 2
			},
			{
				title: 'slow viewer: growth of the median age, first half to second',
				unit: 's',
				atMost: 0.1,
				value: sluice && (sluice.age.secondHalf - sluice.age.firstHalf) / 1000,
				digits: 2
			},
			{
				title: "slow viewer: age of the last picture, of the OpenCV server's",
				unit: '×',
				atMost: 0.1,
				value: sluice && opencv && sluice.age.last / opencv.age.last,
				digits: 2
			},
			{
				title: "slow viewer: its neighbours' frames a second, the least",
				unit: '',
				atLeast: 29.5,
				value: sluice?.neighbours.leastFps,
				digits: 2
			}
		]
	},

	plots({results}) {
		return [
			{
				name: 'slow-viewer',
				title: 'A viewer that reads 2 MB/s of 5 MB/s: age of its pictures',
				x: 'seconds',
				y: 'age in seconds',
				lines: Object.values(results).map(({title, ages}) => ({
					title,
					points: ages.map(({atMs, ageMs}) => [atMs / 1000, ageMs / 1000])
				}))
			}
		]
	}
}

function figuresOf(seen, neighbours, window, fps) {
	const ages = agesOf(seen, window.fromMs).filter(({atMs}) => atMs >= 0)
	const steady = ages.filter(({atMs}) => atMs >= FILLING_SECONDS * 1000)
	const middleMs = (FILLING_SECONDS * 1000 + window.toMs - window.fromMs) / 2
	const median = some =>
		percentile(
			some.map(({ageMs}) => ageMs),
			0.5
		)
	return {
		age: {
			p50: median(steady),
			max: percentile(
				steady.map(({ageMs}) => ageMs),
				1
			),
			last: ages.at(-1)?.ageMs,
			firstHalf: median(steady.filter(({atMs}) => atMs < middleMs)),
			secondHalf: median(steady.filter(({atMs}) => atMs >= middleMs))
		},
		slowFps: rateOf(seen.frames, window),
		neighbours: {
			leastFps: Math.min(...neighbours.map(({frames}) => rateOf(frames, window))),
			latencyMs: sightOf(neighbours[0].frames, neighbours[0].clocks, {...window, fps}).latencyMs
		},
		ages
	}
}
