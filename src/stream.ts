import {SluiceError, type ErrorCode, asSluiceError} from './errors.js'
import type {Logger} from './log.js'
import type {Frame} from './pipeline.js'
import {Playback, type PlaybackContext} from './playback.js'
import type {StreamRequest} from './stream-request.js'

/** Pause before the first retry; each further one doubles it, up to the longest. */
const firstPauseMs = 500
const longestPauseMs = 5000
/** A retry that played for so long counts as sound: the next loss starts with the shortest pause again. */
const soundAfterMs = 10_000
/** What is kept of coded video for late viewers, since the last key frame; a longer group is not kept at all. */
const maxKeptBytes = 16 * 1024 * 1024
const maxKeptFrames = 1800

/** Failures that another try does not mend: somebody has to change something first. */
const finalFailures: readonly ErrorCode[] = ['camera_unauthorized', 'template_invalid', 'shutting_down', 'internal_error', 'bad_request']

export type StreamState = 'starting' | 'playing' | 'retrying' | 'closed' | 'failed'

/** Whoever receives a stream's frames. None of its functions may throw or wait. */
export interface Subscriber {
	onFrame: (frame: Frame) => void
	/** Called once, and never after detach(). The subscriber is detached by then. */
	onFailure: (error: SluiceError) => void
}

export interface StreamOptions {
	request: StreamRequest
	context: PlaybackContext
	/** For how long a camera that has played is tried again; 0 not at all. */
	retryForMs: number
	/** How long the stream lives on without subscribers. */
	lingerMs: number
	/** Whether subscribers may come late, for whom pictures are kept. */
	shared: boolean
	log: Logger
}

/**
 * What viewers are attached to: a camera with its restarts, however many watch.
 *
 * `starting → playing → retrying → playing … → closed`, or `failed`. The first attempt fails at once, with its reason; one
 * that has played is tried again with growing, jittered pauses. It ends by itself when its last subscriber is gone.
 */
export class Stream {
	/** Resolves when the stream has ended, by close() or by a failure, and none of its processes is left. */
	readonly ended: Promise<void>
	#options: StreamOptions
	#resolveEnded: () => void = () => undefined
	#subscribers = new Set<Subscriber>()
	#state: StreamState = 'starting'
	#playback: Playback
	/** Playbacks whose processes have not ended yet. */
	#closing = new Set<Promise<void>>()
	#sequence = 0
	/** The newest image, or the coded video since the last key frame. */
	#kept: Frame[] = []
	#keptBytes = 0
	/** When the loss began that is being retried; undefined while the stream is sound. */
	#lostMs: number | undefined
	#lastFailure: SluiceError | undefined
	#playingSinceMs = 0
	#retries = 0
	/** Of the pause before a retry. */
	#retry: NodeJS.Timeout | undefined
	/** Ends the retries. */
	#deadline: NodeJS.Timeout | undefined
	#linger: NodeJS.Timeout | undefined

	/** @throws SluiceError `over_capacity`, `shutting_down` */
	constructor(options: StreamOptions) {
		this.#options = options
		this.ended = new Promise(resolve => { this.#resolveEnded = resolve })
		this.#playback = this.#play()
	}

	get state(): StreamState {
		return this.#state
	}

	get subscribers(): number {
		return this.#subscribers.size
	}

	/** From the next frame on; a late subscriber receives what was kept, at once, so that it can show a picture. */
	attach(subscriber: Subscriber): void {
		clearTimeout(this.#linger)
		this.#subscribers.add(subscriber)
		if (this.#state !== 'playing') return
		for (const frame of this.#kept) subscriber.onFrame(frame)
	}

	detach(subscriber: Subscriber): void {
		if (!this.#subscribers.delete(subscriber) || this.#subscribers.size > 0) return
		const {lingerMs} = this.#options
		if (lingerMs === 0) void this.close()
		else this.#linger = setTimeout(() => { void this.close() }, lingerMs)
	}

	/** Changes a property of an element while it plays. */
	set(element: string, property: string, value: number): void {
		this.#playback.set(element, property, value)
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
			log,
			onFrame: frame => { this.#onFrame(frame) },
			onFailure: error => { this.#onFailure(error) }
		})
	}

	#onFrame(raw: Frame): void {
		const now = performance.now()
		if (this.#state !== 'playing') {
			this.#state = 'playing'
			this.#playingSinceMs = now
			clearTimeout(this.#deadline)
		} else if (this.#lostMs !== undefined && now - this.#playingSinceMs > soundAfterMs) {
			this.#lostMs = undefined
			this.#retries = 0
		}
		// A restarted pipeline counts from 0 again.
		const frame = {...raw, sequence: this.#sequence++}
		this.#keep(frame)
		for (const subscriber of this.#subscribers) subscriber.onFrame(frame)
	}

	#keep(frame: Frame): void {
		if (!this.#options.shared) return
		if (frame.keyFrame) {
			this.#kept = [frame]
			this.#keptBytes = frame.data.byteLength
			return
		}
		// Without its beginning a group is of no use.
		if (this.#kept.length === 0) return
		this.#keptBytes += frame.data.byteLength
		if (this.#keptBytes > maxKeptBytes || this.#kept.length >= maxKeptFrames) this.#kept = []
		else this.#kept.push(frame)
	}

	#onFailure(error: SluiceError): void {
		this.#track(this.#playback)
		const {retryForMs, log} = this.#options
		if (this.#state === 'starting' || retryForMs === 0 || finalFailures.includes(error.code)) {
			this.#fail(error)
			return
		}
		const now = performance.now()
		this.#lostMs ??= now
		const leftMs = this.#lostMs + retryForMs - now
		const pauseMs = Math.min(longestPauseMs, firstPauseMs * 2 ** this.#retries++) * (0.75 + Math.random() / 2)
		if (pauseMs > leftMs) {
			this.#giveUp(error)
			return
		}
		log.warn({code: error.code, detail: error.detail, retry: this.#retries, pauseMs: Math.round(pauseMs)}, 'retrying')
		if (this.#state === 'playing') {
			this.#kept = []
			this.#deadline = setTimeout(() => { this.#giveUp(this.#lastFailure ?? error) }, leftMs)
		}
		this.#lastFailure = error
		this.#state = 'retrying'
		this.#retry = setTimeout(() => { this.#tryAgain() }, pauseMs)
	}

	#tryAgain(): void {
		try {
			this.#playback = this.#play()
		} catch (error) {
			this.#onFailure(asSluiceError(error))
		}
	}

	#giveUp(last: SluiceError): void {
		const code = last.code === 'pipeline_failed' ? last.code : 'camera_lost'
		this.#fail(new SluiceError(code, `not back within ${this.#options.retryForMs / 1000} s: ${last.detail}`))
	}

	#fail(error: SluiceError): void {
		const told = [...this.#subscribers]
		this.#end('failed')
		for (const subscriber of told) subscriber.onFailure(error)
	}

	#end(state: 'closed' | 'failed'): void {
		if (this.#state === 'closed' || this.#state === 'failed') return
		this.#state = state
		this.#subscribers.clear()
		this.#kept = []
		for (const timer of [this.#retry, this.#deadline, this.#linger]) clearTimeout(timer)
		this.#track(this.#playback)
		void Promise.all(this.#closing).then(() => { this.#resolveEnded() })
	}

	/** A playback that has failed may have a process left for a moment. */
	#track(playback: Playback): void {
		const closed = playback.close().then(() => { this.#closing.delete(closed) })
		this.#closing.add(closed)
	}
}
