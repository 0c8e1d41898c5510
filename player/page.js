import {readAddress, recall, remember, streamAddress, writeAddress} from './address.js'
import {Picture} from './picture.js'
import {StreamClient} from './stream-client.js'
import {TemplateForm} from './template-form.js'
import {textsFor} from './texts.js'

/** Without a new picture for so long, what is shown is no longer called live. */
const silentAfterMs = 3000
/** The figures are means over so long: one second shows 29, 31, 29 where a camera sends 30. */
const figuresOverMs = 3000
const refreshMs = 500

const texts = textsFor(navigator.languages)
const {text} = texts
/** @param {string} id */
const part = id => document.getElementById(id)

const form = part('form')
const urlField = part('rtsp-url')
const tokenField = part('token')
const figure = part('figure')
const canvas = part('picture')
const disconnectButton = part('disconnect')

const templateForm = new TemplateForm({select: part('template'), box: part('parameters'), texts})
const picture = new Picture(canvas, () => { drawnAt = performance.now() })
const client = new StreamClient({onState: showState, onPicture: bytes => { picture.show(bytes) }})

/** When the shown picture was drawn, in ms of `performance.now()`; 0 while none is shown. */
let drawnAt = 0
/** The URL of the camera whose picture is shown. */
let shownUrl = ''
/** The counts at the last few refreshes, the oldest first. */
let samples = []

/** Connects, and writes the page's address anew, so that it can be passed on. @param {import('./address.js').Wanted} wanted */
function connect(wanted) {
	history.replaceState(null, '', writeAddress(wanted))
	remember(wanted)
	// Another camera's picture must not stand under this one's name.
	if (wanted.rtspUrl !== shownUrl) forgetPicture()
	shownUrl = wanted.rtspUrl
	samples = []
	client.open(streamAddress(wanted, location.href))
	void loadTemplates()
}

function disconnect() {
	const focused = document.activeElement === disconnectButton
	client.close()
	forgetPicture()
	// The button was just disabled, and the keyboard's place with it.
	if (focused) part('connect').focus()
}

function forgetPicture() {
	picture.clear()
	drawnAt = 0
	refresh()
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
	urlField.value = wanted.rtspUrl
	tokenField.value = wanted.token
	if (wanted.token !== '') part('token-field').hidden = false
	templateForm.fill(wanted)
}

async function loadTemplates() {
	const note = part('list-note')
	const loaded = await templateForm.load(new URL('pipelines', location.href))
	note.hidden = loaded
	note.textContent = loaded ? '' : text('list_missing')
}

/** @param {import('./stream-client.js').State} state */
function showState(state) {
	const {name, reason} = state
	document.body.dataset.state = name
	const active = name !== 'idle' && name !== 'failed'
	disconnectButton.disabled = !active
	part('connect').textContent = text(active ? 'connect_again' : 'connect')
	part('figures').hidden = !active
	showReason(reason)
	if (reason?.code === 'unauthorized') part('token-field').hidden = false
	// The list may have been out of reach together with the server.
	if (name === 'live' && !templateForm.loaded) void loadTemplates()
	refresh()
}

/** @param {import('./stream-client.js').Reason | null} reason */
function showReason(reason) {
	const message = part('message')
	message.hidden = reason === null
	if (!reason) return
	const code = text(reason.code) === '' || text(`${reason.code}_advice`) === '' ? 'unknown' : reason.code
	message.dataset.code = reason.code
	setText(part('message-title'), text(code))
	setText(part('message-advice'), text(`${code}_advice`))
	setText(part('detail'), reason.detail)
	part('message-detail').hidden = reason.detail === ''
}

/** Leaves equal text alone, so that a screen reader does not say it again. @param {HTMLElement} target @param {string} value */
function setText(target, value) {
	if (target.textContent !== value) target.textContent = value
}

/** Shows what changes by itself: the figures, the countdown and the age of a picture that is not live. */
function refresh() {
	const now = performance.now()
	const {name, retryAt} = client.state
	const silent = name === 'live' && (client.silentForMs ?? 0) >= silentAfterMs
	document.body.classList.toggle('silent', silent)
	setText(part('state'), text(silent ? 'state_silent' : `state_${name}`))
	canvas.hidden = drawnAt === 0
	part('placeholder').hidden = drawnAt !== 0
	showRibbon(name, silent, now)
	showFigures(now)
	part('retry').hidden = name !== 'reconnecting'
	setText(part('countdown'), retryAt === null ? text('trying') : text('next_try', {seconds: Math.max(1, Math.ceil((retryAt - now) / 1000))}))
}

/** @param {import('./stream-client.js').State['name']} name @param {boolean} silent @param {number} now */
function showRibbon(name, silent, now) {
	let words = ''
	if (silent) words = text('ribbon_silent', {age: age(client.silentForMs ?? 0)})
	else if (name === 'connecting') words = text('ribbon_connecting')
	else if (name !== 'live') words = text('ribbon_lost', {age: age(now - drawnAt)})
	const stale = drawnAt !== 0 && words !== ''
	figure.classList.toggle('stale', stale)
	part('ribbon').hidden = !stale
	setText(part('ribbon'), words)
}

/** @param {number} ms */
function age(ms) {
	const seconds = Math.round(ms / 1000)
	return seconds < 120 ? text('seconds', {count: seconds}) : text('minutes', {count: Math.floor(seconds / 60)})
}

/** @param {number} now */
function showFigures(now) {
	const {drawn, bytes, dropped} = picture.counts
	samples.push({at: now, drawn, bytes})
	while (samples.length > 2 && samples[1].at <= now - figuresOverMs) samples.shift()
	const [oldest] = samples
	const seconds = (now - oldest.at) / 1000
	// Less than this is no mean of anything.
	const known = seconds >= 0.9 && client.state.name === 'live'
	const number = (value, digits) => value.toLocaleString(texts.lang, {minimumFractionDigits: digits, maximumFractionDigits: digits})
	setText(part('rate'), known ? text('rate_value', {count: number((drawn - oldest.drawn) / seconds, 0)}) : '–')
	setText(part('bandwidth'), known ? `${number((bytes - oldest.bytes) * 8 / seconds / 1e6, 1)} Mbit/s` : '–')
	setText(part('resolution'), drawnAt === 0 ? '–' : `${canvas.width} × ${canvas.height}`)
	setText(part('dropped'), number(dropped, 0))
}

function translate() {
	document.documentElement.lang = texts.lang
	for (const target of document.querySelectorAll('[data-text]')) target.textContent = text(target.dataset.text)
	for (const target of document.querySelectorAll('[data-hint]')) target.title = text(target.dataset.hint)
	for (const target of document.querySelectorAll('[data-label]')) target.setAttribute('aria-label', text(target.dataset.label))
}

/** Escape belongs to an input method, an open list or the full screen first. @param {KeyboardEvent} event */
function isForThePage(event) {
	const open = window.CSS.supports('selector(:open)') && event.target.matches?.('select:open')
	return !event.isComposing && !event.defaultPrevented && !open && !document.fullscreenElement
}

form.addEventListener('submit', event => {
	event.preventDefault()
	connect({rtspUrl: urlField.value.trim(), token: tokenField.value.trim(), ...templateForm.read()})
})
disconnectButton.addEventListener('click', disconnect)
document.addEventListener('keydown', event => {
	if (event.key === 'Escape' && !disconnectButton.disabled && isForThePage(event)) disconnect()
})
part('try-now').addEventListener('click', () => { client.tryNow() })
part('parameters').addEventListener('parameters', () => { part('settings').hidden = !templateForm.hasParameters })
part('full-screen').addEventListener('click', () => {
	if (document.fullscreenElement) void document.exitFullscreen()
	else void figure.requestFullscreen()
})
window.addEventListener('hashchange', followAddress)

translate()
part('full-screen').hidden = !document.fullscreenEnabled
part('settings').open = window.matchMedia('(min-width: 48rem)').matches
setInterval(refresh, refreshMs)
void loadTemplates()
if (readAddress(location.hash)) {
	followAddress()
} else {
	const last = recall()
	if (last) fill(last)
	refresh()
	// On a phone this would bring up the keyboard.
	if (window.matchMedia('(pointer: fine)').matches) urlField.focus()
}
