import {monotonicMs} from '../base/clock.js'
import {KeptGroup} from '../media/kept-group.js'
import type {SessionCounters} from './messages.js'

/** What is kept since the last key frame; a longer group is not kept at all. */
const maxKeptBytes = 16 * 1024 * 1024
/** Replays leave at this pace: 40 Mbit/s. A burst of all at once overflows a receiver's socket, and what is lost is lost. */
const replayBytesPerMs = 5000
const replayStepMs = 5
/** A worker that did not get to run does not make up for more than this, for that would be such a burst. */
const replayCatchUpMs = 20
/** Frames of a replay are shown this far apart. At one tick of RTP's clock Chromium takes them for one picture. */
const replayFrameMs = 1
/** Older than this, what is kept is the past: the camera is lost, and a replay would look live. */
const staleMs = 1500
/**
 * A viewer that asks for a key frame is answered this long after its last replay ended; for whom that does not help, each pause is
 * twice the one before, until it has asked for nothing for a while.
 */
const askAgainMs = 500
const longestAskAgainMs = 8000
const contentAfterMs = 30_000

/** An access unit in the worker, its units behind their lengths. */
export interface CodedFrame {
	/** The system's monotonic clock when it was pulled, in milliseconds. */
	timeMs: number
	keyFrame: boolean
	data: Buffer
}

/**
 * The coded video of one stream, in the WebRTC worker: the pictures since the last key frame, and the viewers that they
 * go to. A late viewer is primed from them.
 */
export class Source {
	#feeds = new Set<Feed>()
	#kept = new KeptGroup<CodedFrame>(maxKeptBytes)

	get kept(): readonly CodedFrame[] {
		return this.#kept.frames
	}

	/** Whether it holds nothing that anybody needs. */
	get unused(): boolean {
		return this.#feeds.size === 0 && this.kept.length === 0
	}

	/** Where frames are missing, the next one has to be a key frame. */
	add(frame: CodedFrame): void {
		this.#kept.add(frame)
		for (const feed of this.#feeds) feed.offer(frame)
	}

	attach(feed: Feed): void {
		this.#feeds.add(feed)
		feed.replay(this.kept)
	}

	detach(feed: Feed): void {
		this.#feeds.delete(feed)
	}
}

/**
 * Hands an access unit to the transport, with its RTP timestamp in milliseconds.
 * @returns false where the transport did not take it
 */
export type SendCoded = (data: Buffer, timestampMs: number) => boolean

/**
 * The way of coded video to one viewer, in the WebRTC worker. Live frames leave at once; a replay leaves at a pace, and
 * live frames wait behind it. What waits is bounded by what is kept: a key frame that comes meanwhile takes its place.
 */
export class Feed {
	readonly counters: SessionCounters = {sent: 0, bytes: 0, dropped: 0, asked: 0, replays: 0}
	#send: SendCoded
	#now: () => number
	#waiting: {frame: CodedFrame; timestampMs: number}[] = []
	#waitingBytes = 0
	#needsKeyFrame = true
	#lastTimestampMs = -Infinity
	#timer: NodeJS.Timeout | undefined
	/** Up to when the pace of the replay is used up. */
	#paidUntilMs = 0
	#replayedMs = -Infinity
	#askAgainMs = askAgainMs
	#closed = false

	/** @param now the clock of the frames, in milliseconds */
	constructor(send: SendCoded, now = monotonicMs) {
		this.#send = send
		this.#now = now
	}

	/** Never waits, never throws. */
	offer(frame: CodedFrame): void {
		if (this.#closed) return
		if (frame.keyFrame) {
			// Whatever waits is older, and of no use any more.
			this.#dropWaiting()
			this.#needsKeyFrame = false
		}
		if (this.#needsKeyFrame) {
			this.counters.dropped++
			return
		}
		if (this.#waiting.length === 0) {
			this.#emit(frame, frame.timeMs)
			return
		}
		this.#waiting.push({frame, timestampMs: frame.timeMs})
		this.#waitingBytes += frame.data.byteLength
		if (this.#waitingBytes > 2 * maxKeptBytes) {
			this.#dropWaiting()
			this.#needsKeyFrame = true
		}
	}

	/**
	 * Sends the pictures since the last key frame, for a viewer that has none, so fast that it catches up.
	 * @returns false where there are none, or old ones only
	 */
	replay(kept: readonly CodedFrame[]): boolean {
		const newest = kept.at(-1)
		const now = this.#now()
		if (this.#closed || !newest || now - newest.timeMs > staleMs) return false
		this.counters.replays++
		this.#dropWaiting()
		this.#needsKeyFrame = false
		this.#waiting = kept.map((frame, index) => ({
			frame,
			timestampMs: newest.timeMs - (kept.length - 1 - index) * replayFrameMs
		}))
		this.#waitingBytes = kept.reduce((sum, {data}) => sum + data.byteLength, 0)
		this.#paidUntilMs = now - replayStepMs
		this.#step()
		return true
	}

	/**
	 * The viewer asks for a key frame.
	 * @returns whether the camera's next key frame is worth asking for: false where the viewer was answered just now, and has to wait, or
	 *   where the camera is lost
	 */
	refresh(kept: readonly CodedFrame[]): boolean {
		this.counters.asked++
		if (kept.length === 0) return true
		const sinceMs = this.#now() - this.#replayedMs
		if (this.#waiting.length > 0 || sinceMs < this.#askAgainMs || !this.replay(kept)) return false
		this.#askAgainMs =
			sinceMs > contentAfterMs ? askAgainMs : Math.min(longestAskAgainMs, this.#askAgainMs * 2)
		return true
	}

	close(): void {
		this.#closed = true
		this.#dropWaiting()
	}

	#step(): void {
		const now = this.#now()
		this.#paidUntilMs = Math.max(this.#paidUntilMs, now - replayCatchUpMs)
		while (this.#paidUntilMs < now) {
			const next = this.#waiting.shift()
			if (!next) break
			this.#waitingBytes -= next.frame.data.byteLength
			// A frame larger than a step's share is paid for by the steps behind it.
			this.#paidUntilMs += next.frame.data.byteLength / replayBytesPerMs
			this.#emit(next.frame, next.timestampMs)
		}
		if (this.#waiting.length > 0)
			this.#timer = setTimeout(() => {
				this.#step()
			}, replayStepMs)
		else this.#replayedMs = now
	}

	#emit({data}: CodedFrame, timestampMs: number): void {
		this.#lastTimestampMs = Math.max(timestampMs, this.#lastTimestampMs + replayFrameMs)
		if (!this.#send(data, this.#lastTimestampMs)) {
			// As on the network beyond: the viewer asks for what it misses.
			this.counters.dropped++
			return
		}
		this.counters.sent++
		this.counters.bytes += data.byteLength
	}

	#dropWaiting(): void {
		clearTimeout(this.#timer)
		this.counters.dropped += this.#waiting.length
		this.#waiting = []
		this.#waitingBytes = 0
	}
}
