/** Chromium, as a run uses it. */
import {chmod, writeFile} from 'node:fs/promises'
import path from 'node:path'
import {chromium} from 'playwright-core'
import {nowMs} from './statistics.mjs'

const FLAGS = [
	'--no-sandbox',
	'--disable-gpu',
	'--disable-quic',
	'--no-first-run',
	'--disable-background-networking',
	'--disable-component-update',
	'--disable-sync',
	'--autoplay-policy=no-user-gesture-required'
]
const CALIBRATIONS = 20

/**
 * @param {{within?: number, directory: string}} options the process in whose network it is; where to put a file meanwhile
 */
export async function launchBrowser({within, directory}) {
	const program = process.env.CHROMIUM ?? '/usr/bin/chromium'
	return chromium.launch({
		executablePath:
			within === undefined ? program : await programWithin(within, program, directory),
		args: FLAGS,
		handleSIGINT: false
	})
}

/** Playwright starts a program, and gives it arguments of its own: so this is one. */
async function programWithin(within, program, directory) {
	const file = path.join(directory, `chromium-${within}`)
	await writeFile(
		file,
		`#!/bin/sh\nexec nsenter --net=/proc/${within}/ns/net -- '${program}' "$@"\n`
	)
	await chmod(file, 0o700)
	return file
}

/** The page's clock against ours: of several questions the one answered soonest leaves the least doubt. */
export async function compareClocks(tab) {
	const answers = []
	for (let asked = 0; asked < CALIBRATIONS; asked++) {
		const before = nowMs()
		const there = await tab.evaluate(() => performance.now())
		const after = nowMs()
		answers.push({offsetMs: (before + after) / 2 - there, uncertainMs: (after - before) / 2})
	}
	return answers.sort((a, b) => a.uncertainMs - b.uncertainMs)[0]
}

/**
 * Runs in the page, before its own scripts: `cameraClock(context)` reads the camera's clock out of a canvas that is as wide as
 * the picture and shows its top, in ms; null where it cannot be read.
 */
export function defineCameraClock() {
	const BLOCKS = 42
	window.cameraClock = context => {
		const {width} = context.canvas
		const size = Math.floor(width / (BLOCKS + 2) / 2) * 2
		const row = context.getImageData(0, size / 2, width, 1).data
		const bits = Array.from({length: BLOCKS}, (_, index) =>
			row[Math.floor((index + 0.5) * size) * 4] > 127 ? '1' : '0'
		).join('')
		const [a, b, c, d, check] = [2, 10, 18, 26, 34].map(start =>
			Number.parseInt(bits.slice(start, start + 8), 2)
		)
		return bits.startsWith('10') && (a ^ b ^ c ^ d) === check
			? Number.parseInt(bits.slice(2, 34), 2)
			: null
	}
}
