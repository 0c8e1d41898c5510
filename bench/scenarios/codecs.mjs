/** One viewer of cameras of each codec and size. */
import {setTimeout as pause} from 'node:timers/promises'
import {limit} from '../contenders/limit.mjs'
import {memoryOf} from '../processes.mjs'
import {chosenOf, withCamera, withServer} from '../serving.mjs'
import {sightOf} from '../sight.mjs'
import {number, table} from '../table.mjs'
import {startViewers} from '../watch.mjs'
import {measureWindow} from '../window.mjs'

const SIZES = [
	{name: '720p', facts: {width: 1280, height: 720, kbit: 4000}},
	{name: '1080p', facts: {width: 1920, height: 1080, kbit: 8000}}
]
/** The template is the one that Sluice takes for such a camera by itself. */
const CODECS = [
	{name: 'H.264', path: 'h264', template: 'jpeg', fps: 30},
	// The camera's encoder takes 50 ms of CPU for a picture of 720p and 100 ms for one of 1080p: two cores give no more.
	{name: 'H.265', path: 'h265', template: 'jpeg', fps: 10},
	{name: 'MJPEG', path: 'mjpeg', template: 'jpeg.mjpeg', fps: 30}
]

export const codecs = {
	id: 'codecs',
	title: 'Codecs and sizes',
	about:
		"One viewer, each codec at 720p (4 Mbit/s) and 1080p (8 Mbit/s; MJPEG at JPEG quality 80), with 30 frames a second, H.265 with 10: more the camera cannot encode on two cores. Of an MJPEG camera Sluice hands the images on untouched, and `gst-launch-1.0` takes them out of RTP; the OpenCV server decodes and encodes them. The camera's encoding is part of the latency, and competes with the server for two cores.",

	/** @param {import('../serving.mjs').Run} run */
	async measure(run) {
		const seconds = run.settings.quick ? 3 : 6
		const lengths = {settleSeconds: 2, seconds}
		const results = []
		for (const {name: size, facts} of run.settings.quick ? SIZES.slice(0, 1) : SIZES) {
			for (const {name: codec, path, template, fps} of CODECS) {
				for (const contender of chosenOf(
					run,
					'limit',
					'sluice',
					...(run.settings.quick ? [] : ['opencv'])
				)) {
					run.say(`${codec} at ${size}: ${contender.title}`)
					const result = await withCamera({...facts, path, fps}, async camera =>
						contender.id === 'limit'
							? measureLimit(camera, template, lengths)
							: measureServer(run, contender, camera, lengths)
					)
					results.push({
						codec,
						size,
						cameraFps: fps,
						contender: contender.id,
						title: contender.title,
						...result
					})
				}
			}
		}
		return {seconds, results}
	},

	tables({results}) {
		const coresOfLimit = ({codec, size}) =>
			results.find(
				result => result.contender === 'limit' && result.codec === codec && result.size === size
			)?.cpuCores
		return [
			table(
				[
					'camera',
					'',
					'latency, median, ms',
					'p95, ms',
					'frames a second',
					'lost',
					'bytes a frame, kB',
					'first frame, ms',
					'CPU, cores',
					"of gst-launch-1.0's, ×",
					'memory, MB'
				],
				results.map(result => {
					const {codec, size, cameraFps, title, sight, firstFrameMs, cpuCores, memoryMb} = result
					return [
						`${codec} ${size}${cameraFps}`,
						title,
						number(sight?.latencyMs.p50, 1),
						number(sight?.latencyMs.p95, 1),
						number(sight?.fps, 1),
						number(sight?.lost),
						number(sight && sight.bytesPerFrame / 1000),
						number(firstFrameMs),
						number(cpuCores, 2),
						number(coresOfLimit(result) && cpuCores / coresOfLimit(result), 2),
						number(memoryMb)
					]
				})
			)
		]
	},

	targets() {
		return []
	}
}

async function measureLimit(camera, template, lengths) {
	const program = await camera.playing(() => limit.start(camera.url, template))
	// The servers' windows begin after their first frames.
	await pause(500)
	const window = await measureWindow(program.pid, lengths)
	const memoryMb = pssOf(program.pid)
	await program.stop()
	return {...window, memoryMb}
}

async function measureServer(run, contender, camera, lengths) {
	return withServer(contender, run, {}, async server => {
		const viewers = await startViewers(server.url(camera.url), {directory: run.directory})
		const window = await measureWindow(server.pid, lengths)
		const memoryMb = pssOf(server.pid)
		const [{frames, clocks}] = await viewers.result()
		return {
			...window,
			memoryMb,
			firstFrameMs: viewers.firstFrameMs[0],
			sight: sightOf(frames, clocks, {...window, fps: camera.fps})
		}
	})
}

const pssOf = pid => memoryOf(pid).reduce((sum, {pssMb}) => sum + pssMb, 0)
