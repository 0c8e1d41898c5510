/** A viewer that stops reading for ten seconds, as a page in a suspended computer does, and then reads on. */
import {setTimeout as pause} from 'node:timers/promises'
import {agesOf, rateOf} from '../sight.mjs'
import {chosenOf, withCamera, withServer} from '../serving.mjs'
import {nowMs, percentile} from '../statistics.mjs'
import {number, table} from '../table.mjs'
import {startViewers} from '../watch.mjs'

const STOPPED_MS = 10_000
const BEFORE_MS = 2000
const AFTER_MS = 4000
const OLD_MS = 500

export const stoppedViewer = {
	id: 'stopped-viewer',
	title: 'A viewer that stops reading for 10 s',
	about: `One viewer reads nothing for 10 s and then reads on, as fast as it can; another one beside it never stops. "Fresh after" is when the first picture was there that was at most ${OLD_MS / 1000} s old, with no older one behind it. Sluice runs with \`--share\`.`,

	/** @param {import('../serving.mjs').Run} run */
	async measure(run) {
		const results = {}
		for (const contender of chosenOf(
			run,
			'sluice',
			...(run.settings.quick ? [] : ['opencv', 'motion'])
		)) {
			run.say(contender.title)
			results[contender.id] = await withCamera({}, camera =>
				withServer(contender, run, {flags: ['--share'], camera}, async server => {
					const watched = server.url(camera.url)
					const neighbour = await startViewers(watched, {directory: run.directory, keepers: 0})
					const stopped = await startViewers(watched, {
						directory: run.directory,
						stop: {afterMs: BEFORE_MS, forMs: STOPPED_MS}
					})
					const fromMs = nowMs()
					const {atMs} = await stopped.line(
						({event}) => event === 'reading',
						BEFORE_MS + STOPPED_MS + 5000
					)
					await pause(AFTER_MS)
					const window = {fromMs, toMs: nowMs()}
					const [seen] = await stopped.result()
					const [{frames}] = await neighbour.result()
					return {
						title: contender.title,
						...figuresOf(agesOf(seen, atMs)),
						neighbourFps: rateOf(frames, window)
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
					'fresh after, ms',
					'pictures older than 0.5 s before',
					'the oldest, s',
					'age of the picture 0.5 s after, s',
					'neighbour: frames a second'
				],
				Object.values(results).map(
					({title, freshAfterMs, oldPictures, oldestMs, ageAtHalfSecondMs, neighbourFps}) => [
						title,
						freshAfterMs === undefined ? `not within ${AFTER_MS / 1000} s` : number(freshAfterMs),
						String(oldPictures),
						number(oldestMs / 1000, 2),
						number(ageAtHalfSecondMs / 1000, 2),
						number(neighbourFps, 1)
					]
				)
			)
		]
	},

	targets({results: {sluice}}) {
		return [
			{
				title: 'stopped viewer: fresh after reading again',
				unit: 'ms',
				atMost: 500,
				value: sluice && (sluice.freshAfterMs ?? AFTER_MS),
				digits: 0
			},
			{
				title: "stopped viewer: its neighbour's frames a second",
				unit: '',
				atLeast: 29.5,
				value: sluice?.neighbourFps,
				digits: 2
			}
		]
	},

	plots({results}) {
		return [
			{
				name: 'stopped-viewer',
				title: 'A viewer that stops reading for 10 s: age of its pictures',
				x: `seconds; it stops at about ${BEFORE_MS / 1000}, and reads again at ${(BEFORE_MS + STOPPED_MS) / 1000}`,
				y: 'age in seconds',
				lines: Object.values(results).map(({title, ages}) => ({
					title,
					points: ages
						.map(({atMs, ageMs}) => [(atMs + BEFORE_MS + STOPPED_MS) / 1000, ageMs / 1000])
						.filter(([x]) => x >= 0)
				}))
			}
		]
	}
}

/** @param {{atMs: number, ageMs: number}[]} all times count from reading again */
function figuresOf(all) {
	const ages = all.filter(({atMs}) => atMs >= 0)
	const lastOld = ages.findLastIndex(({ageMs}) => ageMs > OLD_MS)
	return {
		freshAfterMs: ages[lastOld + 1]?.atMs,
		oldPictures: ages.filter(({ageMs}) => ageMs > OLD_MS).length,
		oldestMs: percentile(
			ages.map(({ageMs}) => ageMs),
			1
		),
		ageAtHalfSecondMs: ages.findLast(({atMs}) => atMs <= 500)?.ageMs,
		ages: all
	}
}
