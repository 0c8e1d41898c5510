/** A stretch of steady running, in which a program's CPU is measured. */
import {setTimeout as pause} from 'node:timers/promises'
import {cpuByProcess, cpuSeconds, machineSeconds} from './processes.mjs'
import {nowMs} from './statistics.mjs'

/**
 * @param {number} pid the root of the process tree
 * @param {{settleSeconds: number, seconds: number}} lengths
 * @returns {Promise<{fromMs: number, toMs: number, cpuCores: number, byProcess: {name: string, cores: number}[], otherCores: number, stolenCores: number}>} `byProcess` has those that were there all the time; `otherCores` is what programs took that are no part of this run: neither contender nor camera nor viewer
 */
export async function measureWindow(pid, {settleSeconds, seconds}) {
	await pause(settleSeconds * 1000)
	const reading = () => {
		const {busy, stolen} = machineSeconds()
		return {
			cpu: cpuSeconds(pid),
			each: cpuByProcess(pid),
			other: busy - cpuSeconds(process.pid),
			stolen,
			atMs: nowMs()
		}
	}
	const from = reading()
	await pause(seconds * 1000)
	const to = reading()
	const cores = pick => ((pick(to) - pick(from)) / (to.atMs - from.atMs)) * 1000
	return {
		fromMs: from.atMs,
		toMs: to.atMs,
		cpuCores: cores(({cpu}) => cpu),
		byProcess: [...from.each]
			.filter(([each]) => to.each.has(each))
			.map(([each, {name}]) => ({name, cores: cores(reading => reading.each.get(each).seconds)})),
		otherCores: Math.max(
			0,
			cores(({other}) => other)
		),
		stolenCores: cores(({stolen}) => stolen)
	}
}
