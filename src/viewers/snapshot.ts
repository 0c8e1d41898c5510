import {monotonicMs} from '../base/clock.js'
import {SluiceError} from '../base/errors.js'
import type {Logger} from '../base/log.js'
import type {Frame, Subscriber} from '../streams/frame.js'
import type {Stream} from '../streams/stream.js'
import type {StreamRequest} from '../streams/stream-request.js'
import type {Streams} from '../streams/streams.js'

export interface SnapshotOptions {
	request: StreamRequest
	/** How old a picture may be that a shared stream has kept; 0 takes one that comes after the request. */
	maxAgeMs: number
	timeoutMs: number
	/** Ends the wait, with its reason: the viewer has gone, or the server goes. */
	signal: AbortSignal
	streams: Streams
	log: Logger
}

/**
 * Waits for one picture.
 * @throws SluiceError every failure of a stream's, and `camera_timeout`
 */
export async function takeSnapshot({
	request,
	maxAgeMs,
	timeoutMs,
	signal,
	streams,
	log
}: SnapshotOptions): Promise<Frame> {
	const oldestMs = monotonicMs() - maxAgeMs
	let stream: Stream | undefined
	let subscriber: Subscriber | undefined
	let timer: NodeJS.Timeout | undefined
	let pale: Frame | undefined
	try {
		return await new Promise<Frame>((resolve, reject) => {
			const onFailure = (error: SluiceError) => {
				if (pale) resolve(pale)
				else reject(error)
			}
			subscriber = {
				onFrame: frame => {
					if (frame.timeMs < oldestMs) return
					if (frame.pale) pale = frame
					else resolve(frame)
				},
				onFailure
			}
			timer = setTimeout(() => {
				onFailure(new SluiceError('camera_timeout', `no picture within ${timeoutMs / 1000} s`))
			}, timeoutMs)
			const stop = () => {
				reject(signal.reason as Error)
			}
			if (signal.aborted) stop()
			else {
				signal.addEventListener('abort', stop, {once: true})
				stream = streams.attach(request, subscriber, log)
			}
		})
	} finally {
		clearTimeout(timer)
		if (subscriber) stream?.detach(subscriber)
	}
}
