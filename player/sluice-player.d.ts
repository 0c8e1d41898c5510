/** How pictures come: `auto` tries them in this order, and leaves one that shows none within 3 s. */
export type ModeName = 'webrtc' | 'webcodecs' | 'mse' | 'jpeg'

export interface Reason {
	/** One of the server's error codes, or of the player's own. */
	readonly code: string
	/** What the server or the browser says of it, in English; may be empty. */
	readonly detail: string
}

export interface PlayerState {
	/**
	 * - `idle`: no camera is chosen.
	 * - `loading`: the first picture is on its way.
	 * - `live`: pictures come.
	 * - `waiting`: connected, and nothing came for 3 s.
	 * - `reconnecting`: a try failed, and another follows; the last picture stays.
	 * - `failed`: another try would fail as well.
	 * - `paused`: by `pause()`, or because nobody sees the element.
	 */
	readonly name: 'idle' | 'loading' | 'live' | 'waiting' | 'reconnecting' | 'failed' | 'paused'
	/** The mode that plays or is tried; null before the first. */
	readonly mode: ModeName | null
	/** Of `reconnecting` and `failed`. */
	readonly reason: Reason | null
	/** Until the next try, in ms; null while one is under way. */
	readonly retryInMs: number | null
}

export interface PlayerStatistics {
	readonly mode: ModeName | null
	/** Of the picture, in pixels; zero where there is none. */
	readonly width: number
	readonly height: number
	/** Mean of the last 3 s; null where it is too early to tell. */
	readonly fps: number | null
	/** Mean of the last 3 s; null where it is too early to tell. */
	readonly bitsPerSecond: number | null
	/** Pictures that arrived and were not shown, since the start. */
	readonly dropped: number
	/** JPEG quality of the newest picture and of the best one, where the server was asked to let it follow the link; else null. */
	readonly quality: {readonly newest: number; readonly best: number} | null
	/** What the player can measure of the delay, see `delayOf`; null where it can measure none. */
	readonly delayMs: number | null
	/**
	 * What part of the delay that is. None holds the camera's own.
	 * - `draw`: from the arrival of a JPEG image until it was drawn.
	 * - `decode`: from the arrival of an access unit until its picture was drawn.
	 * - `network`: half the round trip, and from a picture's first packet until it was decoded.
	 * - `buffer`: how much video waits in the browser.
	 */
	readonly delayOf: 'draw' | 'decode' | 'network' | 'buffer' | null
	/** From the start of this try to its first picture, with the modes that were given up on the way; null before it. */
	readonly firstPictureMs: number | null
}

export interface SluicePlayerEventMap {
	/** After each change of `state`. */
	statechange: CustomEvent<PlayerState>
	/** Twice a second while pictures come. */
	statistics: CustomEvent<PlayerStatistics>
}

/** `<sluice-player>`: a camera's picture. README.md explains it. */
export class SluicePlayer extends HTMLElement {
	static readonly observedAttributes: readonly string[]
	static readonly modes: readonly ('auto' | ModeName)[]
	/** The server's address; empty for the one that this module came from. */
	src: string
	/** A camera's name in the server's configuration. */
	camera: string
	/** A camera's URL, where the server allows that. The property writes no attribute, for it may hold a password. */
	rtspUrl: string
	mode: 'auto' | ModeName
	/** A template's name, for the pinned mode; with `auto` for JPEG. */
	pipeline: string
	/** Of the template. */
	get parameters(): Record<string, string>
	set parameters(value: Record<string, string> | string)
	/** For servers that ask for one. The property writes no attribute. */
	token: string
	/** `none` for no buttons. */
	controls: string
	readonly state: PlayerState
	readonly statistics: PlayerStatistics
	/** Starts over. */
	reconnect(): void
	/** Ends the pause before the next try. */
	tryNow(): void
	/** Disconnects; the picture stays. */
	pause(): void
	/** Connects again after `pause()`. */
	play(): void
	/** The picture that is shown, in the camera's own size. Rejects where there is none. */
	snapshot(type?: string): Promise<Blob>
	/** Rejects in a mode that plays no video: `webcodecs` and `jpeg`. */
	requestPictureInPicture(): Promise<PictureInPictureWindow>
	addEventListener<Type extends keyof SluicePlayerEventMap>(
		type: Type,
		listener: (this: SluicePlayer, event: SluicePlayerEventMap[Type]) => void,
		options?: boolean | AddEventListenerOptions
	): void
	addEventListener(
		type: string,
		listener: EventListenerOrEventListenerObject,
		options?: boolean | AddEventListenerOptions
	): void
}

declare global {
	interface HTMLElementTagNameMap {
		'sluice-player': SluicePlayer
	}
}
