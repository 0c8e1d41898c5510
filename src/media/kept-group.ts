/** However small they are. */
const maxFrames = 1800

/**
 * The frames since the last key frame, from which a late viewer is shown a picture. Of images that is the newest. A group that
 * grows beyond its bounds is not kept at all, for without its beginning it is of no use.
 */
export class KeptGroup<Frame extends {keyFrame: boolean; data: Uint8Array}> {
	#maxBytes: number
	#frames: Frame[] = []
	#bytes = 0

	constructor(maxBytes: number) {
		this.#maxBytes = maxBytes
	}

	/** From a key frame on; none where there is none, or its group is too large. */
	get frames(): readonly Frame[] {
		return this.#frames
	}

	add(frame: Frame): void {
		if (frame.keyFrame) this.clear()
		else if (this.#frames.length === 0) return
		this.#frames.push(frame)
		this.#bytes += frame.data.byteLength
		if (!frame.keyFrame && (this.#bytes > this.#maxBytes || this.#frames.length > maxFrames))
			this.clear()
	}

	clear(): void {
		this.#frames = []
		this.#bytes = 0
	}
}
