import type {CameraSource} from './camera-source.js'

/** A camera's owner may set another codec; then the old one is believed no longer than this. */
const rememberMs = 10 * 60 * 1000
const maxCameras = 1000

/** Which codec each camera was last seen to send. */
export class CodecMemory {
	#codecs = new Map<string, {codec: string; untilMs: number}>()

	recall({location}: CameraSource): string | undefined {
		const known = this.#codecs.get(location)
		return known && known.untilMs > performance.now() ? known.codec : undefined
	}

	learn({location}: CameraSource, codec: string): void {
		// A Map keeps the order of insertion: the camera that was learnt of longest ago is forgotten first.
		this.#codecs.delete(location)
		this.#codecs.set(location, {codec, untilMs: performance.now() + rememberMs})
		const [oldest] = this.#codecs.keys()
		if (this.#codecs.size > maxCameras && oldest !== undefined) this.#codecs.delete(oldest)
	}

	forget({location}: CameraSource): void {
		this.#codecs.delete(location)
	}
}
