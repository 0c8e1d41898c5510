/**
 * Measures Sluice beside its limit and beside what people otherwise run, all in one run:
 * node bench/run.mjs [--only SCENARIO,…] [--contenders sluice,limit,opencv,motion,janus] [--quick] [--out DIRECTORY]
 */
import {existsSync, rmSync} from 'node:fs'
import {mkdir, mkdtemp, writeFile} from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import {parseArgs} from 'node:util'
import {camera} from './camera.mjs'
import {checkClock} from './clock.mjs'
import {janus} from './contenders/janus.mjs'
import {limit} from './contenders/limit.mjs'
import {motion} from './contenders/motion.mjs'
import {opencv} from './contenders/opencv.mjs'
import {sluice} from './contenders/sluice.mjs'
import {machineFacts} from './machine.mjs'
import {root} from './paths.mjs'
import {plot} from './plot.mjs'
import {killPrograms} from './programs.mjs'
import {cpuSeconds, machineSeconds} from './processes.mjs'
import {judged, markdown} from './report.mjs'
import {scenarios} from './scenarios/index.mjs'

/** What a program does once, as compiling what is called often, is over by then. */
const SETTLE_SECONDS = 30

const contenders = [limit, sluice, opencv, motion, janus]

const usage = `node bench/run.mjs [flags]
  --only A,B          of these scenarios only:
${scenarios.map(({id, title}) => `                        ${id.padEnd(16)}${title}`).join('\n')}
  --contenders A,B    of ${contenders.map(({id}) => id).join(', ')} these only
  --quick             a part of everything, once and short, in some eight minutes; without Motion
  --rounds N          of the scenario one: rounds, in each of which every contender has its turn (3)
  --seconds S         of the scenario one: length of the measured stretch of a turn (10)
  --first-frames N    of the scenario one: connections in each turn that measure the first frame (3)
  --out DIRECTORY     where latest.json, latest.md and the plots go (bench/results, but nowhere with --only, --contenders and --quick)`

function readFlags() {
	const {values} = parseArgs({
		options: {
			rounds: {type: 'string'},
			seconds: {type: 'string'},
			'first-frames': {type: 'string'},
			only: {type: 'string'},
			contenders: {type: 'string'},
			quick: {type: 'boolean', default: false},
			out: {type: 'string'},
			help: {type: 'boolean', short: 'h', default: false}
		}
	})
	if (values.help) {
		console.log(usage)
		process.exit(0)
	}
	const number = (name, usual, quick) => {
		const value = Number(values[name] ?? (values.quick ? quick : usual))
		if (!(value > 0)) throw new Error(`--${name} must be a number above 0`)
		return value
	}
	const chosen = (name, all) => {
		const ids = values[name]?.split(',') ?? all.map(({id}) => id)
		const unknown = ids.find(id => !all.some(known => known.id === id))
		if (unknown !== undefined)
			throw new Error(`--${name} knows ${all.map(({id}) => id).join(', ')}, not ${unknown}`)
		return all.filter(({id}) => ids.includes(id))
	}
	return {
		settings: {
			quick: values.quick,
			rounds: number('rounds', 3, 1),
			seconds: number('seconds', 10, 4),
			settleSeconds: values.quick ? 2 : SETTLE_SECONDS,
			firstFrames: number('first-frames', 3, 1)
		},
		scenarios: chosen('only', scenarios),
		contenders: chosen('contenders', contenders),
		// A part of a run must not pass for the whole.
		out:
			values.out ??
			(values.quick || values.only || values.contenders
				? undefined
				: path.join(root, 'bench/results'))
	}
}

/** One scenario. What goes wrong in it ends what it started, and leaves the others their turn. */
async function measure(scenario, run) {
	const startMs = performance.now()
	const say = text => {
		console.error(`${scenario.id}: ${text}`)
	}
	const seconds = () => (performance.now() - startMs) / 1000
	const others = () => machineSeconds().busy - cpuSeconds(process.pid)
	const othersBefore = others()
	try {
		const data = await scenario.measure({...run, say})
		say(`took ${seconds().toFixed(0)} s`)
		return {
			id: scenario.id,
			seconds: seconds(),
			otherCores: Math.max(0, (others() - othersBefore) / seconds()),
			data,
			targets: judged(scenario.targets(data))
		}
	} catch (error) {
		killPrograms()
		console.error(error)
		process.exitCode = 1
		return {id: scenario.id, seconds: seconds(), failure: error.message}
	}
}

/** Microseconds say nothing. */
const rounded = (_key, value) => (typeof value === 'number' ? Number(value.toFixed(3)) : value)

async function main() {
	const {settings, out, ...chosen} = readFlags()
	if (!existsSync(`${root}/dist/cli/main.js`))
		throw new Error('There is no dist/cli/main.js: run npx tsc first.')
	const directory = await mkdtemp(path.join(os.tmpdir(), 'sluice-bench-'))
	process.once('exit', () => {
		killPrograms()
		rmSync(directory, {recursive: true, force: true})
	})
	await checkClock()
	const result = {
		date: new Date().toISOString(),
		settings,
		camera,
		machine: machineFacts(),
		scenarios: []
	}
	// The others can be measured without it; who starts by npm has it.
	const present = chosen.contenders.filter(
		({id}) => ![motion.id, janus.id].includes(id) || result.machine[id] !== 'not found'
	)
	for (const scenario of chosen.scenarios)
		result.scenarios.push(await measure(scenario, {settings, contenders: present, directory}))
	console.log(markdown(result))
	if (out === undefined) return
	await mkdir(out, {recursive: true})
	await writeFile(path.join(out, 'latest.json'), `${JSON.stringify(result, rounded, '\t')}\n`)
	await writeFile(path.join(out, 'latest.md'), markdown(result))
	for (const scenario of chosen.scenarios) {
		const {data} = result.scenarios.find(({id}) => id === scenario.id)
		for (const each of data ? (scenario.plots?.(data) ?? []) : [])
			await writeFile(path.join(out, `${each.name}.svg`), plot(each))
	}
}

// Exiting runs the exit listener, which ends whatever was started.
for (const [signal, code] of [
	['SIGINT', 130],
	['SIGTERM', 143],
	['SIGHUP', 129]
])
	process.once(signal, () => process.exit(code))
try {
	await main()
} catch (error) {
	console.error(error)
	process.exit(1)
}
