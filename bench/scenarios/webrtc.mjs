/** Many viewers of one H.264 camera over WebRTC, without browsers: what each costs the server, and what is lost. */
import {setTimeout as pause} from 'node:timers/promises'
import {startNetwork} from '../link.mjs'
import {memoryOf, udpErrors} from '../processes.mjs'
import {chosenOf, withCamera, withServer} from '../serving.mjs'
import {percentile} from '../statistics.mjs'
import {number, table} from '../table.mjs'
import {startWebrtcViewers} from '../watch.mjs'
import {measureWindow} from '../window.mjs'

const COUNTS = [1, 2, 8, 50]
const QUICK_COUNTS = [1, 8, 50]
const [FEW, MANY] = [8, 50]
const PREPARE_SECONDS = 3

export const webrtc = {
	id: 'webrtc',
	title: 'Viewers over WebRTC',
	about:
		"One H.264 camera, passed on as it is to viewers over WebRTC: Sluice with `--share` by WHEP, Janus by its REST interface with an RTSP mountpoint of the same camera (to which the camera sends over UDP, for Janus takes nothing else; to Sluice over TCP). The viewers are one process that decrypts and counts, and shows nothing; a key frame is waited for before the stretch begins. Nothing loses packets on the way, and nothing is asked for twice: a packet is lost where RTP's sequence numbers have a hole, a frame where the numbers have one that the camera's encoder gives its frames.",

	/** @param {import('../serving.mjs').Run} run */
	async measure(run) {
		const seconds = run.settings.quick ? 5 : 12
		const network = await startNetwork()
		const results = []
		try {
			for (const contender of chosenOf(
				run,
				'sluice',
				...(network.impossible === undefined ? ['janus'] : [])
			)) {
				for (const count of run.settings.quick ? QUICK_COUNTS : COUNTS) {
					run.say(`${contender.title}, ${count} viewers`)
					results.push({
						contender: contender.id,
						title: contender.title,
						count,
						...(await measureViewers(run, contender, network, count, seconds))
					})
				}
			}
		} finally {
			await network.stop()
		}
		return {seconds, impossible: network.impossible, results}
	},

	tables({impossible, results}) {
		return [
			...(impossible === undefined
				? []
				: [
						`Without Janus, which takes no loopback address, and no network could be made here (it takes root and /dev/net/tun): ${impossible}`
					]),
			table(
				[
					'',
					'viewers',
					'CPU, cores',
					'for each more than one, cores',
					'by process',
					'frames a second, least',
					'packets lost, all viewers',
					'frames lost, all viewers',
					'longest gap, ms',
					'packets dropped by the kernel at a receiver',
					'at a sender',
					'key frame after, median, ms',
					'most, ms',
					'memory, MB'
				],
				results.map(result => {
					const {
						title,
						count,
						cpuCores,
						byProcess,
						fps,
						lost,
						longestGapMs,
						udp,
						keyFrameMs,
						memoryMb
					} = result
					return [
						title,
						String(count),
						number(cpuCores, 3),
						number(each(results, result), 4),
						byProcess.map(({name, cores}) => `${name} ${cores.toFixed(3)}`).join('<br>'),
						number(fps.least, 2),
						number(lost.packets),
						number(lost.frames),
						number(longestGapMs),
						number(udp.receive),
						number(udp.send),
						number(percentile(keyFrameMs, 0.5)),
						number(percentile(keyFrameMs, 1)),
						number(memoryMb)
					]
				})
			)
		]
	},

	targets({results}) {
		const of = wanted =>
			results.find(({contender, count}) => contender === 'sluice' && count === wanted)
		const [one, few, many] = [of(1), of(FEW), of(MANY)]
		return [
			{
				title: 'WebRTC, one viewer: CPU of server and workers',
				unit: 'cores',
				atMost: 0.04,
				value: one?.cpuCores,
				digits: 3
			},
			{
				title: `WebRTC, ${FEW} viewers: CPU for each more than one`,
				unit: 'cores',
				atMost: 0.01,
				value: few && each(results, few),
				digits: 4
			},
			{
				title: 'WebRTC, one viewer: frames lost',
				unit: '',
				atMost: 0,
				value: one?.lost.frames,
				digits: 0
			},
			{
				title: `WebRTC, ${MANY} viewers: packets lost`,
				unit: '',
				atMost: 0,
				value: many?.lost.packets,
				digits: 0
			},
			{
				title: `WebRTC, ${MANY} viewers: frames lost`,
				unit: '',
				atMost: 0,
				value: many?.lost.frames,
				digits: 0
			},
			{
				title: `WebRTC, ${MANY} viewers: frames a second, the least`,
				unit: '',
				atLeast: 29,
				value: many?.fps.least,
				digits: 2
			}
		]
	},

	plots({results}) {
		const titles = Object.fromEntries(results.map(({contender, title}) => [contender, title]))
		return [
			{
				name: 'webrtc-cpu',
				title: 'Viewers of a 720p30 camera over WebRTC: CPU of the server',
				x: 'viewers',
				y: 'cores',
				lines: Object.entries(titles).map(([id, title]) => ({
					title,
					points: results
						.filter(({contender}) => contender === id)
						.map(({count, cpuCores}) => [count, cpuCores])
				}))
			}
		]
	}
}

async function measureViewers(run, contender, {host, within}, count, seconds) {
	const {settleSeconds} = run.settings
	return withCamera({within}, camera =>
		withServer(
			contender,
			run,
			{flags: ['--share', '--webrtc-port', '0'], host, within, camera},
			async server => {
				// As long as anybody's first viewer may take to come; a server that prepares itself ahead is done by then.
				await pause(PREPARE_SECONDS * 1000)
				const viewers = await startWebrtcViewers(server.webrtc(camera.url), {
					count,
					host,
					within,
					camera
				})
				await pause(settleSeconds * 1000)
				const before = udpErrors(viewers.pid)
				const window = await measureWindow(server.pid, {settleSeconds: 0, seconds})
				const after = udpErrors(viewers.pid)
				const memoryMb = memoryOf(server.pid).reduce((sum, {pssMb}) => sum + pssMb, 0)
				const all = await viewers.result()
				return {
					...window,
					memoryMb,
					keyFrameMs: viewers.keyFrameMs,
					udp: {receive: after.receive - before.receive, send: after.send - before.send},
					...receivedBy(all, window)
				}
			}
		)
	)
}

/** What the viewers of a crowd got in a stretch of time. */
function receivedBy(all, {fromMs, toMs}) {
	const each = all.map(({arrivals, packetsMissing, framesMissing}) => {
		const within = arrivals.flatMap((atMs, index) => (atMs >= fromMs && atMs < toMs ? [index] : []))
		const grown = counts => (within.length > 0 ? counts[within.at(-1)] - counts[within[0]] : 0)
		return {
			fps: (within.length / (toMs - fromMs)) * 1000,
			packets: grown(packetsMissing),
			frames: grown(framesMissing),
			longestGapMs: Math.max(
				0,
				...within.slice(1).map(index => arrivals[index] - arrivals[index - 1])
			)
		}
	})
	const sum = pick => each.reduce((total, viewer) => total + pick(viewer), 0)
	return {
		fps: {least: Math.min(...each.map(({fps}) => fps)), mean: sum(({fps}) => fps) / each.length},
		lost: {packets: sum(({packets}) => packets), frames: sum(({frames}) => frames)},
		longestGapMs: Math.max(...each.map(({longestGapMs}) => longestGapMs))
	}
}

/** What each viewer costs beside the first. */
function each(results, {contender, count, cpuCores}) {
	const one = results.find(result => result.contender === contender && result.count === 1)
	return one && count > 1 ? (cpuCores - one.cpuCores) / (count - 1) : undefined
}
