import {asSluiceError, SluiceError} from '../base/errors.js'
import type {Logger} from '../base/log.js'
import type {PlaybackContext} from './playback.js'
import type {Subscriber} from './frame.js'
import {Stream} from './stream.js'
import type {StreamRequest} from './stream-request.js'

export interface StreamsOptions {
	context: PlaybackContext
	/** Whether viewers that ask for the same share a stream. */
	share: boolean
	/** How long a shared stream lives on after its last viewer. */
	lingerMs: number
	retryForMs: number
	/** Told of each time that a lost camera is to be tried again. */
	onRetry?: (() => void) | undefined
	log: Logger
}

/** Every stream of the server: one for each viewer, or, shared, one for each camera, template and parameters. */
export class Streams {
	#options: StreamsOptions
	#all = new Set<Stream>()
	#shared = new Map<string, {stream: Stream; request: StreamRequest}>()
	/** Streams whose place is promised to another. */
	#promised = new WeakSet<Stream>()
	#closed = false

	constructor(options: StreamsOptions) {
		this.#options = options
	}

	get all(): ReadonlySet<Stream> {
		return this.#all
	}

	/**
	 * Attaches a subscriber to the stream that it asks for, started for it where there is none. It detaches itself.
	 * @param log for a stream of the subscriber's own; it names the camera
	 * @throws SluiceError `over_capacity`, `shutting_down`
	 */
	attach(request: StreamRequest, subscriber: Subscriber, log: Logger): Stream {
		const stream = this.#options.share
			? this.#sharedStream(request)
			: this.#open(request, log, false)
		stream.attach(subscriber)
		return stream
	}

	/** Ends every stream and waits until none of their processes is left. */
	async close(): Promise<void> {
		this.#closed = true
		await Promise.all([...this.#all].map(async stream => stream.close()))
	}

	#sharedStream(request: StreamRequest): Stream {
		const known = this.#shared.get(request.key)
		// One that ends just now has no place for anybody.
		if (known && !known.stream.over && sameVariants(known.request, request)) return known.stream
		const stream = this.#open(
			request,
			this.#options.log.child({camera: request.source.label}),
			true
		)
		this.#shared.set(request.key, {stream, request})
		void stream.ended.then(() => {
			if (this.#shared.get(request.key)?.stream === stream) this.#shared.delete(request.key)
		})
		return stream
	}

	#open(request: StreamRequest, log: Logger, shared: boolean): Stream {
		if (this.#closed) throw new SluiceError('shutting_down', 'the server is shutting down')
		const {context, retryForMs, lingerMs, onRetry} = this.#options
		const options = {
			request,
			context,
			retryForMs,
			lingerMs: shared ? lingerMs : 0,
			shared,
			onRetry,
			log
		}
		let stream: Stream
		try {
			stream = new Stream(options)
		} catch (error) {
			const after = asSluiceError(error).code === 'over_capacity' ? this.#makeRoom() : undefined
			if (!after) throw error
			stream = new Stream({...options, after})
		}
		this.#all.add(stream)
		void stream.ended.then(() => {
			this.#all.delete(stream)
		})
		return stream
	}

	/** A place that is free in a moment: of a stream that ends already, or of one that nobody watches any more. */
	#makeRoom(): Promise<void> | undefined {
		const all = [...this.#all].filter(stream => !this.#promised.has(stream))
		const idle = all.find(({over}) => over) ?? all.find(({subscribers}) => subscribers === 0)
		if (!idle) return undefined
		this.#promised.add(idle)
		return idle.close()
	}
}

/** A key tells versions of the plain template apart, not those of its variants, of which there may be more from time to time. */
function sameVariants(one: StreamRequest, other: StreamRequest): boolean {
	return one.variants.every(variant => {
		const edited = other.variants.find(({template}) => template === variant.template)
		return edited === undefined || edited.launch === variant.launch
	})
}
