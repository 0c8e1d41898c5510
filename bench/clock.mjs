/** The camera's clock, read back from pictures by clock.py after the measurement. */
import {execFile} from 'node:child_process'
import {rm} from 'node:fs/promises'
import path from 'node:path'
import {promisify} from 'node:util'
import {writeImages} from './images.mjs'
import {root} from './paths.mjs'
import {nowMs} from './statistics.mjs'

const run = promisify(execFile)
const script = `${root}/bench/clock.py`

/** The camera shows the low 32 bits of its clock. */
const CLOCK_RANGE_MS = 2 ** 32

/**
 * @param {string} file records of a 32-bit little-endian length and a JPEG
 * @returns {Promise<(number | null)[]>} the clock of each picture in ms, null where it cannot be read
 */
export async function readClocks(file) {
	const {stdout} = await run('/usr/bin/python3', [script, file], {maxBuffer: 2 ** 26})
	return JSON.parse(stdout)
}

/**
 * The same of images in memory.
 *
 * @param {Buffer[]} images
 * @param {string} directory for a file meanwhile
 */
export async function clocksOf(images, directory) {
	const file = path.join(directory, 'images')
	await writeImages(file, images)
	const clocks = await readClocks(file)
	await rm(file)
	return clocks
}

/**
 * The time from the camera's clock to `arrivalMs`. The clock shows whole milliseconds, rounded down, so
 * this is up to 1 ms too long and never too short.
 *
 * @param {number} arrivalMs by our own monotonic clock
 * @param {number} clockMs as a picture shows it
 */
export function latencyMs(arrivalMs, clockMs) {
	const difference = (arrivalMs % CLOCK_RANGE_MS) - clockMs
	return difference < -CLOCK_RANGE_MS / 2 ? difference + CLOCK_RANGE_MS : difference
}

/** Rejects unless Python's monotonic clock, which the camera shows, is the one that the viewer reads. */
export async function checkClock() {
	const before = nowMs()
	const python = Number((await run('/usr/bin/python3', [script, '--now'])).stdout)
	const after = nowMs()
	if (!(before <= python && python <= after))
		throw new Error(
			`Python's monotonic clock (${python} ms) is not ours (${before} to ${after} ms), so a latency would mean nothing.`
		)
}
