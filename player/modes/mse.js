import {StreamSocket} from '../stream-socket.js'
import {socketAddress} from './mode.js'
import {VideoCounter} from './video-counter.js'

/** What a phone's browser calls its own kind of it. */
const MediaSource = window.ManagedMediaSource ?? window.MediaSource

/** Fragments that may wait for the browser; when more do, they are dropped up to the next one that can be decoded by itself. */
const longestQueue = 60
/** How far behind the newest picture the video plays: two fragments, so that a late one does not stop it. */
const targetS = 0.2
/** Further behind than this, it jumps. In between it plays a little faster. */
const jumpS = 0.8
/** Played video that is kept; what is older is removed now and then. */
const keptS = 5
const removedFromS = 15

/** Fragmented MP4 over a WebSocket, played by the browser's own video element. @implements {Mode} */
export class MseMode {
	static surface = 'video'
	static isSupported = () => typeof MediaSource === 'function'

	#options
	#socket
	#source = new MediaSource()
	/** @type {SourceBuffer | null} */
	#buffer = null
	/** Fragments, and a codec where it changes. @type {(ArrayBuffer | string)[]} */
	#queue = []
	#codec = ''
	#counter
	#address = ''
	#dropped = 0
	#bytes = 0
	#waitsForStart = false
	#stopped = false

	/** @param {import('./mode.js').ModeOptions} options */
	constructor(options) {
		this.#options = options
		this.#counter = new VideoCounter(options.screen.video, options.onPicture)
		this.#socket = new StreamSocket({
			onFrame: bytes => {
				this.#bytes += bytes.byteLength
				options.onFrame()
				this.#offer(bytes)
			},
			onCaps: caps => {
				this.#take(caps)
			},
			onLoss: reason => {
				this.#fail(reason)
			}
		})
	}

	get counts() {
		const {droppedVideoFrames = 0} = this.#options.screen.video.getVideoPlaybackQuality?.() ?? {}
		return {
			drawn: this.#counter.drawn,
			dropped: this.#dropped + droppedVideoFrames,
			bytes: this.#bytes
		}
	}

	/** How much video waits in the browser. */
	get delay() {
		const aheadS = this.#aheadS()
		return aheadS === null || this.#counter.drawn === 0 ? null : {ms: aheadS * 1000, of: 'buffer'}
	}

	start() {
		const {wanted} = this.#options
		this.#socket.open(socketAddress(wanted, wanted.pipeline || 'mp4'))
	}

	stop() {
		if (this.#stopped) return
		this.#stopped = true
		this.#options.screen.freeze()
		const {video} = this.#options.screen
		this.#socket.close()
		this.#counter.stop()
		this.#queue = []
		video.onerror = this.#source.onsourceopen = null
		if (this.#buffer) this.#buffer.onupdateend = null
		URL.revokeObjectURL(this.#address)
		video.playbackRate = 1
		video.removeAttribute('src')
		// This lets go of the decoder and of what is buffered.
		video.load()
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
	#take({codec}) {
		const type = `video/mp4; codecs="${String(codec ?? 'avc1.640029')}"`
		if (!MediaSource.isTypeSupported(type)) {
			this.#fail({code: 'decode_failed', detail: type})
			return
		}
		const first = this.#codec === ''
		this.#codec = type
		if (first) this.#attach()
		// What came before the change is appended as what it was.
		else this.#queue.push(type)
	}

	/** Gives the video its source. Only now, for a server may have nothing to play. */
	#attach() {
		const {video} = this.#options.screen
		this.#address = URL.createObjectURL(this.#source)
		this.#source.onsourceopen = () => {
			URL.revokeObjectURL(this.#address)
			this.#openBuffer()
		}
		video.src = this.#address
		video.onerror = () => {
			this.#fail({code: 'decode_failed', detail: video.error?.message ?? ''})
		}
		this.#counter.start()
	}

	#openBuffer() {
		if (this.#buffer) return
		try {
			this.#buffer = this.#source.addSourceBuffer(this.#codec)
		} catch (error) {
			this.#fail({code: 'decode_failed', detail: String(error)})
			return
		}
		this.#buffer.onupdateend = () => {
			this.#follow()
			this.#append()
		}
		this.#append()
	}

	/** @param {ArrayBuffer} bytes */
	#offer(bytes) {
		if (this.#queue.length >= longestQueue) {
			// What comes next needs its codec and its initialization segment all the same.
			const kept = [
				this.#queue.findLast(part => typeof part === 'string'),
				this.#queue.findLast(part => typeof part !== 'string' && isStart(part))
			]
			this.#dropped += this.#queue.length
			this.#queue = this.#queue.filter(part => kept.includes(part))
			this.#waitsForStart = true
		}
		if (this.#waitsForStart && !isStart(bytes) && !beginsWithKeyFrame(bytes)) {
			this.#dropped++
			return
		}
		this.#waitsForStart = false
		this.#queue.push(bytes)
		this.#append()
	}

	#append() {
		const buffer = this.#buffer
		if (!buffer || buffer.updating || this.#stopped) return
		const next = this.#queue.shift()
		if (!next) return
		try {
			if (typeof next === 'string') {
				buffer.changeType(next)
				this.#append()
			} else buffer.appendBuffer(next)
		} catch (error) {
			this.#fail({code: 'decode_failed', detail: String(error)})
		}
	}

	/** Stays near the newest picture, and removes what was played. */
	#follow() {
		const {video} = this.#options.screen
		const {buffered} = video
		if (buffered.length === 0) return
		const start = buffered.start(buffered.length - 1)
		const end = buffered.end(buffered.length - 1)
		const ahead = end - video.currentTime
		// Dropped fragments leave a hole, which a video does not cross by itself.
		if (video.currentTime < start || ahead > jumpS)
			video.currentTime = Math.max(start, end - targetS)
		video.playbackRate = ahead > targetS * 2 ? 1.1 : 1
		if (video.paused) video.play().catch(() => undefined)
		if (
			this.#buffer &&
			!this.#buffer.updating &&
			video.currentTime - buffered.start(0) > removedFromS
		)
			this.#buffer.remove(0, video.currentTime - keptS)
	}

	#aheadS() {
		const {video} = this.#options.screen
		const {buffered} = video
		return buffered.length === 0
			? null
			: Math.max(0, buffered.end(buffered.length - 1) - video.currentTime)
	}
}

/** Whether it is an initialization segment, with which everything begins anew. @param {ArrayBuffer} bytes */
const isStart = bytes => boxType(bytes) === 'ftyp'

/** A box of MP4 has its type behind its length. @param {ArrayBuffer} bytes @param {number} [at] of the box */
function boxType(bytes, at = 0) {
	return at + 8 > bytes.byteLength ? '' : String.fromCharCode(...new Uint8Array(bytes, at + 4, 4))
}

/**
 * Whether a fragment can be decoded without the ones before it: the flags of the first sample in its `trun` do not say
 * `sample_is_non_sync_sample` [ISO/IEC 14496-12, 8.8.8].
 * @param {ArrayBuffer} bytes
 */
function beginsWithKeyFrame(bytes) {
	const view = new DataView(bytes)
	/** @param {string[]} path @param {number} from @param {number} to @returns {{at: number, end: number} | null} */
	const find = ([name, ...rest], from, to) => {
		for (let at = from; at + 8 <= to;) {
			const end = at + view.getUint32(at)
			if (end <= at || end > to) return null
			if (boxType(bytes, at) === name)
				return rest.length === 0 ? {at: at + 8, end} : find(rest, at + 8, end)
			at = end
		}
		return null
	}
	const nonSync = 0x10000
	const trun = find(['moof', 'traf', 'trun'], 0, bytes.byteLength)
	if (!trun || trun.at + 12 > trun.end) return false
	const flags = view.getUint32(trun.at) & 0xffffff
	let at = trun.at + 8 + (flags & 1 ? 4 : 0)
	if (flags & 4) return (view.getUint32(at) & nonSync) === 0
	if (flags & 0x400) {
		at += (flags & 0x100 ? 4 : 0) + (flags & 0x200 ? 4 : 0)
		return at + 4 <= trun.end && (view.getUint32(at) & nonSync) === 0
	}
	const tfhd = find(['moof', 'traf', 'tfhd'], 0, bytes.byteLength)
	if (!tfhd || tfhd.at + 8 > tfhd.end) return false
	const defaults = view.getUint32(tfhd.at) & 0xffffff
	at =
		tfhd.at +
		8 +
		(defaults & 1 ? 8 : 0) +
		(defaults & 2 ? 4 : 0) +
		(defaults & 8 ? 4 : 0) +
		(defaults & 0x10 ? 4 : 0)
	return (defaults & 0x20) !== 0 && at + 4 <= tfhd.end && (view.getUint32(at) & nonSync) === 0
}
