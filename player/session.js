import {Ladder} from './ladder.js'
import {JpegMode} from './modes/jpeg.js'
import {MseMode} from './modes/mse.js'
import {WebCodecsMode} from './modes/webcodecs.js'
import {WebRtcMode} from './modes/webrtc.js'
import {isFinal} from './reasons.js'
import {Retry} from './retry.js'
import {takeTurn} from './turns.js'

/** A mode that shows no picture for so long gives way to the next. */
const firstPictureWithinMs = 3000
/** Where it was too early to tell why there is none, it is asked again. */
const againAfterMs = 1000
/** A network that has let no media through for so long is called blocked, where no other mode can take over. */
const blockedAfterMs = 10_000
/** Without anything new for so long, what is shown is no longer called live. */
const silentAfterMs = 3000
/** A browser notices a dead link only after minutes. README.md says it, for the server's own limits may be longer. */
const longestSilenceMs = 30_000
/** After a change of network so much silence is enough to try anew. */
const suspiciousSilenceMs = 5000

/** @type {Record<import('./ladder.js').ModeName, any>} */
const modes = {webrtc: WebRtcMode, webcodecs: WebCodecsMode, mse: MseMode, jpeg: JpegMode}

/**
 * @typedef {import('./reasons.js').Reason} Reason
 * @typedef {import('./ladder.js').ModeName} ModeName
 * @typedef {import('./modes/mode.js').Wanted} Wanted
 *
 * @typedef {object} State
 * @property {'idle' | 'loading' | 'live' | 'waiting' | 'reconnecting' | 'failed' | 'paused'} name
 * @property {ModeName | null} mode the one that plays or is tried
 * @property {Reason | null} reason of `reconnecting` and `failed`
 * @property {number | null} retryAt when the next try starts, in ms of `performance.now()`; null outside a pause
 */

/** @type {State} */
const idle = {name: 'idle', mode: null, reason: null, retryAt: null}

/** What happens from the wish for a camera to its end: which mode plays, what a failure leads to, and when it is tried again. */
export class Session {
	#screen
	#onState
	/** @type {Wanted | null} */
	#wanted = null
	/** @type {Ladder | null} */
	#ladder = null
	#isPinned = false
	/** @type {import('./modes/mode.js').Mode | null} */
	#mode = null
	#retry = new Retry(() => {
		this.#begin()
	})
	/** Removes the listeners on the window and the document. */
	#listening = new AbortController()
	#deadline = 0
	/** Lets the next player of the page start. @type {(shown?: boolean) => void} */
	#endTurn = () => undefined
	#triedAt = 0
	#firstPictureAt = 0
	#heardAt = 0
	#pictureAt = 0
	/** Whether the camera has been live since it was asked for. */
	#hasPlayed = false
	/** What the modes before this one counted. */
	#countedBefore = {drawn: 0, dropped: 0, bytes: 0}
	/** @type {State} */
	#state = idle

	/**
	 * @param {object} options
	 * @param {import('./screen.js').Screen} options.screen
	 * @param {() => void} options.onState called after each change of the state
	 */
	constructor({screen, onState}) {
		this.#screen = screen
		this.#onState = onState
	}

	/** @returns {State} */
	get state() {
		return this.#state
	}

	/** @returns {number} ms since something arrived, or since the try began that waits for it */
	get #silentForMs() {
		return performance.now() - this.#heardAt
	}

	/** @returns {number} how old the last picture is, in ms */
	get pictureAgeMs() {
		return performance.now() - this.#pictureAt
	}

	/** @returns {import('./modes/mode.js').Counts} of all modes since the camera was asked for */
	get counts() {
		const now = this.#mode?.counts
		const before = this.#countedBefore
		return now
			? {
					drawn: before.drawn + now.drawn,
					dropped: before.dropped + now.dropped,
					bytes: before.bytes + now.bytes
				}
			: before
	}

	get delay() {
		return this.#mode?.delay ?? null
	}

	get quality() {
		return this.#mode?.quality ?? null
	}

	/** @returns {number | null} from the start of this try to its first picture, in ms */
	get firstPictureMs() {
		return this.#firstPictureAt === 0 ? null : this.#firstPictureAt - this.#triedAt
	}

	/**
	 * Shows a camera, in place of what was shown before.
	 * @param {Wanted} wanted
	 * @param {ModeName | 'auto'} wish
	 * @param {boolean} seen whether anybody sees it; otherwise it waits for `resume()`
	 */
	open(wanted, wish, seen) {
		this.#leave()
		this.#wanted = wanted
		this.#isPinned = wish !== 'auto'
		this.#countedBefore = {drawn: 0, dropped: 0, bytes: 0}
		this.#hasPlayed = false
		this.#retry.reset()
		this.#ladder = new Ladder({
			wish,
			supported: mode => modes[mode].isSupported(),
			server: wanted.server,
			camera: wanted.camera || wanted.rtspUrl
		})
		this.#state = idle
		if (seen) this.resume()
		else this.#change({...idle, name: 'paused'})
	}

	/** Fails without trying. @param {Reason} reason */
	refuse(reason) {
		this.#leave()
		this.#wanted = null
		this.#change({...idle, name: 'failed', reason})
	}

	/** Disconnects for good. */
	close() {
		this.#leave()
		this.#wanted = null
		if (this.#state.name !== 'idle') this.#change(idle)
	}

	/** Disconnects, and keeps the picture and what is known for `resume()`. */
	pause() {
		if (!this.#wanted || this.#state.name === 'failed') return
		this.#leave()
		this.#change({...idle, name: 'paused', mode: this.#state.mode})
	}

	/** Connects again, at once. */
	resume() {
		if (!this.#wanted) return
		this.#leave()
		this.#listening = new AbortController()
		const {signal} = this.#listening
		// After a change of network, or when somebody looks at the page again, waiting has no point.
		window.addEventListener(
			'online',
			() => {
				this.#wake()
			},
			{signal}
		)
		document.addEventListener(
			'visibilitychange',
			() => {
				if (!document.hidden) this.#wake()
			},
			{signal}
		)
		// A page that goes into the browser's memory, or for good, says good-bye: a server would notice only after seconds.
		window.addEventListener(
			'pagehide',
			() => {
				this.pause()
			},
			{signal}
		)
		this.#begin()
	}

	/** Ends the pause before the next try. It does nothing when there is none. */
	tryNow() {
		this.#retry.now()
	}

	/** Looks after silence. To be called a few times a second. */
	tick() {
		const {name} = this.#state
		if (this.#mode === null) return
		if (this.#silentForMs > longestSilenceMs) this.#lose({code: 'silent', detail: ''})
		else if (name === 'live' && this.#silentForMs > silentAfterMs)
			this.#change({...this.#state, name: 'waiting'})
	}

	/** @param {State} state */
	#change(state) {
		this.#state = state
		this.#onState()
	}

	#wake() {
		if (this.#retry.at !== null) this.tryNow()
		// The link that this connection used may be gone without a word.
		else if (this.#firstPictureAt !== 0 && this.#mode && this.#silentForMs > suspiciousSilenceMs)
			this.#lose({code: 'silent', detail: ''})
	}

	#leave() {
		this.#listening.abort()
		this.#retry.cancel()
		this.#hangUp()
	}

	/** Ends the mode and its timer; its last picture stays. */
	#hangUp() {
		clearTimeout(this.#deadline)
		this.#endTurn()
		const mode = this.#mode
		if (!mode) return
		this.#countedBefore = this.counts
		this.#mode = null
		mode.stop()
	}

	/** Starts a try, where it is most likely to work. */
	#begin() {
		this.#triedAt = performance.now()
		this.#ladder.restart()
		this.#start()
	}

	#start() {
		this.#hangUp()
		const name = this.#ladder.mode
		this.#firstPictureAt = 0
		if (!modes[name].isSupported()) {
			this.#state = {...idle, mode: name}
			this.#lose({code: 'mode_unsupported', detail: ''})
			return
		}
		const trying = this.#state.name === 'reconnecting' ? 'reconnecting' : 'loading'
		this.#change({...this.#state, name: trying, mode: name, retryAt: null})
		// Whoever was told may have changed the wish.
		if (this.#state.name === trying)
			this.#endTurn = takeTurn(() => {
				this.#tryMode(name)
			})
	}

	/** @param {ModeName} name */
	#tryMode(name) {
		try {
			this.#startMode(name)
		} catch (error) {
			// A page of https opens no WebSocket without it. A mode that has not begun tells of no failure by itself.
			this.#lose({
				code: error.name === 'SecurityError' ? 'bad_address' : 'internal_error',
				detail: String(error)
			})
		}
	}

	/** @param {ModeName} name */
	#startMode(name) {
		const Mode = modes[name]
		this.#heardAt = performance.now()
		this.#screen.prepare(Mode.surface)
		const mode = new Mode({
			// A template and its parameters belong to one mode: the one that is pinned, and else the one whose pictures the server makes.
			wanted:
				this.#isPinned || name === 'jpeg'
					? this.#wanted
					: {...this.#wanted, pipeline: '', parameters: {}},
			screen: this.#screen,
			onFrame: () => {
				this.#heard()
			},
			onPicture: () => {
				if (this.#mode === mode) this.#shown(Mode.surface)
			},
			onFailure: reason => {
				if (this.#mode === mode) this.#lose(reason)
			}
		})
		this.#mode = mode
		this.#deadline = setTimeout(() => {
			this.#onDeadline()
		}, firstPictureWithinMs)
		mode.start()
	}

	#heard() {
		this.#heardAt = performance.now()
		if (this.#state.name === 'waiting') this.#change({...this.#state, name: 'live'})
	}

	/** @param {'canvas' | 'video'} surface */
	#shown(surface) {
		this.#pictureAt = performance.now()
		if (this.#firstPictureAt !== 0) return
		clearTimeout(this.#deadline)
		this.#endTurn(true)
		this.#firstPictureAt = this.#pictureAt
		this.#hasPlayed = true
		this.#ladder.prove()
		this.#screen.show(surface)
		this.#change({...idle, name: 'live', mode: this.#ladder.mode})
	}

	/** @param {boolean} [late] whether it has passed before */
	#onDeadline(late = false) {
		this.#endTurn()
		if (!this.#mode) return
		const reason = this.#mode.overdue()
		if (!reason) {
			this.#deadline = setTimeout(() => {
				this.#onDeadline(late)
			}, againAfterMs)
			return
		}
		const blocked = reason.code === 'media_blocked'
		// A camera that starts again is no reason to give up a mode that has worked.
		if (!blocked && (this.#ladder.isLast || this.#ladder.isProved)) return
		// Nothing takes the place of a mode that is pinned, so it has more time; then people should know that it is the network.
		if (this.#ladder.isLast && !late)
			this.#deadline = setTimeout(() => {
				this.#onDeadline(true)
			}, blockedAfterMs - firstPictureWithinMs)
		else this.#lose(reason)
	}

	/** @param {Reason} reason */
	#lose(reason) {
		const liveMs = this.#firstPictureAt === 0 ? 0 : this.#heardAt - this.#firstPictureAt
		const another = this.#firstPictureAt === 0 && this.#ladder.drop(reason)
		this.#hangUp()
		if (another) {
			this.#start()
			return
		}
		// A camera that starts anew has no stream for a while, and says so.
		if (isFinal(reason) && !(this.#hasPlayed && reason.code === 'camera_not_found')) {
			this.#leave()
			this.#change({...this.#state, name: 'failed', reason, retryAt: null})
			return
		}
		this.#retry.pause(liveMs)
		this.#change({...this.#state, name: 'reconnecting', reason, retryAt: this.#retry.at})
	}
}
