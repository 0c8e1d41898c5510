/**
 * How many players of a page may be on their way to the first picture at a time. A wall whose tiles all start at once
 * makes each of them slow, and a slow one would leave its mode for one that costs the server more.
 */
const most = 4
const least = 2
/** One more where a picture came sooner than this, and one less where it took longer than that, a mode's time being 3 s. */
const quickMs = 800
const slowMs = 1500

/** @type {Set<() => void>} those that wait, the first come first */
const waiting = new Set()
let taken = 0
let allowed = least

function next() {
	for (const act of waiting) {
		if (taken >= allowed) return
		taken++
		waiting.delete(act)
		act()
	}
}

/**
 * Acts when it is this player's turn, at the earliest when the caller has got what ends it.
 * @param {() => void} act
 * @returns {(shown?: boolean) => void} ends the turn, or the wait for it; idempotent. A camera that shows nothing says nothing of how busy the page is
 */
export function takeTurn(act) {
	let ended = false
	/** @type {number | null} */
	let beganAt = null
	let judged = false
	const begin = () => {
		beganAt = performance.now()
		if (!ended) act()
	}
	waiting.add(begin)
	queueMicrotask(next)
	return (shown = false) => {
		// Also of a picture that came when its turn had ended.
		if (shown && !judged && beganAt !== null) {
			judged = true
			const tookMs = performance.now() - beganAt
			if (tookMs < quickMs) allowed = Math.min(most, allowed + 1)
			else if (tookMs > slowMs) allowed = Math.max(least, allowed - 1)
		}
		if (ended) return
		ended = true
		waiting.delete(begin)
		if (beganAt !== null) taken--
		next()
	}
}
