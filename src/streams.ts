import type {Logger} from './log.js'
import type {PlaybackContext} from './playback.js'
import {Stream, type Subscriber} from './stream.js'
import type {StreamRequest} from './stream-request.js'

export interface StreamsOptions {
	context: PlaybackContext
	/** Whether viewers that ask for the same share a stream. */
	share: boolean
	/** How long a shared stream lives on after its last viewer. */
	lingerMs: number
	retryForMs: number
	log: Logger
}

/** Every stream of the server: one for each viewer, or, shared, one for each camera, template and parameters. */
export class Streams {
	#options: StreamsOptions
	#all = new Set<Stream>()
	#shared = new Map<string, Stream>()

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
		const stream = this.#options.share ? this.#sharedStream(request) : this.#open(request, log, false)
		stream.attach(subscriber)
		return stream
	}

	/** Ends every stream and waits until none of their processes is left. */
	async close(): Promise<void> {
		await Promise.all([...this.#all].map(async stream => stream.close()))
	}

	#sharedStream(request: StreamRequest): Stream {
		const known = this.#shared.get(request.key)
		// One that ends just now has no place for anybody.
		if (known && known.state !== 'closed' && known.state !== 'failed') return known
		const stream = this.#open(request, this.#options.log.child({camera: request.source.label}), true)
		this.#shared.set(request.key, stream)
		void stream.ended.then(() => { if (this.#shared.get(request.key) === stream) this.#shared.delete(request.key) })
		return stream
	}

	#open(request: StreamRequest, log: Logger, shared: boolean): Stream {
		const {context, retryForMs, lingerMs} = this.#options
		const stream = new Stream({request, context, retryForMs, lingerMs: shared ? lingerMs : 0, shared, log})
		this.#all.add(stream)
		void stream.ended.then(() => { this.#all.delete(stream) })
		return stream
	}
}
