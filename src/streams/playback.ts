import type {CameraMemory} from '../cameras/camera-memory.js'
import type {CameraSource} from '../cameras/camera-address.js'
import {asSluiceError, type ErrorCode, SluiceError} from '../base/errors.js'
import type {Sample} from '../pipeline/frame-reader.js'
import type {Range} from '../pipeline/levels.js'
import type {Logger} from '../base/log.js'
import {Pipeline, type PipelineOptions} from '../pipeline/pipeline.js'
import type {Choice, StreamRequest} from './stream-request.js'
import {withTemplate} from '../templates/template.js'
import type {PropertyValue} from '../pipeline/messages.js'
import type {WorkerPool} from '../pipeline/worker-pool.js'

/** Failures of a variant that say nothing of the camera: another variant may do better. */
const variantFailures: readonly ErrorCode[] = [
	'template_invalid',
	'pipeline_failed',
	'camera_unsupported'
]

/** What every playback of a server needs. */
export interface PlaybackContext {
	pool: WorkerPool
	codecs: CameraMemory
	ranges: CameraMemory<Range>
	/** Told of a variant that did not start. */
	onVariantFailed: (template: string, source: CameraSource, detail: string) => void
	openTimeoutMs: number
	frameTimeoutMs: number
}

export interface PlaybackOptions extends PlaybackContext {
	request: StreamRequest
	/** What every pipeline is set to beyond its launch text, at its start; changes are told with set(). */
	properties: ReadonlyMap<string, PropertyValue>
	/** Variants that are passed over; those that do not start are added. */
	failed: Set<string>
	log: Logger
	/** From a key frame on, and again so where one pipeline follows another. */
	onSample: (sample: Sample) => void
	/** Called once, and never after close(). The playback has closed itself by then. */
	onFailure: (error: SluiceError) => void
}

/**
 * One attempt to play a camera, through the best variant of a template's family, from opening to its end.
 *
 * Where the camera's codec is not known yet, the plain variant starts at once, for it takes any codec. Behind its first
 * frame its worker tells the codec; if a better variant takes that, it is started beside, and replaces the plain one with
 * its own first frame.
 */
export class Playback {
	#options: PlaybackOptions
	/** The pipeline whose frames go to the stream, or that is the first to start. */
	#current: Pipeline | undefined
	/** A better variant that is starting. */
	#successor: Pipeline | undefined
	/** Every pipeline that may still have a process. */
	#closing = new Set<Promise<void>>()
	/** The templates that were started. */
	#tried = new Set<string>()
	#closed = false

	/** @throws SluiceError `over_capacity`, `shutting_down` */
	constructor(options: PlaybackOptions) {
		this.#options = options
		const {request, codecs} = options
		const codec = codecs.recall(request.source)
		this.#begin(
			codec === undefined ? [request.plain] : [...this.#variantsFor(codec), request.plain]
		)
	}

	/** Changes a property of an element of the pipelines that play. */
	set(changed: PropertyValue): void {
		this.#current?.set(changed)
		this.#successor?.set(changed)
	}

	/** Asks the encoder for a key frame; a camera may pass over that. */
	requestKeyFrame(): void {
		this.#current?.requestKeyFrame()
	}

	/** Stops, and waits until every process of it has ended. */
	async close(): Promise<void> {
		this.#end()
		await Promise.all(this.#closing)
	}

	#variantsFor(codec: string): Choice[] {
		const {
			request: {variants, plain},
			failed
		} = this.#options
		return variants.filter(
			({template, codecs, rank}) =>
				rank > plain.rank && !failed.has(template) && (codecs?.includes(codec) ?? true)
		)
	}

	/** Starts the first of the choices; should it not start, the next. */
	#begin([choice, ...others]: Choice[]): void {
		if (!choice) return
		const {request, codecs, onSample} = this.#options
		let playing = false
		const pipeline: Pipeline = this.#play(choice, {
			onSample: sample => {
				playing = true
				if (this.#current === pipeline) onSample(sample)
			},
			onCodec: codec => {
				this.#onCodec(choice, codec)
			},
			onFailure: error => {
				if (this.#closed || this.#current !== pipeline) return
				// A camera that allows one session only ends the first for the second, which then goes on alone.
				if (this.#successor) {
					this.#current = undefined
					return
				}
				if (playing || others.length === 0 || !variantFailures.includes(error.code)) {
					// A variant that hangs, and a camera that is silent, look alike: the next attempt asks the plain variant.
					if (!playing && choice !== request.plain && error.code === 'camera_timeout')
						codecs.forget(request.source)
					this.#fail(error)
					return
				}
				// The camera may have been set to another codec since it was learnt; then the variant is not to blame.
				if (error.code === 'camera_unsupported') codecs.forget(request.source)
				else this.#passOver(choice, error)
				this.#current = undefined
				void this.#beginAnew(others)
			}
		})
		this.#current = pipeline
	}

	/** For the place of what was tried before, and where a camera allows one session only, for that, its end is waited for. */
	async #beginAnew(choices: Choice[]): Promise<void> {
		await Promise.all(this.#closing)
		if (this.#closed) return
		try {
			this.#begin(choices)
		} catch (error) {
			this.#fail(asSluiceError(error))
		}
	}

	#passOver({template}: Choice, {detail}: SluiceError): void {
		this.#options.failed.add(template)
		this.#options.onVariantFailed(template, this.#options.request.source, detail)
	}

	#onCodec(choice: Choice, codec: string): void {
		const {request, codecs} = this.#options
		codecs.learn(request.source, codec)
		const better = this.#variantsFor(codec).find(({template}) => !this.#tried.has(template))
		if (better && choice === request.plain && !this.#closed && !this.#successor)
			this.#succeed(better)
	}

	#succeed(choice: Choice): void {
		const {request, onSample, log} = this.#options
		try {
			const successor: Pipeline = this.#play(choice, {
				onSample: sample => {
					if (this.#successor === successor) {
						this.#drop(this.#current)
						this.#current = successor
						this.#successor = undefined
					}
					if (this.#current === successor) onSample(sample)
				},
				onFailure: error => {
					if (this.#closed) return
					const starting = this.#successor === successor
					// While the plain variant plays, the camera is not silent: it is the better one that hangs.
					const toBlame =
						variantFailures.includes(error.code) ||
						(error.code === 'camera_timeout' && this.#current !== undefined)
					if (!starting || (!this.#current && !toBlame)) {
						this.#fail(error)
						return
					}
					if (toBlame) this.#passOver(choice, error)
					this.#successor = undefined
					// Viewers do not notice where the plain variant plays on. Where it has given way already, it is needed again.
					if (!this.#current) void this.#beginAnew([request.plain])
				}
			})
			this.#successor = successor
		} catch (error) {
			log.debug(
				{template: choice.template, detail: asSluiceError(error).detail},
				'no better variant'
			)
		}
	}

	/** @throws SluiceError `over_capacity`, `shutting_down` */
	#play(
		{template, launch, declared}: Choice,
		{onFailure, ...listeners}: Pick<PipelineOptions, 'onSample' | 'onCodec' | 'onFailure'>
	): Pipeline {
		const {pool, ranges, request, properties, openTimeoutMs, frameTimeoutMs, log} = this.#options
		const worker = pool.take()
		this.#tried.add(template)
		const pipelineLog = log.child({template, worker: worker.pid})
		pipelineLog.info('opening')
		const ended = worker.exited.then(() => {
			this.#closing.delete(ended)
		})
		this.#closing.add(ended)
		return new Pipeline(worker, {
			launch,
			declared,
			source: request.source,
			properties,
			ranges,
			openTimeoutMs,
			frameTimeoutMs,
			log: pipelineLog,
			...listeners,
			onFailure: error => {
				onFailure(withTemplate(error, template))
			}
		})
	}

	#drop(pipeline: Pipeline | undefined): void {
		void pipeline?.close()
	}

	#fail(error: SluiceError): void {
		this.#end()
		this.#options.onFailure(error)
	}

	#end(): void {
		this.#closed = true
		this.#drop(this.#current)
		this.#drop(this.#successor)
		this.#current = undefined
		this.#successor = undefined
	}
}
