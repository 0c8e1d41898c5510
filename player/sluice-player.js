import {Controls} from './controls.js'
import {modeNames} from './ladder.js'
import {Rates} from './rates.js'
import {Screen} from './screen.js'
import {Session} from './session.js'
import {style} from './sluice-player.css.js'
import {textsFor} from './texts.js'

/** How long a player stays connected that nobody sees: scrolling past must not make it come and go. */
const leaveAfterMs = 3000
const refreshMs = 500
/** What is so near to the screen may be looked at next. */
const nearby = '200px'

/**
 * `<sluice-player src="http://host:8000" camera="door" mode="auto">`: a camera's picture in a page. README.md has its
 * attributes, properties, methods and events; sluice-player.d.ts their types.
 */
export class SluicePlayer extends HTMLElement {
	static observedAttributes = [
		'src',
		'camera',
		'rtsp-url',
		'mode',
		'pipeline',
		'parameters',
		'token',
		'controls'
	]
	static modes = ['auto', ...modeNames]

	#texts = textsFor(navigator.languages)
	#screen = new Screen()
	#session = new Session({
		screen: this.#screen,
		onState: () => {
			this.#onState()
		}
	})
	#rates = new Rates()
	#controls
	#observer
	/** What was set as a property and so is in no attribute: a URL may hold a password. @type {Map<string, string>} */
	#secrets = new Map()
	/** Which camera's picture is shown. */
	#shown = ''
	#reopening = false
	#inView = false
	#pausedByCall = false
	#leaving = 0
	#refreshing = 0

	constructor() {
		super()
		const root = this.attachShadow({mode: 'open'})
		root.adoptedStyleSheets = [style]
		this.#controls = new Controls({
			texts: this.#texts,
			screen: this.#screen,
			onRetry: () => {
				this.reconnect()
			},
			onStatistics: () => {
				this.#refresh()
			},
			onSnapshot: () => {
				void this.#saveSnapshot()
			},
			onPictureInPicture: () => {
				this.requestPictureInPicture().catch(() => undefined)
			},
			onFullscreen: () => {
				this.#toggleFullscreen()
			}
		})
		root.append(this.#controls.root)
		this.#observer = new window.IntersectionObserver(
			entries => {
				this.#inView = entries.at(-1)?.isIntersecting ?? false
				this.#followSight()
			},
			{rootMargin: nearby}
		)
		this.#screen.video.addEventListener('leavepictureinpicture', () => {
			this.#followSight()
		})
	}

	connectedCallback() {
		for (const name of ['src', 'camera', 'rtspUrl', 'mode', 'pipeline', 'parameters', 'token'])
			this.#upgrade(name)
		this.#observer.observe(this)
		document.addEventListener('visibilitychange', this.#followSight)
		window.addEventListener('pageshow', this.#followSight)
		this.#refreshing = setInterval(() => {
			this.#refresh()
		}, refreshMs)
		this.#openSoon()
	}

	disconnectedCallback() {
		this.#observer.disconnect()
		this.#inView = false
		document.removeEventListener('visibilitychange', this.#followSight)
		window.removeEventListener('pageshow', this.#followSight)
		clearInterval(this.#refreshing)
		clearTimeout(this.#leaving)
		this.#session.close()
		this.#screen.clear()
	}

	attributeChangedCallback(name, before, now) {
		if (name === 'controls') this.#controls.hidden = now === 'none'
		else if (before !== now) {
			// An attribute that is set later than the property wins.
			this.#secrets.delete(name)
			if (this.isConnected) this.reconnect()
		}
	}

	get src() {
		return this.getAttribute('src') ?? ''
	}
	set src(value) {
		this.setAttribute('src', value ?? '')
	}
	get camera() {
		return this.getAttribute('camera') ?? ''
	}
	set camera(value) {
		this.setAttribute('camera', value ?? '')
	}
	get pipeline() {
		return this.getAttribute('pipeline') ?? ''
	}
	set pipeline(value) {
		this.setAttribute('pipeline', value ?? '')
	}
	get controls() {
		return this.getAttribute('controls') ?? ''
	}
	set controls(value) {
		this.setAttribute('controls', value ?? '')
	}

	get mode() {
		const mode = this.getAttribute('mode') ?? ''
		return SluicePlayer.modes.includes(mode) ? mode : 'auto'
	}

	set mode(value) {
		this.setAttribute('mode', value ?? '')
	}

	get rtspUrl() {
		return this.#kept('rtsp-url')
	}
	set rtspUrl(value) {
		this.#keep('rtsp-url', value)
	}
	get token() {
		return this.#kept('token')
	}
	set token(value) {
		this.#keep('token', value)
	}

	get parameters() {
		return Object.fromEntries(new URLSearchParams(this.getAttribute('parameters') ?? ''))
	}
	set parameters(value) {
		this.setAttribute('parameters', new URLSearchParams(value ?? '').toString())
	}

	/** What happens now. */
	get state() {
		const {name, mode, reason, retryAt} = this.#session.state
		return {
			name,
			mode,
			reason: reason && {code: reason.code, detail: reason.detail},
			retryInMs: retryAt === null ? null : Math.max(0, retryAt - performance.now())
		}
	}

	/** What can be measured now. */
	get statistics() {
		const {name, mode} = this.#session.state
		const mean = name === 'live' ? this.#rates.mean : null
		const {delay} = this.#session
		return {
			mode,
			...this.#screen.size,
			fps: mean && mean.fps,
			bitsPerSecond: mean && mean.bitsPerSecond,
			dropped: this.#session.counts.dropped,
			quality: this.#session.quality,
			delayMs: delay && delay.ms,
			delayOf: delay && delay.of,
			firstPictureMs: this.#session.firstPictureMs
		}
	}

	/** Starts over, with what the attributes say now. Several calls and changes of one moment are one start. */
	reconnect() {
		this.#pausedByCall = false
		this.#openSoon()
	}

	#openSoon() {
		if (this.#reopening) return
		this.#reopening = true
		queueMicrotask(() => {
			this.#reopening = false
			if (this.isConnected) this.#open()
		})
	}

	/** Ends the pause before the next try. */
	tryNow() {
		this.#session.tryNow()
	}

	/** Disconnects and keeps the picture. */
	pause() {
		this.#pausedByCall = true
		this.#session.pause()
	}

	/** Connects again after `pause()`. */
	play() {
		this.#pausedByCall = false
		this.#followSight()
	}

	/**
	 * @param {string} [type] as of `HTMLCanvasElement.toBlob`
	 * @returns {Promise<Blob>} the picture that is shown, in the camera's own size
	 */
	async snapshot(type = 'image/jpeg') {
		const image = await this.#screen.snapshot(type)
		if (!image) throw new window.DOMException('There is no picture yet', 'InvalidStateError')
		return image
	}

	/** Puts the picture into a small window of its own, in the modes that play a video: `webrtc` and `mse`. */
	async requestPictureInPicture() {
		if (this.#screen.shown !== 'video')
			throw new window.DOMException('This mode has no picture-in-picture', 'NotSupportedError')
		return this.#screen.video.requestPictureInPicture()
	}

	/** Properties that a page set before this module was loaded. @param {string} name */
	#upgrade(name) {
		if (!Object.hasOwn(this, name)) return
		const value = this[name]
		delete this[name]
		this[name] = value
	}

	/** @param {string} name */
	#kept(name) {
		return this.#secrets.get(name) ?? this.getAttribute(name) ?? ''
	}

	/** @param {string} name @param {string} [value] an empty one hides the attribute's too */
	#keep(name, value) {
		const text = String(value ?? '')
		if (this.#kept(name) === text) return
		this.#secrets.set(name, text)
		if (this.isConnected) this.reconnect()
	}

	/** What is asked for; null where `src` is no address of a server. */
	get #wanted() {
		// Without an address of its own, this module's server is meant, and so with a path.
		const src = this.src === '' ? '.' : this.src
		const server = URL.canParse(src, import.meta.url) ? new URL(src, import.meta.url) : null
		// `localhost:8000` can be parsed as well: it has the scheme `localhost:`.
		if (!server || !/^https?:$/.test(server.protocol)) return null
		if (!server.pathname.endsWith('/')) server.pathname += '/'
		const {camera, rtspUrl, token, pipeline, parameters} = this
		return {server: server.href, camera, rtspUrl, token, pipeline, parameters}
	}

	#open() {
		const {src, camera, rtspUrl, pipeline} = this
		const nothing = camera === '' && rtspUrl === '' && pipeline === ''
		const shown = nothing ? '' : JSON.stringify([src, camera, rtspUrl])
		// Another camera's picture must not stand under this one's name.
		if (shown !== this.#shown) this.#screen.clear()
		this.#shown = shown
		this.#rates.clear()
		this.#controls.name = camera
		const wanted = this.#wanted
		if (nothing) this.#session.close()
		else if (!wanted) this.#session.refuse({code: 'bad_address', detail: `src: ${src}`})
		else this.#session.open(wanted, this.mode, this.#isSeen && !this.#pausedByCall)
		this.#refresh()
	}

	get #isSeen() {
		return (
			this.shadowRoot.pictureInPictureElement === this.#screen.video ||
			(this.#inView && !document.hidden)
		)
	}

	/** A player that nobody sees costs the camera and the server nothing. */
	#followSight = () => {
		clearTimeout(this.#leaving)
		if (!this.#isSeen)
			this.#leaving = setTimeout(() => {
				this.#session.pause()
			}, leaveAfterMs)
		else if (this.#session.state.name === 'paused' && !this.#pausedByCall) this.#session.resume()
	}

	#onState() {
		if (this.#session.state.name !== 'live') this.#rates.clear()
		this.#refresh()
		this.dispatchEvent(new window.CustomEvent('statechange', {detail: this.state}))
	}

	/** Shows what changes by itself. */
	#refresh() {
		this.#session.tick()
		const {name} = this.#session.state
		if (name === 'live') this.#rates.sample(this.#session.counts)
		this.#controls.show({
			state: this.state,
			statistics: this.statistics,
			pictureAgeMs: this.#session.pictureAgeMs
		})
		if (name === 'live' || name === 'waiting')
			this.dispatchEvent(new window.CustomEvent('statistics', {detail: this.statistics}))
	}

	#toggleFullscreen() {
		if (document.fullscreenElement) void document.exitFullscreen()
		else void this.requestFullscreen()
	}

	async #saveSnapshot() {
		const image = await this.snapshot().catch(() => null)
		if (!image) return
		const address = URL.createObjectURL(image)
		const time = new Date().toISOString().slice(0, 19).replaceAll(':', '-')
		Object.assign(document.createElement('a'), {
			href: address,
			download: `${this.camera || 'camera'}-${time}.jpg`
		}).click()
		// The browser reads it after the click.
		setTimeout(() => {
			URL.revokeObjectURL(address)
		}, 10_000)
	}
}

// A page may load this module from two addresses.
if (!window.customElements.get('sluice-player'))
	window.customElements.define('sluice-player', SluicePlayer)
