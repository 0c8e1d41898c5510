/** Icons of 24 x 24, as paths of strokes. */
const icons = {
	statistics: 'M4 20V10M10 20V4M16 20v-8M21 20H3',
	snapshot: 'M4 8h3l2-3h6l2 3h3v11H4zM12 16.5a3 3 0 1 0 0-6 3 3 0 0 0 0 6z',
	picture_in_picture: 'M3 5h18v14H3zM12 12h6v4h-6z',
	full_screen: 'M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5'
}

/**
 * What the element shows over its picture: the state in words, why there is none, the statistics and the buttons.
 */
export class Controls {
	#texts
	#screen
	#parts
	/** The texts of the last call, so that nothing is written again that is there. */
	#statistics

	/** @type {HTMLElement} */
	root

	/**
	 * @param {object} options
	 * @param {import('./texts.js').Texts} options.texts
	 * @param {import('./screen.js').Screen} options.screen
	 * @param {() => void} options.onRetry
	 * @param {() => void} options.onStatistics
	 * @param {() => void} options.onSnapshot
	 * @param {() => void} options.onPictureInPicture
	 * @param {() => void} options.onFullscreen
	 */
	constructor({
		texts,
		screen,
		onRetry,
		onStatistics,
		onSnapshot,
		onPictureInPicture,
		onFullscreen
	}) {
		this.#texts = texts
		this.#screen = screen
		const {text} = texts
		screen.canvas.setAttribute('aria-label', text('picture'))
		screen.video.setAttribute('aria-label', text('picture'))
		const parts = {
			state: element('p', {className: 'state'}),
			message: element('div', {className: 'message'}),
			spinner: element('div', {className: 'spinner'}),
			title: element('p', {className: 'title'}),
			age: element('p', {className: 'age'}),
			countdown: element('p', {className: 'countdown'}),
			retry: element('button', {type: 'button'}),
			statistics: element('dl', {className: 'figures', hidden: true}),
			controls: element('div', {className: 'controls'}),
			statisticsButton: this.#button('statistics', () => {
				parts.statistics.hidden = !parts.statistics.hidden
				parts.statisticsButton.setAttribute('aria-pressed', String(!parts.statistics.hidden))
				onStatistics()
			}),
			snapshot: this.#button('snapshot', onSnapshot),
			pictureInPicture: this.#button('picture_in_picture', onPictureInPicture),
			fullscreen: this.#button('full_screen', onFullscreen)
		}
		this.#parts = parts
		for (const part of [parts.state, parts.title]) part.setAttribute('role', 'status')
		parts.statisticsButton.setAttribute('aria-pressed', 'false')
		parts.retry.addEventListener('click', onRetry)
		parts.message.append(parts.spinner, parts.title, parts.age, parts.countdown, parts.retry)
		parts.controls.append(
			parts.statisticsButton,
			parts.snapshot,
			parts.pictureInPicture,
			parts.fullscreen
		)
		for (const name of ['state', 'message', 'statistics', 'controls'])
			parts[name].setAttribute('part', name)
		this.#statistics = this.#rows([
			'mode',
			'rate',
			'resolution',
			'quality',
			'bandwidth',
			'dropped',
			'delay',
			'first_picture'
		])
		// The words are in the viewer's language, whatever the page's is. The keyboard's place may be handed to it by `show()`.
		this.root = element('div', {lang: texts.lang, tabIndex: -1})
		this.root.append(
			screen.video,
			screen.canvas,
			parts.message,
			parts.state,
			parts.statistics,
			parts.controls
		)
	}

	/** @param {boolean} hidden */
	set hidden(hidden) {
		this.#parts.controls.hidden = hidden
	}

	/** @param {string} name the camera's */
	set name(name) {
		const {text} = this.#texts
		const label = name === '' ? text('picture') : text('picture_of', {name})
		for (const surface of [this.#screen.canvas, this.#screen.video])
			surface.setAttribute('aria-label', label)
	}

	/**
	 * @param {object} shown
	 * @param {import('./sluice-player.js').SluicePlayer['state']} shown.state
	 * @param {import('./sluice-player.js').SluicePlayer['statistics']} shown.statistics
	 * @param {number} shown.pictureAgeMs
	 */
	show({state, statistics, pictureAgeMs}) {
		const {text} = this.#texts
		const {name, reason, retryInMs} = state
		const {
			state: words,
			message,
			spinner,
			title,
			age,
			countdown,
			retry,
			snapshot,
			pictureInPicture,
			fullscreen
		} = this.#parts
		const hasPicture = this.#screen.shown !== null
		const stale = hasPicture && name !== 'live'
		const classes = `${name}${stale ? ' stale' : ''}`
		if (this.root.className !== classes) this.root.className = classes
		setText(words, text(`state_${name}`))
		const canRetry = name === 'failed' || (name === 'reconnecting' && retryInMs !== null)
		// With a button that hides, the keyboard's place would fall back to the beginning of the page.
		if (!canRetry && retry.matches(':focus')) this.root.focus()
		message.hidden = name === 'live'
		spinner.hidden = hasPicture || name !== 'loading'
		setText(title, this.#title(state, hasPicture))
		setText(
			age,
			stale && name !== 'loading' ? text('last_picture', {age: ageOf(pictureAgeMs, text)}) : ''
		)
		setText(
			countdown,
			name === 'reconnecting'
				? retryInMs === null
					? text('trying')
					: text('next_try', {seconds: Math.max(1, Math.ceil(retryInMs / 1000))})
				: ''
		)
		setText(retry, text('try_now'))
		retry.hidden = !canRetry
		message.dataset.code = reason?.code ?? ''
		snapshot.hidden = !hasPicture
		pictureInPicture.hidden = this.#screen.shown !== 'video' || !document.pictureInPictureEnabled
		fullscreen.hidden = !document.fullscreenEnabled
		if (!this.#parts.statistics.hidden) this.#showStatistics(statistics)
	}

	/** @param {{name: string, reason: {code: string} | null}} state @param {boolean} hasPicture */
	#title({name, reason}, hasPicture) {
		const {text} = this.#texts
		if (reason) return text(reason.code) || text('unknown')
		if (name === 'waiting') return text('silent')
		if (name === 'loading') return hasPicture ? text('not_live_yet') : ''
		if (name === 'paused') return text('paused')
		return name === 'idle' ? text('no_picture_yet') : ''
	}

	/** @param {import('./sluice-player.js').SluicePlayer['statistics']} statistics */
	#showStatistics({
		mode,
		fps,
		width,
		height,
		bitsPerSecond,
		quality,
		dropped,
		delayMs,
		delayOf,
		firstPictureMs
	}) {
		const {text, lang} = this.#texts
		const number = (value, digits = 0) =>
			value.toLocaleString(lang, {minimumFractionDigits: digits, maximumFractionDigits: digits})
		const milliseconds = value => text('milliseconds', {count: number(value)})
		const rows = this.#statistics
		setText(rows.mode, mode === null ? '–' : text(`mode_${mode}`))
		setText(rows.rate, fps === null ? '–' : text('rate_value', {count: number(fps)}))
		setText(rows.resolution, width === 0 ? '–' : `${width} × ${height}`)
		rows.quality.parentElement.hidden = quality === null
		setText(
			rows.quality,
			quality === null ? '–' : text('quality_value', {value: quality.newest, best: quality.best})
		)
		setText(
			rows.bandwidth,
			bitsPerSecond === null ? '–' : `${number(bitsPerSecond / 1e6, 1)} Mbit/s`
		)
		setText(rows.dropped, number(dropped))
		setText(
			rows.delay,
			delayMs === null ? '–' : `${milliseconds(delayMs)} (${text(`delay_${delayOf}`)})`
		)
		setText(rows.first_picture, firstPictureMs === null ? '–' : milliseconds(firstPictureMs))
	}

	/** @param {string[]} names @returns {Record<string, HTMLElement>} */
	#rows(names) {
		const rows = {}
		for (const name of names) {
			const row = element('div', {})
			rows[name] = element('dd', {})
			row.append(element('dt', {textContent: this.#texts.text(name)}), rows[name])
			this.#parts.statistics.append(row)
		}
		return rows
	}

	/** @param {keyof typeof icons} name @param {() => void} onClick */
	#button(name, onClick) {
		const button = element('button', {
			type: 'button',
			title: this.#texts.text(name),
			className: name
		})
		button.setAttribute('aria-label', this.#texts.text(name))
		const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
		svg.setAttribute('viewBox', '0 0 24 24')
		svg.setAttribute('aria-hidden', 'true')
		const path = document.createElementNS(svg.namespaceURI, 'path')
		path.setAttribute('d', icons[name])
		svg.append(path)
		button.append(svg)
		button.addEventListener('click', onClick)
		return button
	}
}

/** @param {number} ms @param {import('./texts.js').Texts['text']} text */
function ageOf(ms, text) {
	const seconds = Math.round(ms / 1000)
	return seconds < 120
		? text('seconds', {count: seconds})
		: text('minutes', {count: Math.floor(seconds / 60)})
}

/** Leaves equal text alone, so that a screen reader does not say it again. @param {HTMLElement} target @param {string} value */
function setText(target, value) {
	if (target.textContent !== value) target.textContent = value
	if (target.tagName === 'P') target.hidden = value === ''
}

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Partial<HTMLElementTagNameMap[Tag]>} properties
 */
function element(tag, properties) {
	return Object.assign(document.createElement(tag), properties)
}
