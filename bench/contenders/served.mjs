/** How a server is measured that sends JPEGs over a WebSocket; contenders differ in how they start. */
import {setTimeout as pause} from 'node:timers/promises'
import {memoryOf} from '../processes.mjs'
import {sightOf} from '../sight.mjs'
import {startViewer} from '../watch.mjs'
import {measureWindow} from '../window.mjs'

/** What a server allocates or starts right after it listens is part of what it takes without viewers. */
const IDLE_SECONDS = 2

/** Between connections: a server that prepares the next stream ahead must have had the time that real viewers give it. */
const BETWEEN_CONNECTIONS_SECONDS = 1

/** The viewer keeps every image up to this much, and of a longer run every second, third, … */
const MAX_KEPT_BYTES = 256e6
const USUAL_FRAME_BYTES = 200e3

/**
 * @param {import('../run.mjs').Round} round
 * @param {{program: {pid: number, stop: () => Promise<void>}, port: number}} server that answers on this port already
 */
export async function measureServed({camera, settings, directory}, {program, port}) {
	const keepEvery = Math.ceil((settings.settleSeconds + settings.seconds) * camera.fps * USUAL_FRAME_BYTES / MAX_KEPT_BYTES)
	const url = `ws://127.0.0.1:${port}/ws/stream?rtsp_url=${encodeURIComponent(camera.url)}`
	const connect = async () => {
		await camera.idle()
		await pause(BETWEEN_CONNECTIONS_SECONDS * 1000)
		return startViewer(url, {directory, keepEvery})
	}

	await pause(IDLE_SECONDS * 1000)
	const idle = memoryOf(program.pid)

	const firstFrameMs = []
	for (let taken = 1; taken < settings.firstFrames; taken++) {
		const viewer = await connect()
		firstFrameMs.push(viewer.firstFrameMs)
		await viewer.stop()
	}

	const viewer = await connect()
	firstFrameMs.push(viewer.firstFrameMs)
	const window = await measureWindow(program.pid, settings)
	const streaming = memoryOf(program.pid)
	const {frames, clocks} = await viewer.result()
	await program.stop()
	return {firstFrameMs, window, memory: {idle, streaming}, sight: sightOf(frames, clocks, {...window, fps: camera.fps})}
}
