import {setTimeout as delay} from 'node:timers/promises'
import {cameraFailure} from './camera-failure.js'
import type {CameraMemory} from '../cameras/camera-memory.js'
import type {CameraSource} from '../cameras/camera-address.js'
import type {Caps} from '../media/caps.js'
import type {DeclaredOutput} from './declared-output.js'
import {SluiceError, wordsOf} from '../base/errors.js'
import {FrameReader, type Sample} from './frame-reader.js'
import {collectFrames} from '../base/garbage.js'
import {levelsFor, type Range, rangeOf} from './levels.js'
import type {Logger} from '../base/log.js'
import {RateLimit} from '../base/rate-limit.js'
import {whyUnreachable} from '../cameras/reachability.js'
import type {WorkerExit} from '../workers/worker.js'
import type {BusMessage, FromWorker, PropertyValue, PipelineWorker} from './messages.js'

/** Bounds that no camera reaches: beyond them the worker itself is broken. */
const maxFramesPerSecond = 1000
const maxWarnings = 16
/** A failure that came later than this was mostly a wait for an answer already: asking again may add little to it. */
const quickFailureMs = 1000
const diagnosisTimeoutMs = 1000
const lateDiagnosisTimeoutMs = 250
/** Images that were made before the worker set their levels are on their way for no longer. */
const paleForMs = 50

export interface PipelineOptions {
	/** The launch text of a filled template. */
	launch: string
	/** What the template's header says of its frames, which they are held against; undefined where there is no header. */
	declared?: DeclaredOutput | undefined
	source: CameraSource
	/** What is set right behind the start, before the first frame; by then it may have changed. */
	properties?: ReadonlyMap<string, PropertyValue>
	/** Each camera's range of values, `limited` or `full`: where it is known the first image is right already. */
	ranges?: CameraMemory<Range>
	/** The longest wait for the first key frame. */
	openTimeoutMs: number
	/** The longest wait between two frames. */
	frameTimeoutMs: number
	log: Logger
	/** From a key frame on. */
	onSample: (sample: Sample) => void
	/** Once at most, behind the first sample, maybe behind the end: what the camera sends, by its name in RTP, H264 say. */
	onCodec?: (codec: string) => void
	/** Called once, and never after close(): the first reason wins. The pipeline has closed itself by then. */
	onFailure: (error: SluiceError) => void
}

/** One pipeline in a worker of its own, from start to exit. */
export class Pipeline {
	#worker: PipelineWorker
	#options: PipelineOptions
	#playing = false
	#codecTold = false
	#caps: Caps | undefined
	/** What its levels are set to; a template leaves the picture as it is. */
	#range: Range = 'full'
	#paleUntilMs = -Infinity
	/** Frames that came before the first key frame. */
	#unusable = 0
	#warnings: BusMessage[] = []
	#startedMs = performance.now()
	#timer: NodeJS.Timeout
	#budget = new RateLimit(maxFramesPerSecond)
	#started = false
	#diagnosing = false
	#ended = false

	/** Takes the worker over: close(), or a failure, ends it. */
	constructor(worker: PipelineWorker, options: PipelineOptions) {
		this.#worker = worker
		this.#options = options
		const {launch, declared, source, openTimeoutMs} = options
		const {location, user, password} = source
		worker.redact = source.redact
		worker.onMessage = message => {
			this.#onMessage(message)
		}
		const reader = new FrameReader({
			onSample: sample => {
				this.#onSample(sample)
			},
			onUnusable: (words, code) => {
				this.#fail(new SluiceError(code, words))
			},
			declared
		})
		worker.onFrameBytes = chunk => {
			reader.read(chunk)
		}
		this.#timer = setTimeout(() => {
			this.#fail(
				new SluiceError(
					'camera_timeout',
					`${this.#unusable === 0 ? 'no picture' : `no key frame, and ${this.#unusable} others,`} within ${openTimeoutMs / 1000} s`
				)
			)
		}, openTimeoutMs)
		worker.ready.then(
			() => {
				this.#started = true
				worker.send({
					type: 'start',
					launch,
					source: {
						location,
						...(user !== undefined && {user}),
						...(password !== undefined && {password})
					}
				})
				for (const changed of options.properties?.values() ?? []) this.set(changed)
				this.#setRange(options.ranges?.recall(source))
			},
			(error: unknown) => {
				this.#fail(new SluiceError('pipeline_failed', wordsOf(error)))
			}
		)
		void worker.exited.then(exit => {
			this.#onExit(exit)
		})
	}

	/** Changes a property of an element while it plays; what is changed before that has to be in `properties`. */
	set(changed: PropertyValue): void {
		if (this.#started) this.#worker.send({type: 'set', ...changed})
	}

	/** Asks the encoder for a key frame: the pipeline's own, or the camera's, where that takes such requests. */
	requestKeyFrame(): void {
		this.#worker.send({type: 'key-frame'})
	}

	/** Stops the pipeline and waits until its process has ended. */
	async close(): Promise<void> {
		this.#end()
		await this.#worker.close()
	}

	#onMessage(message: FromWorker): void {
		switch (message.type) {
			case 'codec':
				this.#onCodec(message.codec)
				break
			case 'bus':
				this.#onBusMessage(message.message)
				break
			case 'unparsable':
				this.#fail(
					new SluiceError('template_invalid', this.#options.source.redact(message.message))
				)
				break
			case 'ready':
			case 'examined':
				throw new Error(`nobody asked for the message ${message.type}`)
			default:
				message satisfies never
		}
	}

	#onSample(sample: Sample): void {
		// What one chunk holds is read to its end.
		if (this.#ended) return
		collectFrames(sample.data.byteLength)
		if (!this.#budget.take()) {
			this.#misbehaves(`the worker sent more than ${maxFramesPerSecond} frames in a second`)
			return
		}
		if (!this.#playing) {
			// A camera is joined anywhere; what builds on frames that nobody has would tear the picture.
			this.#unusable++
			if (!sample.keyFrame) return
			this.#onFirstSample(sample)
		}
		this.#timer.refresh()
		if (sample.caps !== this.#caps) {
			this.#caps = sample.caps
			const range = rangeOf(sample.caps)
			if (range !== undefined) this.#options.ranges?.learn(this.#options.source, range)
			if (range !== undefined && range !== this.#range)
				this.#paleUntilMs = sample.timeMs + paleForMs
			this.#setRange(range)
		}
		this.#options.onSample(sample.timeMs < this.#paleUntilMs ? {...sample, pale: true} : sample)
	}

	#onFirstSample({caps}: Sample): void {
		this.#playing = true
		const {frameTimeoutMs, log} = this.#options
		clearTimeout(this.#timer)
		this.#timer = setTimeout(() => {
			this.#fail(new SluiceError('camera_lost', `no picture for ${frameTimeoutMs / 1000} s`))
		}, frameTimeoutMs)
		this.#worker.send({type: 'playing'})
		log.info(
			{
				firstFrameMs: Math.round(performance.now() - this.#startedMs),
				width: caps['width'],
				height: caps['height']
			},
			'playing'
		)
	}

	#setRange(range: Range | undefined): void {
		if (range === undefined || range === this.#range) return
		this.#range = range
		for (const changed of levelsFor(range)) this.set(changed)
	}

	/** Told once, and also to who has closed it by then: whoever plays the camera next knows its codec. */
	#onCodec(codec: string): void {
		if (!this.#playing || this.#codecTold) return
		this.#codecTold = true
		this.#options.log.debug({codec}, 'codec')
		this.#options.onCodec?.(codec)
	}

	#onBusMessage(message: BusMessage): void {
		const {
			log,
			source: {redact}
		} = this.#options
		if (log.isLevelEnabled('debug'))
			log.debug(
				{
					...message,
					...(message.message !== undefined && {message: redact(message.message)}),
					...(message.debug !== undefined && {debug: redact(message.debug)})
				},
				'bus message'
			)
		if (message.kind === 'warning' || message.kind === 'missing-plugin') {
			if (this.#warnings.length < maxWarnings) this.#warnings.push(message)
			return
		}
		// Frames that were written before this message are on another pipe. Both may be read in one turn of
		// the event loop, in any order: the end must not overtake the first frame.
		setImmediate(() => {
			if (this.#ended) return
			void this.#failWith(cameraFailure(message, this.#warnings, this.#playing, redact))
		})
	}

	/** Adds to "cannot be reached" why, where that can be found out at once. */
	async #failWith(error: SluiceError): Promise<void> {
		if (error.code !== 'camera_unreachable') {
			this.#fail(error)
			return
		}
		// A worker may say the same without end; the camera is asked once.
		if (this.#diagnosing) return
		this.#diagnosing = true
		// A handshake of TLS takes a small camera a second, and only its end tells of the certificate.
		const late =
			!this.#options.source.secure && performance.now() - this.#startedMs > quickFailureMs
		const found = whyUnreachable(this.#options.source, diagnosisTimeoutMs).catch(() => undefined)
		const reason = await (late
			? Promise.race([found, delay(lateDiagnosisTimeoutMs, undefined)])
			: found)
		this.#fail(reason === undefined ? error : new SluiceError('camera_unreachable', reason))
	}

	#onExit({code, signal, expected, reason}: WorkerExit): void {
		if (!expected)
			this.#fail(
				new SluiceError(
					'pipeline_failed',
					reason ?? `the worker died: ${signal ?? `exit code ${code ?? 'none'}`}`
				)
			)
	}

	/** For a worker that cannot be asked to stop, for it does not listen. */
	#misbehaves(reason: string): void {
		this.#worker.kill()
		this.#fail(new SluiceError('pipeline_failed', reason))
	}

	#fail(error: SluiceError): void {
		if (this.#ended) return
		this.#end()
		void this.#worker.close()
		this.#options.onFailure(error)
	}

	#end(): void {
		this.#ended = true
		clearTimeout(this.#timer)
		this.#worker.onMessage = message => {
			if (message.type === 'codec') this.#onCodec(message.codec)
		}
		this.#worker.onFrameBytes = undefined
	}
}
