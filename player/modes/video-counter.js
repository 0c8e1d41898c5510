/** Tells of each picture that a video element presents. */
export class VideoCounter {
	#video
	#onPicture
	#callback = 0
	/** How many there were. */
	drawn = 0

	/** @param {HTMLVideoElement} video @param {() => void} onPicture */
	constructor(video, onPicture) {
		this.#video = video
		this.#onPicture = onPicture
	}

	start() {
		if (this.#video.requestVideoFrameCallback) this.#listen()
		// An older browser tells when its clock moves, a few times a second: enough to know that it plays.
		else
			this.#video.ontimeupdate = () => {
				this.#count(1)
			}
	}

	stop() {
		this.#video.cancelVideoFrameCallback?.(this.#callback)
		this.#video.ontimeupdate = null
	}

	#listen() {
		let before = 0
		const onFrame = (_, {presentedFrames}) => {
			this.#callback = this.#video.requestVideoFrameCallback(onFrame)
			// A busy page misses some of these calls, but not the pictures.
			this.#count(before === 0 ? 1 : presentedFrames - before)
			before = presentedFrames
		}
		this.#callback = this.#video.requestVideoFrameCallback(onFrame)
	}

	/** @param {number} pictures */
	#count(pictures) {
		this.drawn += pictures
		this.#onPicture()
	}
}
