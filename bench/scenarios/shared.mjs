/** Many viewers of one camera that share a pipeline. */
import {memoryOf, tcpBuffersMb} from '../processes.mjs'
import {rateOf, sightOf} from '../sight.mjs'
import {chosenOf, withCamera, withServer} from '../serving.mjs'
import {mean} from '../statistics.mjs'
import {number, table} from '../table.mjs'
import {startViewers} from '../watch.mjs'
import {measureWindow} from '../window.mjs'

const CASES = [
	{count: 1, size: '720p', camera: {}},
	{count: 10, size: '720p', camera: {}},
	{count: 100, size: '720p', camera: {}},
	{count: 300, size: '720p', camera: {}},
	{count: 500, size: '360p', camera: {width: 640, height: 360, kbit: 1500}}
]
const MANY = 300
const QUICK_COUNTS = [1, 100, 300]

export const shared = {
	id: 'shared',
	title: 'Many viewers that share a pipeline',
	about:
		"Sluice with `--share`; every viewer takes all it can get. The viewers are one process that reads their sockets and skips the pixels, for the machine's two cores have to carry camera, server and all viewers; the first one and the last one keep their images, from which the latency is read. CPU is of server and worker. Memory is PSS; what the kernel buffers for all connections of the machine, both their ends, stands apart.",

	/** @param {import('../serving.mjs').Run} run */
	async measure(run) {
		const seconds = run.settings.quick ? 4 : 10
		const results = []
		for (const {count, size, camera: facts} of run.settings.quick
			? CASES.filter(({count}) => QUICK_COUNTS.includes(count))
			: CASES) {
			for (const contender of chosenOf(run, 'sluice')) {
				run.say(`${contender.title}, ${count} viewers at ${size}`)
				results.push(
					await withCamera(facts, camera =>
						withServer(contender, run, {flags: ['--share'], camera}, async server => {
							const viewers = await startViewers(server.url(camera.url), {
								directory: run.directory,
								count,
								keepEvery: 2
							})
							const window = await measureWindow(server.pid, {settleSeconds: 1, seconds: 1})
							const early = memoryOf(server.pid)
							const {byProcess, ...rest} = await measureWindow(server.pid, {
								settleSeconds: 1,
								seconds
							})
							const late = memoryOf(server.pid)
							const kernelMb = tcpBuffersMb()
							const all = await viewers.result()
							return {
								contender: contender.id,
								count,
								size,
								...rest,
								byProcess,
								kernelMb,
								memory: {early, late},
								firstWindowCores: window.cpuCores,
								...crowdFigures(all, rest, camera.fps)
							}
						})
					)
				)
			}
		}
		return {seconds, results}
	},

	tables({results}) {
		return [
			table(
				[
					'viewers',
					'frames a second, mean',
					'frames a second, least',
					'lost, most',
					'longest gap, ms',
					'latency, median, ms',
					'p95, ms',
					'p99, ms',
					'MB/s',
					'CPU, cores',
					'of it the server process',
					'memory of the server process, MB',
					"kernel's buffers, MB"
				],
				results.map(
					({
						count,
						size,
						fps,
						sights,
						lost,
						bytesPerSecond,
						longestGapMs,
						cpuCores,
						byProcess,
						memory,
						kernelMb
					}) => {
						const worst = sights.at(-1)
						return [
							`${count} at ${size}`,
							number(fps.mean, 2),
							number(fps.least, 2),
							number(lost),
							number(longestGapMs),
							number(worst.p50, 1),
							number(worst.p95, 1),
							number(worst.p99, 1),
							number(bytesPerSecond / 1e6),
							number(cpuCores, 2),
							number(byProcess[0].cores, 2),
							`${number(memory.early[0].pssMb)} → ${number(memory.late[0].pssMb)}`,
							number(kernelMb)
						]
					}
				)
			)
		]
	},

	targets({results}) {
		const of = wanted =>
			results.find(({contender, count}) => contender === 'sluice' && count === wanted)
		const [one, many, small] = [of(1), of(MANY), of(500)]
		const server = result => result?.memory.late[0].pssMb
		return [
			{
				title: `${MANY} viewers at 720p: frames a second, mean`,
				unit: '',
				atLeast: 29,
				value: many?.fps.mean,
				digits: 2
			},
			{
				title: `${MANY} viewers at 720p: frames a second, the least`,
				unit: '',
				atLeast: 29,
				value: many?.fps.least,
				digits: 2
			},
			{
				title: `${MANY} viewers at 720p: CPU of server and worker`,
				unit: 'cores',
				atMost: 0.7,
				value: many?.cpuCores,
				digits: 2
			},
			{
				title: `${MANY} viewers at 720p: memory for each viewer`,
				unit: 'MB',
				atMost: 1,
				value: one && many && (server(many) - server(one)) / (MANY - 1),
				digits: 2
			},
			{
				title: '500 viewers at 360p: frames a second, the least',
				unit: '',
				atLeast: 29,
				value: small?.fps.least,
				digits: 2
			}
		]
	},

	plots({results}) {
		const large = results.filter(({size}) => size === '720p')
		return [
			{
				name: 'shared-fps',
				title: 'Viewers that share a 720p30 camera: frames a second',
				x: 'viewers',
				y: 'frames a second',
				lines: [
					{title: 'mean', points: large.map(({count, fps}) => [count, fps.mean])},
					{
						title: 'the viewer with the fewest',
						points: large.map(({count, fps}) => [count, fps.least])
					}
				]
			},
			{
				name: 'shared-cpu',
				title: 'Viewers that share a 720p30 camera: CPU of server and worker',
				x: 'viewers',
				y: 'cores',
				lines: [
					{title: 'server and worker', points: large.map(({count, cpuCores}) => [count, cpuCores])},
					{
						title: 'the server process alone',
						points: large.map(({count, byProcess}) => [count, byProcess[0].cores])
					}
				]
			}
		]
	}
}

function crowdFigures(all, window, fps) {
	const rates = all.map(({frames}) => rateOf(frames, window))
	const sights = all
		.filter(({clocks}) => clocks.length > 0)
		.map(({frames, clocks}) => sightOf(frames, clocks, {...window, fps}))
	return {
		fps: {mean: mean(rates), least: Math.min(...rates), most: Math.max(...rates)},
		bytesPerSecond: all.reduce(
			(sum, {frames}, index) => sum + rates[index] * (frames[0]?.bytes ?? 0),
			0
		),
		longestGapMs: Math.max(...sights.map(({longestGapMs}) => longestGapMs)),
		sights: sights.map(({latencyMs}) => latencyMs),
		lost: Math.max(...sights.map(({lost}) => lost))
	}
}
