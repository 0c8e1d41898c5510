import {Counter, Gauge, Registry} from 'prom-client'
import type {Adaptive} from './adaptive.js'
import type {ErrorCode} from '../base/errors.js'
import {lostLogLines} from '../base/log.js'
import type {StreamState} from '../streams/stream.js'
import type {FrameMeter} from './frame-queue.js'
import type {FrameCounts} from '../streams/frame.js'

const outputs = ['websocket', 'mjpeg', 'whep'] as const
const streamStates: readonly StreamState[] = ['starting', 'playing', 'retrying', 'closed', 'failed']

export type OutputName = (typeof outputs)[number]

/** What is looked at when somebody asks, and not counted. */
export interface MetricsSources {
	streamStates: () => Iterable<StreamState>
	workers: () => {running: number; spare: number}
}

/** Counts what one viewer receives. */
export interface ViewerMeter extends FrameMeter {
	/** The viewer was told of a failure. */
	failed: (code: ErrorCode) => void
	/** Its quality follows its link, from now on to its end. */
	adapts: (adaptive: Adaptive) => void
	stepped: (direction: 'up' | 'down') => void
	/** The viewer has gone. */
	close: () => void
}

/** What the server tells of itself, for Prometheus. No label says anything of a camera or a viewer. */
export class Metrics {
	#registry = new Registry()
	#viewers: Record<OutputName, number> = {websocket: 0, mjpeg: 0, whep: 0}
	#adaptive = new Set<Adaptive>()
	#framesSent = this.#counter('frames_sent_total', "Frames handed to viewers' connections", [
		'output'
	])
	#framesDropped = this.#counter(
		'frames_dropped_total',
		'Frames that viewers missed, for they or their links were too slow',
		['output']
	)
	#bytesSent = this.#counter(
		'bytes_sent_total',
		"Bytes of the frames handed to viewers' connections",
		['output']
	)
	#failures = this.#counter(
		'failures_total',
		'Failures that viewers and other clients were told, by error code',
		['code']
	)
	#retries = this.#counter('retries_total', 'Times that a lost camera was to be tried again', [])
	#steps = this.#counter(
		'adaptive_steps_total',
		"Steps of viewers' quality down to what their links carry, and up again",
		['direction']
	)

	constructor(sources: MetricsSources) {
		this.#gauge('streams', 'Streams by state', ['state'], gauge => {
			const all = [...sources.streamStates()]
			for (const state of streamStates)
				gauge.set({state}, all.filter(other => other === state).length)
		})
		this.#gauge('viewers', 'Viewers by output', ['output'], gauge => {
			for (const output of outputs) gauge.set({output}, this.#viewers[output])
		})
		this.#gauge(
			'workers',
			'Worker processes that run a pipeline, and that are kept ready',
			['state'],
			gauge => {
				for (const [state, count] of Object.entries(sources.workers())) gauge.set({state}, count)
			}
		)
		this.#gauge('adaptive_viewers', 'Viewers whose quality follows their link', [], gauge => {
			gauge.set(this.#adaptive.size)
		})
		this.#gauge(
			'adaptive_level',
			'Sum over these of the quality that is in use: each from 0, the lowest allowed, to 1, all of it',
			[],
			gauge => {
				gauge.set([...this.#adaptive].reduce((sum, {level}) => sum + level, 0))
			}
		)
		const lost: Counter = new Counter({
			name: 'sluice_log_lines_lost_total',
			help: 'Lines that could not be logged, for standard error took nothing for too long',
			registers: [this.#registry],
			collect: () => {
				lost.reset()
				lost.inc(lostLogLines())
			}
		})
		// A counter that is not there before its first event hides that event from rate().
		for (const output of outputs)
			for (const counter of [this.#framesSent, this.#framesDropped, this.#bytesSent])
				counter.inc({output}, 0)
		for (const direction of ['up', 'down']) this.#steps.inc({direction}, 0)
	}

	get contentType(): string {
		return this.#registry.contentType
	}

	/** In Prometheus' text format. */
	async text(): Promise<string> {
		return this.#registry.metrics()
	}

	/** A viewer has come. */
	viewer(output: OutputName): ViewerMeter {
		let own: Adaptive | undefined
		let open = true
		this.#viewers[output]++
		return {
			sent: bytes => {
				this.counted(output, {frames: 1, bytes, dropped: 0})
			},
			dropped: frames => {
				this.counted(output, {frames: 0, bytes: 0, dropped: frames})
			},
			failed: code => {
				this.failed(code)
			},
			adapts: adaptive => {
				own = adaptive
				if (open) this.#adaptive.add(adaptive)
			},
			stepped: direction => {
				this.#steps.inc({direction})
			},
			close: () => {
				if (!open) return
				open = false
				this.#viewers[output]--
				if (own) this.#adaptive.delete(own)
			}
		}
	}

	/** So much more was sent to viewers and dropped for them. */
	counted(output: OutputName, {frames, bytes, dropped}: FrameCounts): void {
		this.#framesSent.inc({output}, frames)
		this.#bytesSent.inc({output}, bytes)
		this.#framesDropped.inc({output}, dropped)
	}

	failed(code: ErrorCode): void {
		this.#failures.inc({code})
	}

	retried(): void {
		this.#retries.inc()
	}

	#counter(name: string, help: string, labelNames: string[]): Counter {
		return new Counter({name: `sluice_${name}`, help, labelNames, registers: [this.#registry]})
	}

	#gauge(name: string, help: string, labelNames: string[], collect: (gauge: Gauge) => void): void {
		const gauge: Gauge = new Gauge({
			name: `sluice_${name}`,
			help,
			labelNames,
			registers: [this.#registry],
			collect: () => {
				collect(gauge)
			}
		})
	}
}
