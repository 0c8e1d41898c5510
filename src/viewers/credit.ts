/** How long a frame may take beyond the link's own round trip before no further one follows it. */
const leastMarginMs = 50
const greatestMarginMs = 300
/** The same in intervals between frames: on a link that carries the rate just so, each frame takes one. */
const marginIntervals = 1.5
/** How many frames may be on their way, however long the round trip: 200 ms at 240 frames a second, and some. */
const maxUnanswered = 64
/** How many of them at first; one more with each that has arrived. */
const maxUnansweredAtFirst = 2
/** A link that has answered no ping by then has somebody on it who swallows them. */
const blindAfterMs = 1000
/** Where frames have been held back, the round trip is measured anew after so long: the link may have become a longer one. */
const probeAfterMs = 30_000

/**
 * How many frames may be on their way to one viewer.
 *
 * TCP and a browser buffer seconds of pictures, and a link too slow for them then shows the past. So each frame is followed
 * by a ping, whose answer says that the viewer has taken all before it. A frame on its way for longer than the link's own
 * round trip, that of a lost packet and a margin waits in a queue somewhere; while there is such a one, or would be, no further
 * frame is sent. A long link thus carries as many frames as it holds, a slow one carries one or two. The round trip is the least that a ping took; the first
 * one is sent ahead of any frame.
 *
 * Where pings are swallowed there is nothing to go by: then a frame may always be sent, and the transport's buffer paces.
 */
export class Credit {
	#ping: (payload: Buffer) => void
	#now: () => number
	#unanswered: {id: number; sentMs: number}[] = []
	#lastId = 0
	#startedMs: number
	#roundTripMs: number | undefined
	/** How long the link is busy with one frame, smoothed. */
	#frameMs = 0
	#lastAnswerMs = 0
	/** Frames that have arrived. */
	#arrived = 0
	#intervalMs = 0
	#lastOfferMs: number | undefined
	#heldBackSinceMs: number | undefined
	#probing = false

	/**
	 * @param ping sends a ping with this payload, behind all that was sent before
	 * @param now a monotonic clock in milliseconds; another one is for tests
	 */
	constructor(ping: (payload: Buffer) => void, now = () => performance.now()) {
		this.#ping = ping
		this.#now = now
		this.#startedMs = now()
	}

	/** Whether no ping was ever answered, and some should have been. */
	get blind(): boolean {
		return this.#roundTripMs === undefined && this.#now() - this.#startedMs > blindAfterMs
	}

	/** Measures the round trip of the link while nothing is on it. */
	start(): void {
		this.#startedMs = this.#now()
		this.#send()
	}

	/** To be told of each frame that there is, sent or not: their rate is what the link should carry. */
	onOffer(): void {
		const now = this.#now()
		if (this.#lastOfferMs !== undefined)
			this.#intervalMs += (Math.min(1000, now - this.#lastOfferMs) - this.#intervalMs) / 8
		this.#lastOfferMs = now
	}

	/** Whether a frame may be sent now. Where not, an answer to a ping will change that. */
	allows(): boolean {
		if (this.blind) return true
		const now = this.#now()
		const probeIsDue =
			this.#heldBackSinceMs !== undefined && now - this.#heldBackSinceMs > probeAfterMs
		const [oldest] = this.#unanswered
		if (oldest === undefined) {
			if (probeIsDue) this.#probe()
			return !probeIsDue
		}
		const allowed = !probeIsDue && !this.#probing && this.#hasRoomBehind(now - oldest.sentMs)
		if (!allowed) this.#heldBackSinceMs ??= now
		return allowed
	}

	/** To be called right after a frame was handed to the transport. */
	onSent(): void {
		this.#send()
	}

	/** @returns whether it was an answer that was waited for: frames may be allowed now that were not before */
	onPong(payload: Buffer): boolean {
		const id = payload.length === 4 ? payload.readUInt32BE() : undefined
		const index = this.#indexOf(id)
		const ping = this.#unanswered[index]
		if (!ping) return false
		// Of several pings a viewer may answer the newest only, says RFC 6455.
		this.#unanswered.splice(0, index + 1)
		const now = this.#now()
		const tookMs = now - ping.sentMs
		if (this.#probing || this.#roundTripMs === undefined || tookMs < this.#roundTripMs)
			this.#roundTripMs = tookMs
		this.#probing = false
		if (ping.id !== 1) this.#arrived += index + 1
		// Since the frame before it was through, or since it was sent, whichever is later.
		const busyMs =
			(now - Math.max(this.#lastAnswerMs, ping.sentMs + this.#roundTripMs)) / (index + 1)
		this.#frameMs += (busyMs - this.#frameMs) / 4
		this.#lastAnswerMs = now
		return true
	}

	/** Of the ping that was answered, -1 where there is none. While nothing was ever answered, the oldest stands for all. */
	#indexOf(id: number | undefined): number {
		const index = this.#unanswered.findIndex(ping => ping.id === id)
		const oldest = this.#unanswered[0]?.id ?? Infinity
		return index === -1 && this.blind && id !== undefined && id > oldest && id <= this.#lastId
			? 0
			: index
	}

	#hasRoomBehind(ageMs: number): boolean {
		const count = this.#unanswered.length
		// The ping ahead of all frames is one of these.
		if (this.#roundTripMs === undefined) return count <= maxUnansweredAtFirst
		const marginMs = Math.min(
			greatestMarginMs,
			Math.max(leastMarginMs, this.#intervalMs * marginIntervals)
		)
		return (
			count < Math.min(maxUnanswered, maxUnansweredAtFirst + this.#arrived) &&
			// Twice, for a packet that was lost comes a round trip later, and is no queue.
			ageMs < 2 * this.#roundTripMs + this.#frameMs + marginMs &&
			// The age alone would let a link that is too slow have several before the first of them shows it.
			(this.#frameMs < this.#intervalMs || count * this.#frameMs < this.#roundTripMs + marginMs)
		)
	}

	/** Nothing is on the link: what a ping takes now is its round trip, whatever was measured before. */
	#probe(): void {
		this.#heldBackSinceMs = undefined
		this.#probing = true
		this.#send()
	}

	#send(): void {
		this.#lastId = (this.#lastId + 1) % 2 ** 32
		// A viewer that answers nothing is not remembered ping by ping, but by the oldest: the link may be a very long one.
		if (this.blind && this.#unanswered.length > 0) this.#unanswered.length = 1
		else this.#unanswered.push({id: this.#lastId, sentMs: this.#now()})
		const payload = Buffer.allocUnsafe(4)
		payload.writeUInt32BE(this.#lastId)
		this.#ping(payload)
	}
}
