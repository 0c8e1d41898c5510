/** A run's result as Markdown. */
import {scenarios} from './scenarios/index.mjs'
import {NONE, table} from './table.mjs'

/** Where other programs take more, latencies and first frames are theirs as well. */
const QUIET_CORES = 0.1

/** @param {import('./scenarios/index.mjs').Target[]} targets with `met`, undefined where nothing was measured */
export function judged(targets) {
	return targets.map(target => ({
		...target,
		met:
			typeof target.value === 'number' && !Number.isNaN(target.value)
				? target.value <= (target.atMost ?? Infinity) &&
					target.value >= (target.atLeast ?? -Infinity)
				: undefined
	}))
}

/** @param {object} result as run.mjs writes it to latest.json */
export function markdown({date, camera, machine, scenarios: measured}) {
	const targets = measured.flatMap(({targets = []}) => targets)
	return (
		[
			`# Benchmark of ${date.slice(0, 10)}`,
			`Everything on one machine, in one run. The camera, where nothing else is said: ${camera.width}x${camera.height}, ${camera.fps} frames a second, H.264 at ${camera.kbit / 1000} Mbit/s over RTSP/TCP, about 170 kB as a JPEG. [README.md](../README.md) says what each figure means, and how to have one again.`,
			`${machine.cores} cores of ${machine.cpu}, ${machine.memoryGb} GB, ${machine.kernel} (TCP: ${machine.congestionControl}), Node ${machine.node}, GStreamer ${machine.gstreamer}, ${machine.python}, Motion ${machine.motion}, Janus ${machine.janus}, ${machine.chromium}. Load average before the run: ${machine.loadBefore.toFixed(2)}. The run took ${(measured.reduce((sum, {seconds}) => sum + seconds, 0) / 60).toFixed(0)} minutes.`,
			noise(measured),
			...(targets.length > 0
				? ['## Targets', table(['', 'target', 'this run', ''], targets.map(rowOf))]
				: []),
			...measured.flatMap(section)
		].join('\n\n') + '\n'
	)
}

function rowOf({title, unit, atMost, atLeast, value, met, digits}) {
	const withUnit = text => (unit ? `${text} ${unit}` : text)
	return [
		title,
		withUnit(atMost === undefined ? `at least ${atLeast}` : `at most ${atMost}`),
		met === undefined ? NONE : withUnit(value.toFixed(digits)),
		met === undefined ? 'not measured' : met ? 'pass' : '**miss**'
	]
}

function section({id, data, failure}) {
	const scenario = scenarios.find(each => each.id === id)
	const head = [`## ${scenario.title}`, scenario.about]
	if (failure !== undefined) return [...head, `**Failed:** ${failure}`]
	return [
		...head,
		...scenario.tables(data),
		...(scenario.plots?.(data) ?? []).map(({name, title}) => `![${title}](${name}.svg)`),
		`Again: \`node bench/run.mjs --only ${id}\``
	]
}

/** Every scenario, and every stretch that it measured, says what other programs took meanwhile. */
function noise(measured) {
	const others = []
	JSON.stringify(measured, (key, value) => {
		if (key === 'otherCores') others.push(value)
		return value
	})
	const disturbed = others.filter(cores => cores > QUIET_CORES)
	if (disturbed.length === 0)
		return `The machine was quiet: in none of ${others.length} stretches did other programs take more than ${QUIET_CORES} cores.`
	return `**The machine was not quiet:** in ${disturbed.length} of ${others.length} stretches other programs took more than ${QUIET_CORES} cores (up to ${Math.max(...disturbed).toFixed(2)}). Times are worse for it, above all p95, p99 and the first frame; memory is too small where they ran GStreamer; CPU hardly changes.`
}
