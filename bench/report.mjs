/** A run's result as Markdown. */
import {figures, ratio} from './figures.mjs'
import {spread} from './statistics.mjs'

const NONE = '–'

/** Where other programs take more, latencies and first frames are theirs as well. */
const QUIET_CORES = 0.1

/** @param {object} result as run.mjs writes it to latest.json */
export function markdown({date, settings, camera, machine, cameraDelayMs, contenders, targets}) {
	const shown = Object.values(contenders)
	const {sluice, limit, opencv} = contenders
	const ratios = [
		{title: 'Sluice ÷ gst-launch-1.0', other: limit},
		{title: 'Sluice ÷ OpenCV + FastAPI', other: opencv}
	].filter(({other}) => sluice && other)
	const rows = figures.filter(({id}) => shown.some(({summary}) => summary[id])).map(({id, title, unit, digits, compared = true}) => [
		unit ? `${title}, ${unit}` : title,
		...shown.map(({summary}) => format(summary[id], digits)),
		...ratios.map(({other}) => format(compared ? ratio(id, sluice.rounds, other.rounds) : undefined, 2))
	])
	return [
		`# Benchmark of ${date.slice(0, 10)}`,
		`One viewer of one camera: ${camera.width}x${camera.height}, ${camera.fps} frames a second, H.264 at ${camera.kbit / 1000} Mbit/s over RTSP/TCP, everything on one machine. Median (least – most) of ${settings.rounds} interleaved rounds of ${settings.seconds} s; the first frame of ${settings.rounds * settings.firstFrames} connections. [README.md](../README.md) says what each figure means.`,
		table(['', ...shown.map(({title}) => title), ...ratios.map(({title}) => title)], rows),
		`Of every latency, ${format(spread(cameraDelayMs.map(({p50}) => p50)), 1)} ms are the camera's own (median; p95 ${format(spread(cameraDelayMs.map(({p95}) => p95)), 1)} ms): from its clock until a client has the picture's last RTP packet.`,
		noise(shown),
		...targets.length > 0 ? [
			'## Targets',
			table(['Sluice', 'at most', 'this run', ''], targets.map(({title, unit, atMost, value, met, digits}) => [
				title, `${atMost} ${unit}`, value === undefined ? NONE : `${value.toFixed(digits)} ${unit}`, met === undefined ? 'not measured' : met ? 'pass' : '**miss**'
			]))
		] : [],
		'## Memory by process',
		table(['', 'without viewers', 'with one viewer'], shown.map(({title, rounds}) => [title, processes(rounds.at(-1).memory.idle), processes(rounds.at(-1).memory.streaming)])),
		'## Machine',
		`${machine.cores} cores of ${machine.cpu}, ${machine.memoryGb} GB, ${machine.kernel}, Node ${machine.node}, GStreamer ${machine.gstreamer}, ${machine.python}. Load average before the run: ${machine.loadBefore.toFixed(2)}.`
	].join('\n\n') + '\n'
}

function noise(shown) {
	const others = shown.flatMap(({rounds}) => rounds.map(({window}) => window.otherCores))
	const disturbed = others.filter(cores => cores > QUIET_CORES)
	if (disturbed.length === 0) return `The machine was quiet: in no turn did other programs take more than ${QUIET_CORES} cores.`
	return `**The machine was not quiet:** in ${disturbed.length} of ${others.length} turns other programs took more than ${QUIET_CORES} cores (up to ${Math.max(...disturbed).toFixed(2)}). Times are worse for it, above all p95, p99 and the first frame; memory is too small where they ran GStreamer; CPU hardly changes.`
}

function format(spread, digits) {
	if (!spread) return NONE
	const [median, min, max] = [spread.median, spread.min, spread.max].map(value => value.toFixed(digits))
	return min === max ? median : `${median} (${min} – ${max})`
}

/** In MB, PSS and the private part of it, of the last round. */
function processes(memory) {
	return memory?.map(({name, pssMb, privateMb}) => `${name} ${pssMb.toFixed(0)} MB (${privateMb.toFixed(0)} private)`).join('<br>') ?? NONE
}

function table(head, rows) {
	const line = cells => `| ${cells.join(' | ')} |`
	return [line(head), line(head.map((_, index) => index === 0 ? '---' : '---:')), ...rows.map(line)].join('\n')
}
