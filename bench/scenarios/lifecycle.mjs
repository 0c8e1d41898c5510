/** How soon what died is there again, what is not wanted any more has ended, and what others notice of it. */
import {setTimeout as pause} from 'node:timers/promises'
import {processTree} from '../processes.mjs'
import {chosenOf, withCamera, withServer} from '../serving.mjs'
import {nowMs, percentile, spread} from '../statistics.mjs'
import {range, table} from '../table.mjs'
import {startViewers} from '../watch.mjs'

const STRETCH_MS = 5000
/** What the README promises, or the server's own deadlines say: figures are told as shares of these. */
const PROMISED = {pipelineEndMs: 1000, stopMs: 5000, silenceMs: 14_000}
const PATIENCE_MS = 30_000

export const lifecycle = {
	id: 'lifecycle',
	title: 'Restarts and ends',
	about: `Of two viewers with a pipeline each, the worker of one is killed. "Seen again" is its viewer's gap without the pause that Sluice makes before it tries again, as a multiple of the first frame of a cold start; the neighbour's longest gap in the ${STRETCH_MS / 1000} s around it is a multiple of that in as long a stretch before. Then a viewer leaves, one vanishes (it reads nothing and answers no ping), and the server is asked to stop while somebody watches and somebody else does not read.`,

	/** @param {import('../serving.mjs').Run} run */
	async measure(run) {
		const results = {}
		for (const contender of chosenOf(run, 'sluice')) {
			const rounds = []
			for (let round = 0; round < (run.settings.quick ? 1 : 5); round++) {
				run.say(`${contender.title}, round ${round + 1}`)
				const figures = {}
				for (const act of [killed, left, stopped]) {
					Object.assign(
						figures,
						await withCamera({width: 640, height: 360}, camera =>
							withServer(contender, run, {camera}, async server => act(server, camera, run))
						)
					)
				}
				rounds.push(figures)
			}
			results[contender.id] = {title: contender.title, rounds}
		}
		return {results}
	},

	tables({results}) {
		const of = (rounds, name) => range(spread(rounds.map(round => round[name])), 2)
		return [
			table(
				[
					'',
					'seen again, of a cold start, ×',
					"neighbour's longest gap, of that before, ×",
					'pipeline ends, of 1 s',
					'vanished viewer noticed, of 14 s',
					'server stops, of 5 s'
				],
				Object.values(results).map(({title, rounds}) => [
					title,
					of(rounds, 'seenAgain'),
					of(rounds, 'neighbourGap'),
					of(rounds, 'pipelineEnd'),
					of(rounds, 'vanished'),
					of(rounds, 'stop')
				])
			)
		]
	},

	targets({results: {sluice}}) {
		const median = name => sluice && spread(sluice.rounds.map(round => round[name])).median
		return [
			{
				title: "killed worker: seen again after its pause, of a cold start's first frame",
				unit: '×',
				atMost: 2,
				value: median('seenAgain'),
				digits: 2
			},
			{
				title: "killed worker: its neighbour's longest gap, of that before",
				unit: '×',
				atMost: 2,
				value: median('neighbourGap'),
				digits: 2
			},
			{
				title: 'viewer leaves: its pipeline ends, of 1 s',
				unit: '×',
				atMost: 1,
				value: median('pipelineEnd'),
				digits: 2
			},
			{
				title: 'viewer vanishes: noticed, of 14 s of silence',
				unit: '×',
				atMost: 1.3,
				value: median('vanished'),
				digits: 2
			},
			{
				title: 'SIGTERM: the server stops, of 5 s',
				unit: '×',
				atMost: 1,
				value: median('stop'),
				digits: 2
			}
		]
	}
}

function longestGap(arrivals, fromMs, toMs) {
	const within = arrivals.filter(ms => ms >= fromMs && ms < toMs)
	return percentile(
		within.slice(1).map((ms, index) => ms - within[index]),
		1
	)
}

async function killed(server, camera, {directory}) {
	const watched = server.url(camera.url)
	const victim = await startViewers(watched, {directory, keepers: 0})
	const {worker} = await server.log(({msg}) => msg === 'playing')
	const neighbour = await startViewers(watched, {directory, keepers: 0})
	await pause(1000)
	const beforeMs = nowMs()
	await pause(STRETCH_MS)
	const killedMs = nowMs()
	process.kill(worker, 'SIGKILL')
	const {pauseMs} = await server.log(({msg}) => msg === 'retrying')
	await pause(STRETCH_MS)
	const endMs = nowMs()
	const [gone, steady] = await Promise.all(
		[victim, neighbour].map(async viewer =>
			(await viewer.result())[0].frames.map(({arrivalMs}) => arrivalMs)
		)
	)
	// Frames of the old worker may still come right behind its end.
	const gapMs = longestGap(gone, killedMs - 1000, endMs)
	return {
		seenAgain: (gapMs - pauseMs) / victim.firstFrameMs[0],
		neighbourGap: longestGap(steady, killedMs, endMs) / longestGap(steady, beforeMs, killedMs)
	}
}

/** From the viewer's going to the end of its worker's process. */
async function left(server, camera, {directory}) {
	const viewer = await startViewers(server.url(camera.url), {directory, keepers: 0})
	const {worker} = await server.log(({msg}) => msg === 'playing')
	const leftMs = nowMs()
	await viewer.result()
	while (processTree(server.pid).includes(worker)) {
		if (nowMs() - leftMs > PATIENCE_MS)
			throw new Error(`The worker runs ${PATIENCE_MS / 1000} s after its viewer.`)
		await pause(5)
	}
	return {pipelineEnd: (nowMs() - leftMs) / PROMISED.pipelineEndMs}
}

/** One viewer watches; another one has stopped reading, until it is noticed, and a third one has just then. */
async function stopped(server, camera, {directory}) {
	const watched = server.url(camera.url)
	const stop = {afterMs: 500, forMs: PATIENCE_MS * 2}
	await startViewers(watched, {directory, keepers: 0})
	const vanishing = await startViewers(watched, {directory, keepers: 0, stop})
	const {atMs} = await vanishing.line(({event}) => event === 'stopped')
	await server.log(({msg}) => msg === 'viewer vanished', PATIENCE_MS)
	const vanished = (nowMs() - atMs) / PROMISED.silenceMs
	const deaf = await startViewers(watched, {directory, keepers: 0, stop})
	await deaf.line(({event}) => event === 'stopped')
	const startMs = nowMs()
	await server.stop()
	return {vanished, stop: (nowMs() - startMs) / PROMISED.stopMs}
}
