import {SluiceError} from '../base/errors.js'
import type {Logger} from '../base/log.js'
import {type PipelineWorker, readFromWorker} from './messages.js'
import {Worker} from '../workers/worker.js'

/** A new spare starts only this long after the last was taken: its start would slow down the first frame. */
const refillDelayMs = 500
const maxRespawnDelayMs = 30_000

export interface WorkerPoolOptions {
	/** The worker's program. */
	path: string | URL
	/** How many workers may run pipelines at a time. */
	maxPipelines: number
	log: Logger
}

/** Starts workers, keeps one spare ready to hide their start, and counts those that run pipelines. */
export class WorkerPool {
	#options: WorkerPoolOptions
	#spare: PipelineWorker | undefined
	#running = new Set<PipelineWorker>()
	#refill: NodeJS.Timeout | undefined
	#failures = 0
	#closed = false

	constructor(options: WorkerPoolOptions) {
		this.#options = options
	}

	/** How many workers run pipelines. */
	get running(): number {
		return this.#running.size
	}

	/** How many are kept ready, or about to be: 1, or 0 for a moment. */
	get spare(): number {
		return this.#spare ? 1 : 0
	}

	/**
	 * Starts the first spare, and waits until it is ready.
	 * @throws Error with the worker's last words where it cannot be: GStreamer is not installed, say
	 */
	async start(): Promise<void> {
		const spare = this.#spawnSpare()
		await spare.ready
	}

	/**
	 * Hands a worker over, ready or about to be. It counts as running until its process has ended.
	 * @throws SluiceError `over_capacity`, `shutting_down`
	 */
	take(): PipelineWorker {
		const {path, maxPipelines, log} = this.#options
		if (this.#closed) throw new SluiceError('shutting_down', 'the server is shutting down')
		if (this.#running.size >= maxPipelines)
			throw new SluiceError(
				'over_capacity',
				`${maxPipelines} pipelines run already; --max-pipelines allows no more`
			)
		const worker = this.#spare ?? new Worker(path, log, readFromWorker)
		this.#spare = undefined
		this.#running.add(worker)
		void worker.exited.then(() => this.#running.delete(worker))
		this.#refillLater(refillDelayMs)
		return worker
	}

	/** Ends the spare and every worker that was handed over. */
	async close(): Promise<void> {
		this.#closed = true
		clearTimeout(this.#refill)
		await Promise.all([this.#spare, ...this.#running].map(async worker => worker?.close()))
	}

	#spawnSpare(): PipelineWorker {
		const {path, log} = this.#options
		const spare = new Worker(path, log, readFromWorker)
		this.#spare = spare
		spare.ready.then(
			() => {
				this.#failures = 0
			},
			async (error: unknown) => {
				// One that was taken and closed before it was ready did not fail.
				if (!(await spare.exited).expected)
					log.error({reason: String(error)}, 'spare worker failed')
			}
		)
		void spare.exited.then(() => {
			// Taken in the meantime, or ended by close().
			if (this.#spare !== spare) return
			this.#spare = undefined
			this.#refillLater(Math.min(maxRespawnDelayMs, refillDelayMs * 2 ** this.#failures++))
		})
		return spare
	}

	#refillLater(delayMs: number): void {
		clearTimeout(this.#refill)
		if (this.#closed) return
		this.#refill = setTimeout(() => {
			if (this.#spare) return
			try {
				this.#spawnSpare()
			} catch (error) {
				// Some reasons spawn() tells by an event, others, as no memory, it throws.
				this.#options.log.error({reason: String(error)}, 'spare worker failed')
				this.#refillLater(Math.min(maxRespawnDelayMs, refillDelayMs * 2 ** this.#failures++))
			}
		}, delayMs)
	}
}
