/**
 * Measures Sluice beside its limit and beside what people otherwise run, all in one run:
 * node bench/run.mjs [--rounds 3] [--seconds 15] [--only sluice,limit,opencv] [--quick] [--out DIRECTORY]
 */
import {existsSync, rmSync} from 'node:fs'
import {mkdir, mkdtemp, writeFile} from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import {parseArgs} from 'node:util'
import {camera as cameraFacts, startCamera} from './camera.mjs'
import {checkClock} from './clock.mjs'
import {limit} from './contenders/limit.mjs'
import {opencv} from './contenders/opencv.mjs'
import {sluice} from './contenders/sluice.mjs'
import {judge, summaryOf} from './figures.mjs'
import {machineFacts} from './machine.mjs'
import {root} from './paths.mjs'
import {killPrograms} from './programs.mjs'
import {markdown} from './report.mjs'

/**
 * @typedef {object} Round what a contender is given
 * @property {{url: string, fps: number, idle: () => Promise<void>, playing: Function}} camera
 * @property {{rounds: number, seconds: number, settleSeconds: number, firstFrames: number}} settings
 * @property {string} directory for its temporary files
 */

const contenders = [limit, sluice, opencv]

const usage = `node bench/run.mjs [flags]
  --rounds N          rounds, in each of which every contender has its turn (3)
  --seconds S         length of the measured stretch of a turn (15)
  --first-frames N    connections in each turn that measure the first frame (4)
  --only A,B          of ${contenders.map(({id}) => id).join(', ')} these only
  --quick             one round of 5 s, one first frame
  --out DIRECTORY     where latest.json and latest.md go (bench/results, but nowhere with --only and --quick)`

function readFlags() {
	const {values} = parseArgs({options: {
		rounds: {type: 'string'}, seconds: {type: 'string'}, 'first-frames': {type: 'string'},
		only: {type: 'string'}, quick: {type: 'boolean', default: false}, out: {type: 'string'}, help: {type: 'boolean', short: 'h', default: false}
	}})
	if (values.help) {
		console.log(usage)
		process.exit(0)
	}
	const number = (name, usual, quick) => {
		const value = Number(values[name] ?? (values.quick ? quick : usual))
		if (!(value > 0)) throw new Error(`--${name} must be a number above 0`)
		return value
	}
	const chosen = values.only?.split(',') ?? contenders.map(({id}) => id)
	const unknown = chosen.find(id => !contenders.some(contender => contender.id === id))
	if (unknown !== undefined) throw new Error(`--only knows ${contenders.map(({id}) => id).join(', ')}, not ${unknown}`)
	return {
		settings: {rounds: number('rounds', 3, 1), seconds: number('seconds', 15, 5), settleSeconds: 2, firstFrames: number('first-frames', 4, 1)},
		chosen: contenders.filter(({id}) => chosen.includes(id)),
		// A part of a run must not pass for the whole.
		out: values.out ?? (values.quick || values.only ? undefined : path.join(root, 'bench/results'))
	}
}

/** Every contender in every round; each round begins with another, so that none always has the better moment. */
async function measure(chosen, round) {
	const cameraDelayMs = []
	const results = Object.fromEntries(chosen.map(({id, title}) => [id, {title, rounds: []}]))
	for (let index = 0; index < round.settings.rounds; index++) {
		cameraDelayMs.push(await round.camera.delay())
		for (let turn = 0; turn < chosen.length; turn++) {
			const contender = chosen[(index + turn) % chosen.length]
			console.error(`round ${index + 1} of ${round.settings.rounds}: ${contender.title}`)
			results[contender.id].rounds.push(await contender.measure(round))
		}
	}
	for (const result of Object.values(results)) result.summary = summaryOf(result.rounds)
	return {cameraDelayMs, contenders: results}
}

async function main() {
	const {settings, chosen, out} = readFlags()
	if (!existsSync(`${root}/dist/main.js`)) throw new Error('There is no dist/main.js: run npx tsc first.')
	const directory = await mkdtemp(path.join(os.tmpdir(), 'sluice-bench-'))
	process.once('exit', () => {
		killPrograms()
		rmSync(directory, {recursive: true, force: true})
	})
	await checkClock()
	const result = {date: new Date().toISOString(), settings, camera: cameraFacts, machine: machineFacts()}
	const camera = await startCamera()
	Object.assign(result, await measure(chosen, {camera: {...camera, fps: cameraFacts.fps}, settings, directory}))
	await camera.stop()
	result.targets = judge(result.contenders)
	console.log(markdown(result))
	if (out === undefined) return
	await mkdir(out, {recursive: true})
	await writeFile(path.join(out, 'latest.json'), `${JSON.stringify(result, undefined, '\t')}\n`)
	await writeFile(path.join(out, 'latest.md'), markdown(result))
}

// Exiting runs the exit listener, which ends whatever was started.
for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]]) process.once(signal, () => process.exit(code))
try {
	await main()
} catch (error) {
	console.error(error)
	process.exit(1)
}
