/** Where pictures are shown: a canvas that modes draw on, and a video that modes play in. The last picture stays until the next comes. */
export class Screen {
	/** @type {'canvas' | 'video' | null} */
	#shown = null

	constructor() {
		this.canvas = Object.assign(document.createElement('canvas'), {
			width: 16,
			height: 9,
			hidden: true
		})
		this.canvas.setAttribute('role', 'img')
		this.video = Object.assign(document.createElement('video'), {
			muted: true,
			playsInline: true,
			hidden: true,
			disableRemotePlayback: true
		})
		for (const surface of [this.canvas, this.video]) surface.setAttribute('part', 'picture')
	}

	/** @returns {'canvas' | 'video' | null} what shows a picture now */
	get shown() {
		return this.#shown
	}

	/** @returns {{width: number, height: number}} of the picture; zero where there is none */
	get size() {
		if (this.#shown === 'canvas') return {width: this.canvas.width, height: this.canvas.height}
		if (this.#shown === 'video')
			return {width: this.video.videoWidth, height: this.video.videoHeight}
		return {width: 0, height: 0}
	}

	/** Makes a surface ready for its first picture. The canvas lies on the video, so what is shown stays till then. @param {'canvas' | 'video'} surface */
	prepare(surface) {
		// A browser tells of no pictures in a video that has no box.
		if (surface === 'video') this.video.hidden = false
	}

	/** @param {'canvas' | 'video' | null} surface */
	show(surface) {
		if (surface === this.#shown) return
		this.#shown = surface
		this.canvas.hidden = surface !== 'canvas'
		this.video.hidden = surface !== 'video'
	}

	/** Takes the video's last picture over to the canvas, for a video that ends goes black. */
	freeze() {
		if (this.#shown !== 'video') return
		if (this.#copy(this.canvas)) this.show('canvas')
		else this.show(null)
	}

	/** Forgets the picture. */
	clear() {
		this.show(null)
		// A canvas that keeps its size keeps its memory.
		this.canvas.width = 16
		this.canvas.height = 9
	}

	/** @param {string} type @returns {Promise<Blob | null>} the picture as an image; null where there is none */
	async snapshot(type) {
		const copy = document.createElement('canvas')
		if (!this.#copy(copy)) return null
		return new Promise(resolve => {
			copy.toBlob(resolve, type, 0.92)
		})
	}

	/** @param {HTMLCanvasElement} target */
	#copy(target) {
		const {width, height} = this.size
		if (width === 0 || height === 0) return false
		Object.assign(target, {width, height})
		target
			.getContext('2d', {alpha: false})
			?.drawImage(this.#shown === 'video' ? this.video : this.canvas, 0, 0, width, height)
		return true
	}
}
