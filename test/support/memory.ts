import {readFileSync} from 'node:fs'
import process from 'node:process'
import type {Sluice} from './processes.js'
import {onlySpare} from './viewer.js'

const collects = encodeURIComponent('process.on("SIGUSR2",()=>gc())')

/**
 * The environment of a server whose memory is to be counted. V8 lets its heap grow by some 40 MB before it looks for what is
 * garbage: here the part of the young objects is kept small, and the server can be told to look.
 */
export const countable = {
	NODE_OPTIONS: `--max-semi-space-size=1 --expose-gc --import=data:text/javascript,${collects}`
}

/** The memory of a server that nobody watches, in MB; its own alone, for how much of a library is charged to a process depends on how many use it. */
export async function megabytesOf(sluice: Sluice): Promise<number> {
	let least = Infinity
	// V8 returns what it has collected in its own time.
	for (let look = 0; look < 5; look++) {
		process.kill(sluice.pid, 'SIGUSR2')
		// The answer comes behind the signal's handler: both are turns of the one loop.
		await onlySpare(sluice, 10_000)
		least = Math.min(
			least,
			Number(
				/^Anonymous:\s+(\d+)/m.exec(readFileSync(`/proc/${sluice.pid}/smaps_rollup`, 'utf8'))?.[1]
			) / 1000
		)
	}
	return least
}
