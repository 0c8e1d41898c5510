import {cameraFailure} from './camera-failure.js'
import type {CameraSource} from './camera-source.js'
import {SluiceError, wordsOf} from './errors.js'
import {maxFrameBytes} from './frame-pipe.js'
import type {Logger} from './log.js'
import {RateLimit} from './rate-limit.js'
import {whyUnreachable} from './reachability.js'
import type {Worker, WorkerExit} from './worker.js'
import type {BusMessage, Caps, FromWorker, PropertyValue} from './worker-messages.js'

/** Bounds that no camera reaches: beyond them the worker itself is broken. */
const maxFramesPerSecond = 1000
const maxWarnings = 16
/** A failure that came later than this was a wait for an answer already; asking again would only add to it. */
const quickFailureMs = 1000
const diagnosisTimeoutMs = 1000

/** One sample of the appsink. */
export interface Frame {
	/** From 0, without gaps; a stream counts on where one pipeline follows another. */
	sequence: number
	/** When it was pulled: the system's monotonic clock, in milliseconds. */
	timeMs: number
	/** Whether it can be decoded without the frames before it. Every image can. */
	keyFrame: boolean
	data: Uint8Array
	caps: Caps
	/** Of MP4, the initialization segment, which a viewer needs before its first fragment and whenever the caps are others. */
	init?: Uint8Array | undefined
	/** What the camera sends, by its name in RTP, H264 say; undefined where that is not known. */
	codec: string | undefined
}

export interface PipelineOptions {
	/** The launch text of a filled template. */
	launch: string
	source: CameraSource
	/** What is set right behind the start, before the first frame; by then it may have changed. */
	properties?: ReadonlyMap<string, PropertyValue>
	/** The longest wait for the first key frame. */
	openTimeoutMs: number
	/** The longest wait between two frames. */
	frameTimeoutMs: number
	log: Logger
	/** From a key frame on. */
	onFrame: (frame: Frame) => void
	/** Called once, and never after close(): the first reason wins. The pipeline has closed itself by then. */
	onFailure: (error: SluiceError) => void
}

/** One pipeline in a worker of its own, from start to exit. */
export class Pipeline {
	#worker: Worker
	#options: PipelineOptions
	#playing = false
	/** Frames that came before the first key frame. */
	#unusable = 0
	#caps: Caps = {}
	#init: Uint8Array | undefined
	#codec: string | undefined
	#warnings: BusMessage[] = []
	#startedMs = performance.now()
	#timer: NodeJS.Timeout
	#budget = new RateLimit(maxFramesPerSecond)
	#started = false
	#ended = false

	/** Takes the worker over: close(), or a failure, ends it. */
	constructor(worker: Worker, options: PipelineOptions) {
		this.#worker = worker
		this.#options = options
		const {launch, source, openTimeoutMs} = options
		const {location, user, password} = source
		worker.redact = source.redact
		worker.onMessage = message => { this.#onMessage(message) }
		this.#timer = setTimeout(() => {
			this.#fail(new SluiceError('camera_timeout', `${this.#unusable === 0 ? 'no picture' : `no key frame, and ${this.#unusable} others,`} within ${openTimeoutMs / 1000} s`))
		}, openTimeoutMs)
		worker.ready.then(
			() => {
				this.#started = true
				worker.send({type: 'start', launch, source: {location, ...(user !== undefined && {user}), ...(password !== undefined && {password})}})
				for (const changed of options.properties?.values() ?? []) this.set(changed)
			},
			(error: unknown) => { this.#fail(new SluiceError('pipeline_failed', wordsOf(error))) }
		)
		void worker.exited.then(exit => { this.#onExit(exit) })
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
		if (message.type === 'frame') this.#onFrame(message)
		else if (message.type === 'bus') this.#onBusMessage(message.message)
		else if (message.type === 'unparsable') this.#fail(new SluiceError('template_invalid', this.#options.source.redact(message.message)))
	}

	#onFrame({sequence, timeMs, keyFrame, data, caps, init, codec}: Extract<FromWorker, {type: 'frame'}>): void {
		if (!this.#budget.take()) {
			this.#misbehaves(`the worker sent more than ${maxFramesPerSecond} frames in a second`)
			return
		}
		if (data.byteLength > maxFrameBytes) {
			this.#misbehaves(`a frame of ${data.byteLength} bytes is more than the ${maxFrameBytes} that are taken`)
			return
		}
		if (caps) {
			this.#caps = caps
			this.#init = init === undefined ? undefined : Buffer.from(init, 'base64')
		}
		if (codec !== undefined) this.#codec = codec
		if (!this.#playing) {
			// A camera is joined anywhere; what builds on frames that nobody has would tear the picture.
			this.#unusable++
			if (!keyFrame) return
			this.#onFirstFrame()
		}
		this.#timer.refresh()
		this.#options.onFrame({sequence, timeMs, keyFrame, data, caps: this.#caps, init: this.#init, codec: this.#codec})
	}

	#onFirstFrame(): void {
		this.#playing = true
		const {frameTimeoutMs, log} = this.#options
		clearTimeout(this.#timer)
		this.#timer = setTimeout(() => {
			this.#fail(new SluiceError('camera_lost', `no picture for ${frameTimeoutMs / 1000} s`))
		}, frameTimeoutMs)
		log.info({firstFrameMs: Math.round(performance.now() - this.#startedMs), width: this.#caps['width'], height: this.#caps['height'], codec: this.#codec}, 'playing')
	}

	#onBusMessage(message: BusMessage): void {
		const {log, source: {redact}} = this.#options
		if (log.isLevelEnabled('debug')) log.debug({...message, ...(message.message !== undefined && {message: redact(message.message)}), ...(message.debug !== undefined && {debug: redact(message.debug)})}, 'bus message')
		if (message.kind === 'warning' || message.kind === 'missing-plugin') {
			if (this.#warnings.length < maxWarnings) this.#warnings.push(message)
			return
		}
		void this.#failWith(cameraFailure(message, this.#warnings, this.#playing, redact))
	}

	/** Adds to "cannot be reached" why, where that can be found out at once. */
	async #failWith(error: SluiceError): Promise<void> {
		const {source} = this.#options
		const quick = performance.now() - this.#startedMs < quickFailureMs
		if (error.code !== 'camera_unreachable' || !quick) {
			this.#fail(error)
			return
		}
		const reason = await whyUnreachable(source, diagnosisTimeoutMs).catch(() => undefined)
		this.#fail(reason === undefined ? error : new SluiceError('camera_unreachable', reason))
	}

	#onExit({code, signal, expected, reason}: WorkerExit): void {
		if (!expected) this.#fail(new SluiceError('pipeline_failed', reason ?? `the worker died: ${signal ?? `exit code ${code ?? 'none'}`}`))
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
		this.#worker.onMessage = undefined
	}
}
