/* global VideoDecoder, EncodedVideoChunk */
import {StreamSocket} from '../stream-socket.js'
import {socketAddress} from './mode.js'

/** Access units that may wait in the decoder; a decoder that is further behind goes on with the next key frame. */
const longestQueue = 12
/** A stream over UDP may be torn now and then; one that tears the decoder so often without a picture is of no use. */
const mostErrorsInARow = 5

/** H.264 as the camera sends it, over a WebSocket, decoded by WebCodecs and drawn on a canvas. @implements {Mode} */
export class WebCodecsMode {
	static surface = 'canvas'
	/** Browsers have WebCodecs on https and on localhost only. */
	static isSupported = () => typeof window.VideoDecoder === 'function'

	#options
	#context
	#socket
	/** @type {VideoDecoder | null} */
	#decoder = null
	/** @type {VideoDecoderConfig | null} */
	#config = null
	#needsKeyFrame = true
	/** @type {VideoFrame | null} the newest decoded picture, which waits for the browser's next frame */
	#newest = null
	#animation = 0
	#errors = 0
	#lastTimestamp = 0
	#delayMs = 0
	#stopped = false

	counts = {drawn: 0, dropped: 0, bytes: 0}

	/** @param {import('./mode.js').ModeOptions} options */
	constructor(options) {
		this.#options = options
		this.#context = options.screen.canvas.getContext('2d', {alpha: false})
		this.#socket = new StreamSocket({
			onFrame: bytes => {
				this.#decode(bytes)
			},
			onCaps: caps => {
				this.#take(caps)
			},
			onLoss: reason => {
				this.#fail(reason)
			}
		})
	}

	/** From an access unit's arrival to its drawing. With B-frames, the time that they wait for their order is part of it. */
	get delay() {
		return this.counts.drawn === 0 ? null : {ms: this.#delayMs, of: 'decode'}
	}

	start() {
		const {wanted} = this.#options
		this.#socket.open(socketAddress(wanted, wanted.pipeline || 'h264'))
	}

	stop() {
		this.#stopped = true
		this.#socket.close()
		window.cancelAnimationFrame(this.#animation)
		this.#closeDecoder()
	}

	overdue() {
		return this.#socket.overdue()
	}

	/** @param {import('../reasons.js').Reason} reason */
	#fail(reason) {
		if (this.#stopped) return
		this.stop()
		this.#options.onFailure(reason)
	}

	/** @param {Record<string, unknown>} caps */
	#take({name, codec}) {
		if (name !== 'video/x-h264') {
			this.#fail({code: 'not_video', detail: String(name)})
			return
		}
		// Without `description` the decoder reads Annex B, with its parameter sets in band. It takes the profile from those as
		// well, so a server that could not name the codec does no harm.
		this.#config = {codec: String(codec ?? 'avc1.640029'), optimizeForLatency: true}
		this.#openDecoder()
	}

	#openDecoder() {
		this.#closeDecoder()
		this.#needsKeyFrame = true
		// What a decoder that was closed still says concerns nobody.
		const current = act => value => {
			if (decoder === this.#decoder) act(value)
			else value.close?.()
		}
		const decoder = new VideoDecoder({
			output: current(frame => {
				this.#offer(frame)
			}),
			error: current(error => {
				this.#onError(error)
			})
		})
		this.#decoder = decoder
		try {
			decoder.configure(this.#config)
		} catch (error) {
			this.#fail({code: 'decode_failed', detail: String(error)})
		}
	}

	#closeDecoder() {
		const decoder = this.#decoder
		this.#decoder = null
		if (decoder && decoder.state !== 'closed') decoder.close()
		this.#newest?.close()
		this.#newest = null
	}

	/** The decoder has closed itself. @param {DOMException} error */
	#onError(error) {
		this.#errors++
		// A codec that the browser does not have stays away, whatever comes next.
		if (
			error.name === 'NotSupportedError' ||
			this.counts.drawn === 0 ||
			this.#errors > mostErrorsInARow
		)
			this.#fail({code: 'decode_failed', detail: error.message})
		else this.#openDecoder()
	}

	/** @param {ArrayBuffer} bytes an access unit in Annex B */
	#decode(bytes) {
		this.counts.bytes += bytes.byteLength
		this.#options.onFrame()
		const decoder = this.#decoder
		if (!decoder) return
		// A hidden page goes on decoding for the short time until the player disconnects: a group of pictures that was left
		// could be taken up again only with its next key frame.
		if (decoder.decodeQueueSize >= longestQueue) this.#needsKeyFrame = true
		const keyFrame = hasKeyFrame(new Uint8Array(bytes))
		if (this.#needsKeyFrame && !keyFrame) {
			this.counts.dropped++
			return
		}
		if (keyFrame && decoder.decodeQueueSize >= longestQueue) {
			// What waits is older than this key frame, and nothing behind the key frame needs it.
			this.counts.dropped += decoder.decodeQueueSize
			decoder.reset()
			decoder.configure(this.#config)
		}
		this.#needsKeyFrame = false
		// The time of arrival takes the place of a timestamp, which the stream does not have: it comes out with the picture, and tells the delay.
		this.#lastTimestamp = Math.max(this.#lastTimestamp + 1, Math.round(performance.now() * 1000))
		try {
			decoder.decode(
				new EncodedVideoChunk({
					type: keyFrame ? 'key' : 'delta',
					timestamp: this.#lastTimestamp,
					data: bytes
				})
			)
		} catch (error) {
			this.#onError(error)
		}
	}

	/** @param {VideoFrame} frame */
	#offer(frame) {
		// Frames that nobody closes stop the decoder, for it has few.
		if (this.#newest) {
			this.#newest.close()
			this.counts.dropped++
		} else
			this.#animation = window.requestAnimationFrame(() => {
				this.#paint()
			})
		this.#newest = frame
	}

	#paint() {
		const frame = this.#newest
		this.#newest = null
		if (!frame) return
		const {canvas} = this.#options.screen
		const {displayWidth: width, displayHeight: height} = frame
		// Setting a canvas' size, even to the same, makes a new one.
		if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, {width, height})
		this.#context?.drawImage(frame, 0, 0, width, height)
		this.#delayMs = performance.now() - frame.timestamp / 1000
		frame.close()
		this.#errors = 0
		this.counts.drawn++
		this.#options.onPicture()
	}
}

/** Whether an access unit can be decoded by itself: it holds a slice of an IDR picture (NAL unit type 5). @param {Uint8Array} bytes in Annex B */
function hasKeyFrame(bytes) {
	for (let at = 2; at < bytes.length - 1;) {
		const byte = bytes[at]
		// Whatever is greater than 1 can be no part of a start code that begins in the last three bytes.
		if (byte > 1) at += 3
		else if (byte === 1 && bytes[at - 1] === 0 && bytes[at - 2] === 0) {
			const type = bytes[at + 1] & 31
			// A picture's slices come last, and are of one kind: no need to read on through them.
			if (type === 5) return true
			if (type === 1) return false
			at += 3
		} else at++
	}
	return false
}
