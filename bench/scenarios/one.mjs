/** One plain viewer of one camera: the figures that everything else grows from. Contenders take turns. */
import {setTimeout as pause} from 'node:timers/promises'
import {limit} from '../contenders/limit.mjs'
import {figures, ratio, summaryOf} from '../figures.mjs'
import {memoryOf} from '../processes.mjs'
import {chosenOf, withCamera, withServer} from '../serving.mjs'
import {sightOf} from '../sight.mjs'
import {spread} from '../statistics.mjs'
import {NONE, range, table} from '../table.mjs'
import {startViewer, startViewers} from '../watch.mjs'
import {measureWindow} from '../window.mjs'

/** What a server allocates or starts right after it listens is part of what it takes without viewers. */
const IDLE_SECONDS = 2

/** Between connections: a server that prepares the next stream ahead must have had the time that real viewers give it. */
const BETWEEN_CONNECTIONS_SECONDS = 1

/** The viewer keeps every image up to this much, and of a longer run every second, third, … */
const MAX_KEPT_BYTES = 256e6
const USUAL_FRAME_BYTES = 200e3

export const one = {
	id: 'one',
	title: 'One viewer',
	about:
		'One plain viewer (the npm package `ws`, the standard client) of one camera. Median (least – most) of interleaved rounds; every contender once in a round, each round beginning with another.',

	/** @param {import('../serving.mjs').Run} run */
	async measure(run) {
		const {settings} = run
		const chosen = chosenOf(run, 'limit', 'sluice', 'opencv', ...(settings.quick ? [] : ['motion']))
		const cameraDelayMs = []
		const contenders = Object.fromEntries(chosen.map(({id, title}) => [id, {title, rounds: []}]))
		await withCamera({}, async camera => {
			for (let index = 0; index < settings.rounds; index++) {
				cameraDelayMs.push(await camera.delay())
				for (let turn = 0; turn < chosen.length; turn++) {
					const contender = chosen[(index + turn) % chosen.length]
					run.say(`round ${index + 1} of ${settings.rounds}: ${contender.title}`)
					contenders[contender.id].rounds.push(
						await measurements[contender.id](run, contender, camera)
					)
				}
			}
		})
		for (const contender of Object.values(contenders))
			contender.summary = summaryOf(contender.rounds)
		return {settings, cameraDelayMs, contenders}
	},

	tables({cameraDelayMs, contenders}) {
		const shown = Object.values(contenders)
		const {sluice, limit: floor, opencv} = contenders
		const ratios = [
			{title: 'Sluice ÷ gst-launch-1.0', other: floor},
			{title: 'Sluice ÷ OpenCV + FastAPI', other: opencv}
		].filter(({other}) => sluice && other)
		const rows = figures
			.filter(({id}) => shown.some(({summary}) => summary[id]))
			.map(({id, title, unit, digits, compared = true}) => [
				unit ? `${title}, ${unit}` : title,
				...shown.map(({summary}) => range(summary[id], digits)),
				...ratios.map(({other}) =>
					range(compared ? ratio(id, sluice.rounds, other.rounds) : undefined, 2)
				)
			])
		return [
			table(['', ...shown.map(({title}) => title), ...ratios.map(({title}) => title)], rows),
			`Of every latency, ${range(spread(cameraDelayMs.map(({p50}) => p50)), 1)} ms are the camera's own (median; p95 ${range(spread(cameraDelayMs.map(({p95}) => p95)), 1)} ms): from its clock until a client has the picture's last RTP packet.`,
			table(
				['memory by process', 'without viewers', 'with one viewer'],
				shown.map(({title, rounds}) => [
					title,
					processes(rounds.at(-1).memory.idle),
					processes(rounds.at(-1).memory.streaming)
				])
			)
		]
	},

	targets({contenders: {sluice, limit: floor}}) {
		const is = id => sluice?.summary[id]?.median
		const overLimit = sluice && floor && is('firstFrame') - floor.summary.firstFrame.median
		return [
			{
				title: 'one viewer: latency, median',
				unit: 'ms',
				atMost: 20,
				value: is('latencyP50'),
				digits: 1
			},
			{
				title: 'one viewer: latency, p95',
				unit: 'ms',
				atMost: 40,
				value: is('latencyP95'),
				digits: 1
			},
			{
				title: "one viewer: CPU of server and worker, of gst-launch-1.0's",
				unit: '×',
				atMost: 1.2,
				value: sluice && floor && ratio('cpu', sluice.rounds, floor.rounds)?.median,
				digits: 2
			},
			{
				title: "one viewer: first frame after gst-launch-1.0's",
				unit: 'ms',
				atMost: 150,
				value: overLimit,
				digits: 0
			},
			{
				title: 'memory of the server process without viewers',
				unit: 'MB',
				atMost: 120,
				value: is('serverIdle'),
				digits: 0
			},
			{title: 'memory of each worker', unit: 'MB', atMost: 60, value: is('worker'), digits: 0}
		]
	}
}

async function measureLimit({settings}, _contender, camera) {
	const firstFrameMs = []
	for (let taken = 0; taken < settings.firstFrames; taken++) {
		await camera.idle()
		firstFrameMs.push(await limit.measureFirstFrame(camera.url))
	}
	await camera.idle()
	const program = await camera.playing(() => limit.start(camera.url))
	const window = await measureWindow(program.pid, settings)
	const streaming = memoryOf(program.pid)
	await program.stop()
	return {firstFrameMs, window, memory: {streaming}}
}

async function measureServer(run, contender, camera) {
	const {settings, directory} = run
	const keepEvery = Math.ceil(
		((settings.settleSeconds + settings.seconds) * camera.fps * USUAL_FRAME_BYTES) / MAX_KEPT_BYTES
	)
	return withServer(contender, run, {}, async server => {
		const connect = async () => {
			await camera.idle()
			await pause(BETWEEN_CONNECTIONS_SECONDS * 1000)
			return startViewer(server.url(camera.url), {directory, keepEvery})
		}
		await pause(IDLE_SECONDS * 1000)
		const idle = memoryOf(server.pid)
		const firstFrameMs = []
		for (let taken = 1; taken < settings.firstFrames; taken++) {
			const viewer = await connect()
			firstFrameMs.push(viewer.firstFrameMs)
			await viewer.stop()
		}
		const viewer = await connect()
		firstFrameMs.push(viewer.firstFrameMs)
		const window = await measureWindow(server.pid, settings)
		const streaming = memoryOf(server.pid)
		const {frames, clocks} = await viewer.result()
		return {
			firstFrameMs,
			window,
			memory: {idle, streaming},
			sight: sightOf(frames, clocks, {...window, fps: camera.fps})
		}
	})
}

/** Motion plays its camera all the time, and speaks HTTP: its first frame is one of a stream that runs, and is not compared. */
async function measureMotion(run, contender, camera) {
	const {settings, directory} = run
	await camera.idle()
	return withServer(contender, run, {camera}, async server => {
		const viewers = await startViewers(server.url(camera.url), {directory})
		const window = await measureWindow(server.pid, settings)
		const streaming = memoryOf(server.pid)
		const [{frames, clocks}] = await viewers.result()
		return {
			window,
			memory: {streaming},
			sight: sightOf(frames, clocks, {...window, fps: camera.fps})
		}
	})
}

const measurements = {
	limit: measureLimit,
	sluice: measureServer,
	opencv: measureServer,
	motion: measureMotion
}

/** In MB, PSS and the private part of it, of the last round. */
function processes(memory) {
	return (
		memory
			?.map(
				({name, pssMb, privateMb}) =>
					`${name} ${pssMb.toFixed(0)} MB (${privateMb.toFixed(0)} private)`
			)
			.join('<br>') ?? NONE
	)
}
