/** Viewers of one camera that have a pipeline each. */
import {setTimeout as pause} from 'node:timers/promises'
import {limit} from '../contenders/limit.mjs'
import {memoryOf} from '../processes.mjs'
import {rateOf, sightOf} from '../sight.mjs'
import {chosenOf, withCamera, withServer} from '../serving.mjs'
import {mean, spread} from '../statistics.mjs'
import {NONE, number, range, table} from '../table.mjs'
import {startViewers} from '../watch.mjs'
import {measureWindow} from '../window.mjs'

const COUNTS = [1, 2, 4, 8]
const SETTLE_SECONDS = 3

export const ownPipelines = {
	id: 'own-pipelines',
	title: 'Viewers with a pipeline each',
	about:
		'Every viewer has a pipeline of its own, as Sluice has it by default, and the OpenCV server always; beside them as many `gst-launch-1.0` with the same elements and no server. CPU is of all processes of a contender. Eight pipelines and the camera nearly fill two cores: where a viewer gets fewer than 30 frames a second the machine was full, frames were left out by all, and the ratio of CPU says less.',

	/** @param {import('../serving.mjs').Run} run */
	async measure(run) {
		const seconds = run.settings.quick ? 3 : 6
		const rounds = run.settings.quick ? 1 : 2
		const results = []
		for (let round = 0; round < rounds; round++) {
			for (const count of run.settings.quick ? [1, 8] : COUNTS) {
				const contenders = chosenOf(run, 'limit', 'sluice', 'opencv')
				// Each round the other way round, so that none always has the better moment.
				for (const contender of round % 2 === 0 ? contenders : contenders.toReversed()) {
					run.say(`round ${round + 1} of ${rounds}: ${contender.title}, ${count}`)
					const measureOne = contender.id === 'limit' ? measureLimit : measureServer
					const result = await withCamera({}, camera =>
						measureOne(run, contender, camera, count, {settleSeconds: SETTLE_SECONDS, seconds})
					)
					results.push({round, contender: contender.id, title: contender.title, count, ...result})
				}
			}
		}
		return {seconds, rounds, results}
	},

	tables(data) {
		const {results} = data
		const ids = [...new Set(results.map(({contender}) => contender))]
		const counts = [...new Set(results.map(({count}) => count))]
		const of = (id, count, pick) =>
			range(
				spread(
					results.filter(result => result.contender === id && result.count === count).map(pick)
				),
				2
			)
		const titles = Object.fromEntries(results.map(({contender, title}) => [contender, title]))
		return [
			table(
				['CPU, cores', ...ids.map(id => titles[id]), 'Sluice ÷ gst-launch-1.0', 'Sluice ÷ OpenCV'],
				counts.map(count => [
					`${count} ${count === 1 ? 'viewer' : 'viewers'}`,
					...ids.map(id => of(id, count, ({cpuCores}) => cpuCores)),
					ratioText(data, count, 'limit'),
					ratioText(data, count, 'opencv')
				])
			),
			table(
				[
					'viewers',
					...ids
						.filter(id => id !== 'limit')
						.flatMap(id => [
							`${titles[id]}: frames a second, least`,
							'latency, median, ms',
							'p95, ms',
							'memory, MB'
						])
				],
				counts.map(count => [
					String(count),
					...ids
						.filter(id => id !== 'limit')
						.flatMap(id => {
							const some = results.filter(
								result => result.contender === id && result.count === count
							)
							const median = pick => spread(some.map(pick))?.median
							return [
								number(
									median(({fps}) => fps.least),
									2
								),
								number(
									median(({latencyMs}) => latencyMs.p50),
									1
								),
								number(
									median(({latencyMs}) => latencyMs.p95),
									1
								),
								number(median(({memoryMb}) => memoryMb))
							]
						})
				])
			)
		]
	},

	targets(data) {
		return [
			{
				title: '8 viewers with pipelines of their own: CPU, of 8 gst-launch-1.0',
				unit: '×',
				atMost: 1.15,
				value: ratio(data, 8, 'limit')?.median,
				digits: 2
			},
			{
				title: '8 viewers with pipelines of their own: frames a second, the least',
				unit: '',
				atLeast: 29,
				value: spread(
					data.results
						.filter(({contender, count}) => contender === 'sluice' && count === 8)
						.map(({fps}) => fps.least)
				)?.median,
				digits: 2
			}
		]
	},

	plots({results}) {
		const titles = Object.fromEntries(results.map(({contender, title}) => [contender, title]))
		const counts = [...new Set(results.map(({count}) => count))]
		return [
			{
				name: 'own-pipelines-cpu',
				title: 'Viewers with a pipeline each: CPU',
				x: 'viewers',
				y: 'cores',
				lines: Object.entries(titles).map(([id, title]) => ({
					title,
					points: counts.map(count => [
						count,
						spread(
							results
								.filter(result => result.contender === id && result.count === count)
								.map(({cpuCores}) => cpuCores)
						).median
					])
				}))
			}
		]
	}
}

async function measureLimit(run, _contender, camera, count, lengths) {
	const programs = []
	for (let index = 0; index < count; index++)
		programs.push(await camera.playing(() => limit.start(camera.url)))
	await pause(lengths.settleSeconds * 1000)
	const windows = await Promise.all(
		programs.map(({pid}) => measureWindow(pid, {...lengths, settleSeconds: 0}))
	)
	const memoryMb = programs.reduce((sum, {pid}) => sum + pssOf(pid), 0)
	await Promise.all(programs.map(program => program.stop()))
	return {
		cpuCores: windows.reduce((sum, {cpuCores}) => sum + cpuCores, 0),
		otherCores: windows[0].otherCores,
		stolenCores: windows[0].stolenCores,
		memoryMb
	}
}

async function measureServer(run, contender, camera, count, lengths) {
	return withServer(contender, run, {}, async server => {
		const viewers = await startViewers(server.url(camera.url), {
			directory: run.directory,
			count,
			keepEvery: 2
		})
		const window = await measureWindow(server.pid, lengths)
		const memoryMb = pssOf(server.pid)
		const all = await viewers.result()
		const rates = all.map(({frames}) => rateOf(frames, window))
		const {latencyMs} = sightOf(all[0].frames, all[0].clocks, {...window, fps: camera.fps})
		return {...window, memoryMb, latencyMs, fps: {least: Math.min(...rates), mean: mean(rates)}}
	})
}

const pssOf = pid => memoryOf(pid).reduce((sum, {pssMb}) => sum + pssMb, 0)

/** CPU of Sluice by that of another in the same round, for as many viewers. */
function ratio({results, rounds}, count, other) {
	const cores = (id, round) =>
		results.find(
			result => result.contender === id && result.count === count && result.round === round
		)?.cpuCores
	return spread(
		Array.from({length: rounds}, (_, round) => {
			const [ours, theirs] = [cores('sluice', round), cores(other, round)]
			return ours !== undefined && theirs > 0 ? ours / theirs : undefined
		})
	)
}

function ratioText(data, count, other) {
	const found = ratio(data, count, other)
	return found ? range(found, 2) : NONE
}
