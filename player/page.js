import {readAddress, recall, remember, writeAddress} from './address.js'
import './sluice-player.js'
import {TemplateForm} from './template-form.js'
import {textsFor} from './texts.js'

const refreshMs = 500
/** What each mode can play of a template's output; the others ask for no template. @type {Record<string, RegExp>} */
const outputs = {jpeg: /^image\/jpeg/, webcodecs: /^video\/x-h264/, mse: /^video\/(mp4|quicktime)/}

const texts = textsFor(navigator.languages)
const {text} = texts
/** @param {string} id */
const part = id => document.getElementById(id)

const form = part('form')
const urlField = part('rtsp-url')
const tokenField = part('token')
const modeField = part('mode')
const player = part('player')
const disconnectButton = part('disconnect')

const templateForm = new TemplateForm({select: part('template'), box: part('parameters'), texts})

/** What a camera of the server's may be named. No URL looks like it, so the server's list need not be there; a bare address is a URL begun. */
const cameraName = /^(?!\d+(?:\.\d+){3}$)[\w.-]{1,64}$/

/** Connects, and writes the page's address anew, so that it can be passed on. @param {import('./address.js').Wanted} wanted */
function connect(wanted) {
	history.replaceState(null, '', writeAddress(wanted))
	remember(wanted)
	const {camera, rtspUrl, token, mode, pipeline, parameters} = wanted
	part('quality-figure').hidden = parameters.adaptive !== 'on'
	Object.assign(player, {camera, rtspUrl, token, mode, pipeline, parameters})
	player.reconnect()
	// On a phone the picture is below the form, and a player that nobody sees does not play.
	if (player.getBoundingClientRect().top >= window.innerHeight)
		player.scrollIntoView({block: 'nearest'})
	void loadLists()
}

function disconnect() {
	const focused = document.activeElement === disconnectButton
	Object.assign(player, {camera: '', rtspUrl: '', pipeline: ''})
	// The button is about to be disabled, and the keyboard's place with it.
	if (focused) part('connect').focus()
}

/** Does what a link asks for. A link without a camera asks for nothing. */
function followAddress() {
	const wanted = readAddress(location.hash)
	if (!wanted) {
		disconnect()
		return
	}
	fill(wanted)
	connect(wanted)
}

/** @param {import('./address.js').Wanted} wanted */
function fill(wanted) {
	urlField.value = wanted.camera || wanted.rtspUrl
	tokenField.value = wanted.token
	if (wanted.token !== '') part('token-field').hidden = false
	modeField.value = wanted.mode
	if (modeField.value === '') modeField.value = 'auto'
	showTemplates()
	templateForm.fill(wanted)
}

/** @returns {import('./address.js').Wanted} what the form says */
function read() {
	const typed = urlField.value.trim()
	const named = cameraName.test(typed)
	const mode = modeField.value
	return {
		camera: named ? typed : '',
		rtspUrl: named ? '' : typed,
		token: tokenField.value.trim(),
		mode,
		...(outputs[mode] ? templateForm.read() : {pipeline: '', parameters: {}})
	}
}

/** A template makes what one mode plays: only where that mode is chosen is there a choice. */
function showTemplates() {
	const output = outputs[modeField.value]
	part('template-field').hidden = output === undefined
	if (output) templateForm.limit(output)
	showSettings()
}

function showSettings() {
	part('settings').hidden = part('template-field').hidden || !templateForm.hasParameters
}

async function loadLists() {
	const note = part('list-note')
	const loaded = await templateForm.load(new URL('pipelines', location.href))
	note.hidden = loaded
	note.textContent = loaded ? '' : text('list_missing')
}

/** Offers the names of the server's cameras where a URL is typed. */
async function loadCameras() {
	try {
		const answer = await fetch(new URL('cameras', location.href), {
			cache: 'no-store',
			signal: AbortSignal.timeout(5000)
		})
		const {cameras} = await answer.json()
		part('camera-names').replaceChildren(
			...cameras.map(({name}) => new window.Option('', String(name)))
		)
	} catch {
		// A server that tells no names takes URLs.
	}
}

function showState() {
	const {name, reason} = player.state
	document.body.dataset.state = name
	const active = name !== 'idle' && name !== 'failed'
	// The button is about to be hidden, and the keyboard's place with it.
	if (name !== 'reconnecting' && document.activeElement === part('try-now')) part('connect').focus()
	disconnectButton.disabled = !active
	part('connect').textContent = text(active ? 'connect_again' : 'connect')
	part('figures').hidden = !active
	showReason(reason)
	if (reason?.code === 'unauthorized') part('token-field').hidden = false
	// The list may have been out of reach together with the server.
	if (name === 'live' && !templateForm.loaded) void loadLists()
	refresh()
}

/** @param {import('./reasons.js').Reason | null} reason */
function showReason(reason) {
	const message = part('message')
	message.hidden = reason === null
	if (!reason) return
	const code =
		text(reason.code) === '' || text(`${reason.code}_advice`) === '' ? 'unknown' : reason.code
	// What a mode needs is that mode's own.
	const advice = text(`${code}_${player.state.mode}_advice`) || text(`${code}_advice`)
	message.dataset.code = reason.code
	setText(part('message-title'), text(code))
	setText(part('message-advice'), advice)
	setText(part('detail'), reason.detail)
	part('message-detail').hidden = reason.detail === ''
}

/** Leaves equal text alone, so that a screen reader does not say it again. @param {HTMLElement} target @param {string} value */
function setText(target, value) {
	if (target.textContent !== value) target.textContent = value
}

/** Shows what changes by itself: the figures and the countdown. */
function refresh() {
	const {name, retryInMs} = player.state
	setText(part('state'), text(`state_${name}`))
	part('retry').hidden = name !== 'reconnecting'
	setText(
		part('countdown'),
		retryInMs === null
			? text('trying')
			: text('next_try', {seconds: Math.max(1, Math.ceil(retryInMs / 1000))})
	)
	showFigures()
}

function showFigures() {
	const {mode, width, height, fps, bitsPerSecond, dropped, quality} = player.statistics
	const number = (value, digits) =>
		value.toLocaleString(texts.lang, {minimumFractionDigits: digits, maximumFractionDigits: digits})
	setText(part('mode-shown'), mode === null ? '–' : text(`mode_${mode}`))
	setText(part('rate'), fps === null ? '–' : text('rate_value', {count: number(fps, 0)}))
	setText(
		part('bandwidth'),
		bitsPerSecond === null ? '–' : `${number(bitsPerSecond / 1e6, 1)} Mbit/s`
	)
	setText(part('resolution'), width === 0 ? '–' : `${width} × ${height}`)
	setText(
		part('quality'),
		quality === null ? '–' : text('quality_value', {value: quality.newest, best: quality.best})
	)
	setText(part('dropped'), number(dropped, 0))
}

function translate() {
	document.documentElement.lang = texts.lang
	for (const target of document.querySelectorAll('[data-text]'))
		target.textContent = text(target.dataset.text)
	for (const target of document.querySelectorAll('[data-hint]'))
		target.title = text(target.dataset.hint)
}

/** Escape belongs to an input method, an open list or the full screen first. @param {KeyboardEvent} event */
function isForThePage(event) {
	const open = window.CSS.supports('selector(:open)') && event.target.matches?.('select:open')
	return !event.isComposing && !event.defaultPrevented && !open && !document.fullscreenElement
}

form.addEventListener('submit', event => {
	event.preventDefault()
	connect(read())
})
modeField.addEventListener('change', showTemplates)
disconnectButton.addEventListener('click', disconnect)
document.addEventListener('keydown', event => {
	if (event.key === 'Escape' && !disconnectButton.disabled && isForThePage(event)) disconnect()
})
part('try-now').addEventListener('click', () => {
	player.tryNow()
})
part('parameters').addEventListener('parameters', showSettings)
player.addEventListener('statechange', showState)
window.addEventListener('hashchange', followAddress)

translate()
part('settings').open = window.matchMedia('(min-width: 48rem)').matches
setInterval(refresh, refreshMs)
showTemplates()
void loadLists()
void loadCameras()
if (readAddress(location.hash)) {
	followAddress()
} else {
	const last = recall()
	if (last) fill(last)
	showState()
	// On a phone this would bring up the keyboard.
	if (window.matchMedia('(pointer: fine)').matches) urlField.focus()
}
