/** How soon a failure is told: beside a first picture, or beside the wait that was asked for. */
import {once} from 'node:events'
import net from 'node:net'
import {setTimeout as pause} from 'node:timers/promises'
import {WebSocket} from 'ws'
import {chosenOf, withCamera, withServer} from '../serving.mjs'
import {nowMs, spread} from '../statistics.mjs'
import {number, range, table} from '../table.mjs'

/** What a camera's viewer is told at once, by the path of scripts/camera.py. */
const REFUSALS = [
	{id: 'unauthorized', title: '401', path: '/secret', code: 'camera_unauthorized'},
	{id: 'missing', title: '404', path: '/nothing', code: 'camera_not_found'},
	{id: 'unsupported', title: 'no video', path: '/sound-only', code: 'camera_unsupported'},
	{id: 'refused', title: 'nobody listens', code: 'camera_unreachable'}
]
const OPEN_SECONDS = 1.5
const FRAME_SECONDS = 2
const SNAPSHOT_MS = 700
/** Of a camera that takes a connection and says nothing: GStreamer's own wait, which pipelines/jpeg.gst sets. */
const SILENT_SECONDS = 5
const NEIGHBOUR_MS = 2000
const MOST_BESIDE_PICTURE = 3
const MOST_BESIDE_WAIT = 1.5

export const failures = {
	id: 'failures',
	title: 'How soon a failure is told',
	about:
		"Sluice. What a camera refuses, from the viewer's connecting to the error, beside the first picture of a camera that plays, of the same server and in turn with it. What is told when a wait ends, beside that wait; for a camera that freezes, from its last picture on. And the longest gap between the pictures of one camera while another one is killed, beside the longest one in as many pictures before.",

	/** @param {import('../serving.mjs').Run} run */
	async measure(run) {
		const rounds = run.settings.quick ? 2 : 5
		const results = {}
		const [sluice] = chosenOf(run, 'sluice')
		if (!sluice) return {rounds, results}
		const silent = net
			.createServer(socket => {
				socket.on('error', () => {})
			})
			.listen(0, '127.0.0.1')
		await once(silent, 'listening')
		const silentUrl = `rtsp://127.0.0.1:${silent.address().port}/x`
		// The answer waits for the first look at all templates, for which a server's first viewers would wait too.
		const serve = async (flags, act) =>
			withServer(sluice, run, {flags}, async server => {
				await fetch(`${server.http}/pipelines`)
				return act(server)
			})
		try {
			run.say('refusals')
			results.refusals = await withCamera({}, camera =>
				serve([], server => refusals(server, camera, rounds))
			)
			run.say('waits')
			results.waits = {
				silent: await serve(
					['--open-timeout', '30'],
					async server =>
						(await told(server.url(silentUrl), 'camera_timeout')) / SILENT_SECONDS / 1000
				),
				open: await serve(
					['--open-timeout', String(OPEN_SECONDS)],
					async server =>
						(await told(server.url(silentUrl), 'camera_timeout')) / OPEN_SECONDS / 1000
				),
				snapshot: await serve(
					['--open-timeout', '30'],
					async server =>
						(await late(
							`${server.http}/snapshot.jpg?${new URLSearchParams({rtsp_url: silentUrl, timeout_ms: String(SNAPSHOT_MS)})}`
						)) / SNAPSHOT_MS
				),
				frozen: await withCamera({}, camera =>
					serve(
						['--retry-for', '0', '--frame-timeout', String(FRAME_SECONDS)],
						async server => (await frozen(server, camera)) / FRAME_SECONDS / 1000
					)
				)
			}
			run.say('a neighbour')
			results.neighbour = await withCamera({}, steady =>
				withCamera({}, doomed =>
					serve(['--retry-for', '0'], server => neighbour(server, steady, doomed))
				)
			)
		} finally {
			silent.close()
		}
		return {rounds, results}
	},

	tables({results: {refusals, waits, neighbour}}) {
		if (!refusals) return []
		return [
			table(
				['the camera', 'told after, ms', 'of a first picture, as a multiple'],
				[
					['plays: its first picture', range(spread(refusals.picture), 0), '1'],
					...REFUSALS.map(({id, title}) => [
						title,
						range(spread(refusals[id]), 0),
						number(beside(refusals, id), 2)
					])
				]
			),
			table(
				['the wait', 'told after, as a multiple of it'],
				[
					[`a camera says nothing: ${SILENT_SECONDS} s of GStreamer's`, number(waits.silent, 2)],
					[`the same with \`--open-timeout ${OPEN_SECONDS}\``, number(waits.open, 2)],
					[`a snapshot of it with \`timeout_ms=${SNAPSHOT_MS}\``, number(waits.snapshot, 2)],
					[`a camera freezes, with \`--frame-timeout ${FRAME_SECONDS}\``, number(waits.frozen, 2)]
				]
			),
			table(
				['another camera', 'longest gap between two pictures, ms'],
				[
					['plays', number(neighbour.before)],
					['is killed', number(neighbour.during)]
				]
			)
		]
	},

	targets({results: {refusals, waits, neighbour}}) {
		const all = waits && Object.values(waits)
		return [
			{
				title: 'failures: what a camera refuses, beside a first picture, the most',
				unit: '',
				atMost: MOST_BESIDE_PICTURE,
				value: refusals && Math.max(...REFUSALS.map(({id}) => beside(refusals, id))),
				digits: 2
			},
			{
				title: 'failures: the end of a wait, beside the wait, the most',
				unit: '',
				atMost: MOST_BESIDE_WAIT,
				value: all && Math.max(...all),
				digits: 2
			},
			{
				title: 'failures: the end of a wait, beside the wait, the least',
				unit: '',
				atLeast: 1,
				value: all && Math.min(...all),
				digits: 2
			},
			{
				title: 'failures: longest gap while another camera is killed, beside before',
				unit: '',
				atMost: 3,
				value: neighbour && neighbour.during / neighbour.before,
				digits: 2
			}
		]
	}
}

const beside = (refusals, id) => spread(refusals[id]).median / spread(refusals.picture).median

async function refusals(server, camera, rounds) {
	const seen = Object.fromEntries(['picture', ...REFUSALS.map(({id}) => id)].map(id => [id, []]))
	for (let round = 0; round < rounds; round++) {
		await camera.idle()
		seen.picture.push(await told(server.url(camera.url), undefined))
		for (const {id, path, code} of REFUSALS)
			seen[id].push(
				await told(
					server.url(path === undefined ? 'rtsp://127.0.0.1:1/x' : new URL(path, camera.url).href),
					code
				)
			)
	}
	return seen
}

/** How long until a viewer is told this code, or until its first picture where that is undefined. In ms. */
async function told(url, code) {
	const startMs = nowMs()
	const socket = new WebSocket(url, {perMessageDeflate: false})
	const [data, isBinary] = await once(socket, 'message')
	const tookMs = nowMs() - startMs
	socket.terminate()
	const answer = isBinary ? undefined : JSON.parse(data.toString()).code
	if (answer !== code) throw new Error(`told ${answer}, not ${code}`)
	return tookMs
}

async function late(url) {
	const startMs = nowMs()
	const {status} = await fetch(url)
	if (status !== 504) throw new Error(`answered ${status}, not 504`)
	return nowMs() - startMs
}

/** From the last picture of a camera that freezes to the error. In ms. */
async function frozen(server, camera) {
	const socket = new WebSocket(server.url(camera.url), {perMessageDeflate: false})
	let frames = 0
	let lastMs = 0
	return new Promise((resolve, reject) => {
		socket.on('error', reject)
		socket.on('message', (data, isBinary) => {
			if (!isBinary) {
				socket.terminate()
				const {code} = JSON.parse(data.toString())
				if (code === 'camera_lost') resolve(nowMs() - lastMs)
				else reject(new Error(`told ${code}, not camera_lost`))
				return
			}
			lastMs = nowMs()
			if (++frames === 30) process.kill(camera.pid, 'SIGSTOP')
		})
	})
}

async function neighbour(server, steady, doomed) {
	const viewer = new WebSocket(server.url(steady.url), {perMessageDeflate: false})
	const arrivals = []
	viewer.on('message', () => {
		arrivals.push(nowMs())
	})
	const other = new WebSocket(server.url(doomed.url), {perMessageDeflate: false})
	await once(other, 'message')
	// Its start, and as long before as behind.
	await pause(2 * NEIGHBOUR_MS)
	const killedMs = nowMs()
	process.kill(doomed.pid, 'SIGKILL')
	await once(other, 'close')
	await pause(NEIGHBOUR_MS)
	viewer.terminate()
	const longest = (fromMs, toMs) => {
		const times = arrivals.filter(atMs => atMs >= fromMs && atMs < toMs)
		return Math.max(...times.slice(1).map((atMs, index) => atMs - times[index]))
	}
	return {
		before: longest(killedMs - NEIGHBOUR_MS, killedMs),
		during: longest(killedMs, killedMs + NEIGHBOUR_MS)
	}
}
