import {withoutPassword} from './address.js'
import './sluice-player.js'
import {textsFor} from './texts.js'

/** The shape of a tile, and the gap between two, as wall.css has it. */
const ratio = 16 / 9
const gap = 4
/** On a screen that is narrower than two such tiles the wall scrolls; otherwise nobody would see much. */
const leastTileWidth = 150
/** What the server makes a tile's images no larger than, where the camera's own video cannot be played. */
const tileParameters = {max_width: '640', max_fps: '15'}
const subName = /[-_.]sub$/i

const {text, lang} = textsFor(navigator.languages)
/** @param {string} id */
const part = id => document.getElementById(id)

/**
 * @typedef {object} Camera
 * @property {string} name what people call it
 * @property {{camera?: string, rtspUrl?: string}} main
 * @property {{camera?: string, rtspUrl?: string}} sub for the tile; the same as `main` where the camera has no second stream
 */

/**
 * The cameras in the page's address, in their order: `#camera=door&camera=yard`, and `#rtsp_url=…&sub_url=…&name=…`, where
 * the last two belong to the URL before them.
 * @param {URLSearchParams} wanted
 * @returns {Camera[]}
 */
function camerasIn(wanted) {
	/** @type {Camera[]} */
	const cameras = []
	for (const [name, value] of wanted) {
		const last = cameras.at(-1)
		if (name === 'camera') cameras.push({name: value, main: {camera: value}, sub: {camera: value}})
		else if (name === 'rtsp_url')
			cameras.push({name: withoutPassword(value), main: {rtspUrl: value}, sub: {rtspUrl: value}})
		else if (name === 'sub_url' && last) last.sub = {rtspUrl: value}
		else if (name === 'sub' && last) last.sub = {camera: value}
		else if (name === 'name' && last) last.name = value
	}
	return cameras
}

/**
 * The cameras of the server's configuration. One that is named as another with `-sub` behind it is the other's second stream.
 * @returns {Promise<string[]>} none where the server tells none
 */
async function namesOnServer() {
	try {
		const answer = await fetch(new URL('cameras', location.href), {
			cache: 'no-store',
			signal: AbortSignal.timeout(5000)
		})
		const {cameras} = await answer.json()
		return cameras.map(({name}) => String(name))
	} catch {
		return []
	}
}

/** @param {string[]} names @returns {Camera[]} */
function camerasNamed(names) {
	const subs = new Map(
		names.filter(name => subName.test(name)).map(name => [name.replace(subName, ''), name])
	)
	return names
		.filter(name => !subName.test(name) || !names.includes(name.replace(subName, '')))
		.map(name => ({name, main: {camera: name}, sub: {camera: subs.get(name) ?? name}}))
}

/** @param {Camera} camera @param {'auto'} mode */
function tileOf(camera, mode) {
	const tile = Object.assign(document.createElement('figure'), {className: 'tile'})
	const parameters = /^(auto|jpeg)$/.test(mode) ? tileParameters : {}
	const player = Object.assign(document.createElement('sluice-player'), {
		...camera.sub,
		mode,
		controls: 'none',
		parameters
	})
	player.addEventListener('statechange', ({detail: {name, reason}}) => {
		// The configuration may have set one of them, which no viewer may change then.
		if (name === 'failed' && reason?.code === 'bad_request') player.removeAttribute('parameters')
	})
	const button = Object.assign(document.createElement('button'), {
		type: 'button',
		title: text('enlarge', {name: camera.name})
	})
	button.setAttribute('aria-label', text('enlarge', {name: camera.name}))
	button.addEventListener('click', () => {
		enlarge(camera, mode, player)
	})
	tile.append(
		button,
		player,
		Object.assign(document.createElement('figcaption'), {textContent: camera.name})
	)
	return tile
}

/** Shows the camera's main stream alone. The tiles behind it rest. @param {Camera} camera @param {'auto'} mode @param {HTMLElement} small its player */
function enlarge(camera, mode, small) {
	part('large-name').textContent = camera.name
	part('large-picture').replaceChildren(
		Object.assign(document.createElement('sluice-player'), {...camera.main, mode})
	)
	part('large').showModal()
	for (const player of players()) player.pause()
	part('large').addEventListener(
		'close',
		() => {
			// Whoever looked at a camera that has failed has done so to see it again. The others may lock after too many tries.
			if (small.state.name === 'failed') small.reconnect()
		},
		{once: true}
	)
}

const players = () => document.querySelectorAll('.tile sluice-player')

/** How many columns give the largest tiles that all fit on the screen. */
function arrange() {
	const count = players().length
	if (count === 0) return
	const {innerWidth: width, innerHeight: height} = window
	/** @param {number} columns */
	const tileWidth = columns => {
		const rows = Math.ceil(count / columns)
		return Math.min(
			(width - (columns + 1) * gap) / columns,
			((height - (rows + 1) * gap) / rows) * ratio
		)
	}
	const choices = Array.from({length: count}, (_, index) => index + 1)
	let columns = choices.reduce((best, choice) =>
		tileWidth(choice) > tileWidth(best) ? choice : best
	)
	let tile = Math.floor(tileWidth(columns))
	if (tile < leastTileWidth) {
		// They do not all fit: a page that scrolls shows more of each.
		columns = Math.max(1, Math.floor((width - gap) / (leastTileWidth + gap)))
		tile = Math.floor((width - (columns + 1) * gap) / columns)
	}
	const wall = part('wall')
	wall.style.setProperty('--columns', String(columns))
	wall.style.setProperty('--tile', `${tile}px`)
}

let shows = 0

/** Shows what the page's address says. */
async function show() {
	const mine = ++shows
	part('large').close()
	const wanted = new URLSearchParams(location.hash.replace(/^#/, ''))
	const named = camerasIn(wanted)
	const cameras = named.length > 0 ? named : camerasNamed(await namesOnServer())
	// The address may have changed while the server was asked.
	if (mine !== shows) return
	const mode = wanted.get('mode') ?? 'auto'
	part('wall').replaceChildren(...cameras.map(camera => tileOf(camera, mode)))
	part('wall').hidden = cameras.length === 0
	part('empty').hidden = cameras.length > 0
	arrange()
}

document.documentElement.lang = lang
document.title = `Sluice: ${text('wall')}`
part('title').textContent = text('wall')
part('empty-title').textContent = text('wall_empty')
part('empty-advice').textContent = text('wall_empty_advice')
part('close').textContent = text('close')
part('close').addEventListener('click', () => {
	part('large').close()
})
part('large').addEventListener('close', () => {
	part('large-picture').replaceChildren()
	for (const player of players()) player.play()
})
window.addEventListener('resize', arrange)
window.addEventListener('hashchange', () => {
	void show()
})
void show()
