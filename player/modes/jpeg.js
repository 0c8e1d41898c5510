import {jpegQuality} from '../jpeg-quality.js'
import {StreamSocket} from '../stream-socket.js'
import {socketAddress} from './mode.js'
import {Picture} from './picture.js'

/** JPEG images over a WebSocket, drawn on a canvas: plays whatever the server can decode, in every browser. @implements {Mode} */
export class JpegMode {
	static surface = 'canvas'
	static isSupported = () => true

	#options
	#socket
	#picture
	/** Of the newest picture, and the best so far. */
	#quality = {newest: 0, best: 0}

	/** @param {import('./mode.js').ModeOptions} options */
	constructor(options) {
		const {screen, onFrame, onPicture, onFailure} = options
		this.#options = options
		this.#picture = new Picture(screen.canvas, onPicture, () => {
			this.stop()
			onFailure({code: 'decode_failed', detail: 'no JPEG image that the browser knows'})
		})
		this.#socket = new StreamSocket({
			onFrame: bytes => {
				onFrame()
				this.#picture.show(bytes)
				this.#readQuality(bytes)
			},
			onCaps: () => {
				// The stream would go on, and none of it can be drawn.
				this.stop()
				onFailure({code: 'not_images', detail: ''})
			},
			onLoss: reason => {
				this.stop()
				onFailure(reason)
			}
		})
	}

	get counts() {
		return this.#picture.counts
	}

	/** From a picture's arrival to its drawing. */
	get delay() {
		return this.#picture.counts.drawn === 0 ? null : {ms: this.#picture.delayMs, of: 'draw'}
	}

	/** The quality of the newest picture and the best one, where the server was asked to let it follow the link; else null. */
	get quality() {
		return this.#quality.newest === 0 ? null : this.#quality
	}

	start() {
		const {wanted} = this.#options
		this.#socket.open(socketAddress(wanted, wanted.pipeline))
	}

	stop() {
		this.#socket.close()
		this.#picture.stop()
	}

	overdue() {
		return this.#socket.overdue()
	}

	/** @param {ArrayBuffer} bytes */
	#readQuality(bytes) {
		if (this.#options.wanted.parameters.adaptive !== 'on') return
		const newest = jpegQuality(bytes) ?? 0
		this.#quality = {newest, best: Math.max(this.#quality.best, newest)}
	}
}
