/** A page that is never idle must not stop the pictures. */
const longestWaitMs = 50
/** An image may be torn now and then; where so many came and none could be drawn, none will be. */
const mostBroken = 5

/**
 * Lets the page see what came while it was busy: else the picture that is taken next is the one that was the newest before.
 * A task of the lowest priority runs after the messages.
 */
async function messagesFirst() {
	// Safari has no scheduler. There a task of a timer comes in its turn among the messages.
	if (!globalThis.scheduler)
		return new Promise(resolve => {
			setTimeout(resolve, 0)
		})
	const waited = AbortSignal.timeout(longestWaitMs)
	await globalThis.scheduler
		.postTask(() => undefined, {priority: 'background', signal: waited})
		.catch(() => undefined)
}

/**
 * Draws the newest picture, and only that one, on a canvas.
 *
 * A new picture takes the place of the one that waits, so a page that is busy or hidden skips pictures in place of
 * falling behind, and holds no more than two of them: one waits, one is decoded.
 */
export class Picture {
	#canvas
	#context
	#onDrawn
	#onUseless
	/** @type {{bytes: ArrayBuffer, at: number} | null} */
	#newest = null
	#drawing = false
	#stopped = false

	#broken = 0
	/** Pictures that were drawn or gave way to a newer one; and the bytes of all that arrived. */
	counts = {drawn: 0, dropped: 0, bytes: 0}
	/** From the arrival of the newest drawn picture until it was drawn, in ms. */
	delayMs = 0

	/**
	 * @param {HTMLCanvasElement} canvas
	 * @param {() => void} onDrawn called after each picture that was drawn
	 * @param {() => void} onUseless called once, where the browser can draw none of them
	 */
	constructor(canvas, onDrawn, onUseless) {
		this.#canvas = canvas
		// A JPEG has no transparency, and the browser composes an opaque canvas for less.
		this.#context = canvas.getContext('2d', {alpha: false})
		this.#onDrawn = onDrawn
		this.#onUseless = onUseless
	}

	/** Offers a picture for drawing; the one that still waits gives way. @param {ArrayBuffer} bytes of a JPEG */
	show(bytes) {
		this.counts.bytes += bytes.byteLength
		if (this.#newest) this.counts.dropped++
		this.#newest = {bytes, at: performance.now()}
		this.#draw()
	}

	/** Draws nothing any more, not even what is being decoded. What is drawn stays. */
	stop() {
		this.#stopped = true
		this.#newest = null
	}

	async #draw() {
		if (this.#drawing) return
		this.#drawing = true
		// Nobody sees a hidden page: its newest picture waits, and the first that comes after its return wakes this loop.
		while (this.#newest && !document.hidden) {
			const {bytes, at} = this.#newest
			this.#newest = null
			try {
				const bitmap = await createImageBitmap(new Blob([bytes], {type: 'image/jpeg'}))
				if (!this.#stopped) this.#paint(bitmap, at)
				bitmap.close()
				await messagesFirst()
			} catch {
				this.#broken++
				if (!this.#stopped && this.counts.drawn === 0 && this.#broken === mostBroken)
					this.#onUseless()
			}
		}
		this.#drawing = false
	}

	/** @param {ImageBitmap} bitmap @param {number} arrivedAt */
	#paint(bitmap, arrivedAt) {
		const {width, height} = bitmap
		// Setting a canvas' size, even to the same, makes a new one.
		if (this.#canvas.width !== width || this.#canvas.height !== height) {
			this.#canvas.width = width
			this.#canvas.height = height
		}
		// Not in an animation frame: the browser shows what is drawn now with its next frame anyway, and waiting for the
		// frame's callback would only hold up the next decode.
		this.#context?.drawImage(bitmap, 0, 0)
		this.counts.drawn++
		this.delayMs = performance.now() - arrivedAt
		this.#onDrawn()
	}
}
