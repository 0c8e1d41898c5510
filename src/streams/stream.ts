import type {Frame, Subscriber} from './frame.js'
import type {CameraSource} from '../cameras/camera-address.js'
import {SluiceError, type ErrorCode, asSluiceError} from '../base/errors.js'
import {KeptGroup} from '../media/kept-group.js'
import type {Logger} from '../base/log.js'
import type {Sample} from '../pipeline/frame-reader.js'
import {Playback, type PlaybackContext} from './playback.js'
import {Retries} from './retry.js'
import type {StreamRequest} from './stream-request.js'
import type {PropertyValue} from '../pipeline/messages.js'

/** What is kept of coded video for late viewers, since the last key frame; a longer group is not kept at all. A viewer's place holds it, and a second more. */
const maxKeptBytes = 6 * 1024 * 1024

/** Failures that another try does not mend: somebody has to change something first. */
const finalFailures: readonly ErrorCode[] = [
	'camera_unauthorized',
	'template_invalid',
	'shutting_down',
	'internal_error',
	'bad_request'
]

export type StreamState = 'starting' | 'playing' | 'retrying' | 'closed' | 'failed'

export interface StreamOptions {
	request: StreamRequest
	context: PlaybackContext
	/** For how long a camera that has played is tried again; 0 not at all. */
	retryForMs: number
	/** How long the stream lives on without subscribers. */
	lingerMs: number
	/** Whether subscribers may come late, for whom pictures are kept. */
	shared: boolean
	/** Waited for before the start: another stream has to make room first. */
	after?: Promise<void>
	/** Told of each time that the camera is to be tried again. */
	onRetry?: (() => void) | undefined
	log: Logger
}

/**
 * What viewers are attached to: a camera with its restarts, however many watch.
 *
 * `starting → playing → retrying → playing … → closed`, or `failed`. The first attempt fails at once, with its reason; one
 * that has played is tried again with growing, jittered pauses, while somebody waits for it. It ends by itself when its last
 * subscriber is gone.
 */
export class Stream {
	/** Resolves when the stream has ended, by close() or by a failure, and none of its processes is left. */
	readonly ended: Promise<void>
	#options: StreamOptions
	#resolveEnded: () => void = () => undefined
	#subscribers = new Set<Subscriber>()
	/** Of those who came late and found no picture: they hear of it in time, as if they had been the first. */
	#patience = new Map<Subscriber, NodeJS.Timeout>()
	#state: StreamState = 'starting'
	#playback: Playback | undefined
	/** Playbacks whose processes have not ended yet. */
	#closing = new Set<Promise<void>>()
	/** What was set while it played, by element and property: each further pipeline gets it as well. */
	#properties = new Map<string, PropertyValue>()
	#sequence = 0
	/** The newest image, or the coded video since the last key frame. */
	#kept = new KeptGroup<Frame>(maxKeptBytes)
	/** Variants that did not start for this stream. */
	#failed = new Set<string>()
	#lastFailure: SluiceError | undefined
	#retries: Retries
	/** Of the pause before a retry. */
	#retry: NodeJS.Timeout | undefined
	/** Ends the retries. */
	#deadline: NodeJS.Timeout | undefined
	#linger: NodeJS.Timeout | undefined

	/** @throws SluiceError `over_capacity`, `shutting_down` */
	constructor(options: StreamOptions) {
		this.#options = options
		this.#retries = new Retries(options.retryForMs)
		this.ended = new Promise(resolve => {
			this.#resolveEnded = resolve
		})
		if (options.after)
			void options.after.then(() => {
				this.#start('starting')
			})
		else this.#playback = this.#play()
	}

	get state(): StreamState {
		return this.#state
	}

	/** Where its pictures come from. */
	get source(): CameraSource {
		return this.#options.request.source
	}

	get subscribers(): number {
		return this.#subscribers.size
	}

	/** Whether it has ended, or is about to: then nobody can be attached to it. */
	get over(): boolean {
		return this.#state === 'closed' || this.#state === 'failed'
	}

	/** From the next frame on; a late subscriber receives what was kept, before this returns, so that it can show a picture. */
	attach(subscriber: Subscriber): void {
		clearTimeout(this.#linger)
		this.#subscribers.add(subscriber)
		if (this.#kept.frames.length === 0 && this.#state !== 'starting') {
			this.#patience.set(
				subscriber,
				setTimeout(() => {
					this.#disappoint(subscriber)
				}, this.#options.context.openTimeoutMs)
			)
		}
		for (const frame of this.#kept.frames) this.#give(subscriber, frame)
	}

	detach(subscriber: Subscriber): void {
		if (!this.#subscribers.delete(subscriber)) return
		clearTimeout(this.#patience.get(subscriber))
		this.#patience.delete(subscriber)
		if (this.#subscribers.size > 0 || this.over) return
		const {lingerMs} = this.#options
		// A lost camera has no picture for whoever comes next.
		if (lingerMs === 0 || this.#state === 'retrying') void this.close()
		else
			this.#linger = setTimeout(() => {
				void this.close()
			}, lingerMs)
	}

	/** Changes a property of an element while it plays, and for as long as the stream lives. */
	set(element: string, property: string, value: number): void {
		const changed = {element, property, value}
		this.#properties.set(`${element}.${property}`, changed)
		this.#playback?.set(changed)
	}

	/** Asks the encoder for a key frame; a camera may pass over that. */
	requestKeyFrame(): void {
		if (this.#state === 'playing') this.#playback?.requestKeyFrame()
	}

	/** Ends it, without a word to subscribers, and waits until its processes have ended. */
	async close(): Promise<void> {
		this.#end('closed')
		await this.ended
	}

	/** @throws SluiceError `over_capacity`, `shutting_down` */
	#play(): Playback {
		const {request, context, log} = this.#options
		return new Playback({
			...context,
			request,
			properties: this.#properties,
			failed: this.#failed,
			log,
			onSample: sample => {
				this.#onSample(sample)
			},
			onFailure: error => {
				this.#onFailure(error)
			}
		})
	}

	#onSample(sample: Sample): void {
		const first = this.#state !== 'playing'
		if (first) {
			this.#state = 'playing'
			clearTimeout(this.#deadline)
		}
		this.#retries.onPicture(first)
		// Written out, for V8 takes ten times as long to spread an object.
		const {timeMs, keyFrame, data, caps, init, pale} = sample
		const frame: Frame = {timeMs, keyFrame, data, caps, init, pale, sequence: this.#sequence++}
		if (this.#options.shared) this.#kept.add(frame)
		for (const [subscriber, timer] of this.#patience) {
			if (!frame.keyFrame && !subscriber.takesAnyFrame) continue
			clearTimeout(timer)
			this.#patience.delete(subscriber)
		}
		// Whoever is attached meanwhile was given this frame already.
		for (const subscriber of [...this.#subscribers]) this.#give(subscriber, frame)
	}

	/** A subscriber may have detached itself, or been detached, at the frame or the subscriber before. */
	#give(subscriber: Subscriber, frame: Frame): void {
		if (this.#subscribers.has(subscriber)) subscriber.onFrame(frame)
	}

	#disappoint(subscriber: Subscriber): void {
		const {openTimeoutMs} = this.#options.context
		const last = this.#state === 'retrying' ? this.#lastFailure : undefined
		this.detach(subscriber)
		subscriber.onFailure(
			last ?? new SluiceError('camera_timeout', `no picture within ${openTimeoutMs / 1000} s`)
		)
	}

	#onFailure(error: SluiceError): void {
		this.#track(this.#playback)
		const {retryForMs, onRetry, log} = this.#options
		if (
			this.#state === 'starting' ||
			retryForMs === 0 ||
			this.#subscribers.size === 0 ||
			finalFailures.includes(error.code)
		) {
			this.#fail(error)
			return
		}
		this.#lastFailure = error
		const retry = this.#retries.next()
		if (!retry) {
			this.#giveUp()
			return
		}
		const {number, pauseMs, leftMs} = retry
		log.warn(
			{code: error.code, detail: error.detail, retry: number, pauseMs: Math.round(pauseMs)},
			'retrying'
		)
		onRetry?.()
		if (this.#state === 'playing') {
			this.#kept.clear()
			this.#deadline = setTimeout(() => {
				this.#giveUp()
			}, leftMs)
		}
		this.#state = 'retrying'
		this.#retry = setTimeout(() => {
			void this.#tryAgain()
		}, pauseMs)
	}

	async #tryAgain(): Promise<void> {
		// Until its processes have ended, the last attempt has a place among the server's pipelines, and maybe the camera's only session.
		await Promise.all(this.#closing)
		this.#start('retrying')
	}

	/** What was waited for before may have taken so long that the stream has ended meanwhile. */
	#start(state: StreamState): void {
		if (this.#state !== state) return
		try {
			this.#playback = this.#play()
		} catch (error) {
			this.#onFailure(asSluiceError(error))
		}
	}

	#giveUp(): void {
		const {code = 'camera_lost', detail = ''} = this.#lastFailure ?? {}
		// The camera is not to blame for a worker's crash, nor for the server's limits.
		const kept = code === 'pipeline_failed' || code === 'over_capacity'
		this.#fail(
			new SluiceError(
				kept ? code : 'camera_lost',
				`tried again for ${this.#options.retryForMs / 1000} s: ${detail}`
			)
		)
	}

	#fail(error: SluiceError): void {
		this.#end('failed')
		for (const subscriber of this.#subscribers) {
			this.#subscribers.delete(subscriber)
			subscriber.onFailure(error)
		}
	}

	#end(state: 'closed' | 'failed'): void {
		if (this.over) return
		this.#state = state
		if (state === 'closed') this.#subscribers.clear()
		this.#kept.clear()
		for (const timer of [this.#retry, this.#deadline, this.#linger, ...this.#patience.values()])
			clearTimeout(timer)
		this.#patience.clear()
		this.#track(this.#playback)
		void Promise.all(this.#closing).then(() => {
			this.#resolveEnded()
		})
	}

	/** A playback that has failed may have a process left for a moment. */
	#track(playback: Playback | undefined): void {
		if (!playback) return
		const closed = playback.close().then(() => {
			this.#closing.delete(closed)
		})
		this.#closing.add(closed)
	}
}
