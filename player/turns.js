/**
 * How many players of a page may be on their way to the first picture at a time. A wall whose tiles all start at once
 * makes each of them slow, and a slow one would leave its mode for one that costs the server more.
 */
const most = 4

/** @type {Set<() => void>} those that wait, the first come first */
const waiting = new Set()
let taken = 0

function next() {
	for (const act of waiting) {
		if (taken >= most) return
		taken++
		waiting.delete(act)
		act()
	}
}

/**
 * Acts when it is this player's turn, at the earliest when the caller has got what ends it.
 * @param {() => void} act
 * @returns {() => void} ends the turn, or the wait for it; idempotent
 */
export function takeTurn(act) {
	let ended = false
	let began = false
	const begin = () => {
		began = true
		if (!ended) act()
	}
	waiting.add(begin)
	queueMicrotask(next)
	return () => {
		if (ended) return
		ended = true
		waiting.delete(begin)
		if (began) taken--
		next()
	}
}
