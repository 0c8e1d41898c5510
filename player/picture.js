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
	/** @type {ArrayBuffer | null} */
	#newest = null
	#drawing = false
	/** Tells a decode that was under way when the canvas was cleared from one that may be drawn. */
	#era = 0

	/** Since the page was loaded: pictures that arrived, were drawn, gave way to a newer one or were no image; and bytes. */
	counts = {received: 0, drawn: 0, dropped: 0, broken: 0, bytes: 0}

	/**
	 * @param {HTMLCanvasElement} canvas
	 * @param {() => void} onDrawn called after each picture that was drawn
	 */
	constructor(canvas, onDrawn) {
		this.#canvas = canvas
		// A JPEG has no transparency, and the browser composes an opaque canvas for less.
		this.#context = canvas.getContext('2d', {alpha: false})
		this.#onDrawn = onDrawn
	}

	/** Offers a picture for drawing; the one that still waits gives way. @param {ArrayBuffer} picture the bytes of a JPEG */
	show(picture) {
		this.counts.received++
		this.counts.bytes += picture.byteLength
		if (this.#newest) this.counts.dropped++
		this.#newest = picture
		this.#draw()
	}

	/** Forgets what waits and what is drawn. */
	clear() {
		this.#era++
		this.#newest = null
		this.#context?.clearRect(0, 0, this.#canvas.width, this.#canvas.height)
	}

	async #draw() {
		if (this.#drawing) return
		this.#drawing = true
		// Nobody sees a hidden page: its newest picture waits, and the first that comes after its return wakes this loop.
		while (this.#newest && !document.hidden) {
			const picture = this.#newest
			this.#newest = null
			const era = this.#era
			try {
				const bitmap = await createImageBitmap(new Blob([picture], {type: 'image/jpeg'}))
				if (era === this.#era) this.#paint(bitmap)
				bitmap.close()
			} catch {
				this.counts.broken++
			}
		}
		this.#drawing = false
	}

	/** @param {ImageBitmap} bitmap */
	#paint(bitmap) {
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
		this.#onDrawn()
	}
}
