/** The figures of the scenario `one`: what each is, and how it is taken from a contender's rounds. */
import {spread} from './statistics.mjs'

const sum = (processes, pick) => processes?.reduce((total, process) => total + pick(process), 0)
const pss = processes => sum(processes, ({pssMb}) => pssMb)
const [SERVER, WORKER] = ['main.js', 'pipeline/worker-main.js']
const named = (processes, name) => processes?.filter(process => process.name === name) ?? []

/**
 * `of` gives a round's value, or several, or undefined where the contender has none; `compared: false` where
 * a ratio would say nothing.
 *
 * @type {{id: string, title: string, unit: string, digits: number, compared?: boolean, of: (round: any) => number | number[] | undefined}[]}
 */
export const figures = [
	{
		id: 'latencyP50',
		title: 'latency, median',
		unit: 'ms',
		digits: 1,
		of: ({sight}) => sight?.latencyMs.p50
	},
	{
		id: 'latencyP95',
		title: 'latency, p95',
		unit: 'ms',
		digits: 1,
		of: ({sight}) => sight?.latencyMs.p95
	},
	{
		id: 'latencyP99',
		title: 'latency, p99',
		unit: 'ms',
		digits: 1,
		of: ({sight}) => sight?.latencyMs.p99
	},
	{
		id: 'firstFrame',
		title: 'first frame',
		unit: 'ms',
		digits: 0,
		of: ({firstFrameMs}) => firstFrameMs
	},
	{id: 'fps', title: 'frames a second', unit: '', digits: 2, of: ({sight}) => sight?.fps},
	{
		id: 'lost',
		title: 'frames lost',
		unit: '',
		digits: 0,
		compared: false,
		of: ({sight}) => sight?.lost
	},
	{
		id: 'gap',
		title: 'longest gap between frames',
		unit: 'ms',
		digits: 0,
		of: ({sight}) => sight?.longestGapMs
	},
	{
		id: 'frameBytes',
		title: 'bytes a frame',
		unit: 'kB',
		digits: 0,
		of: ({sight}) => sight && sight.bytesPerFrame / 1000
	},
	{
		id: 'unreadable',
		title: 'frames with an unreadable clock',
		unit: '',
		digits: 0,
		compared: false,
		of: ({sight}) => sight?.unreadable
	},
	{
		id: 'cpu',
		title: 'CPU of all its processes',
		unit: 'cores',
		digits: 3,
		of: ({window}) => window.cpuCores
	},
	{
		id: 'memoryIdle',
		title: 'memory without viewers',
		unit: 'MB',
		digits: 0,
		of: ({memory}) => pss(memory.idle)
	},
	{
		id: 'memory',
		title: 'memory with one viewer',
		unit: 'MB',
		digits: 0,
		of: ({memory}) => pss(memory.streaming)
	},
	{
		id: 'serverIdle',
		title: 'the server process without viewers',
		unit: 'MB',
		digits: 0,
		of: ({memory}) => named(memory.idle, SERVER)[0]?.pssMb
	},
	{
		id: 'worker',
		title: 'the largest worker process',
		unit: 'MB',
		digits: 0,
		of: ({memory}) =>
			named(memory.streaming, WORKER)
				.map(({pssMb}) => pssMb)
				.sort((a, b) => b - a)[0]
	},
	{
		id: 'others',
		title: 'CPU of other programs meanwhile',
		unit: 'cores',
		digits: 2,
		compared: false,
		of: ({window}) => window.otherCores
	},
	{
		id: 'stolen',
		title: 'CPU that the hypervisor took',
		unit: 'cores',
		digits: 2,
		compared: false,
		of: ({window}) => window.stolenCores
	}
]

/**
 * @param {any[]} rounds of one contender
 * @returns {Record<string, ReturnType<typeof spread>>} by figure
 */
export function summaryOf(rounds) {
	return Object.fromEntries(
		figures.map(({id, of}) => [id, spread(rounds.flatMap(round => of(round)))])
	)
}

/**
 * A figure of one contender divided by that of another in the same round, for what disturbs a round mostly
 * disturbs both.
 */
export function ratio(id, rounds, otherRounds) {
	const {of} = figures.find(figure => figure.id === id)
	const typical = round => spread([of(round)].flat())?.median
	return spread(
		rounds.map((round, index) => {
			const [value, other] = [typical(round), otherRounds[index] && typical(otherRounds[index])]
			return value !== undefined && other > 0 ? value / other : undefined
		})
	)
}
