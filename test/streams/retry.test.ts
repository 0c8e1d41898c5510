import test from 'ava'
import {Retries} from '../../dist/streams/retry.js'

/** Retries in a time of their own, whose jitter is given: 0 is the shortest pause, 1 the longest. */
function start(
	forMs: number,
	jitter: () => number
): {retries: Retries; pass: (ms: number) => void} {
	let nowMs = 1000
	const retries = new Retries(forMs, () => nowMs, jitter)
	return {
		retries,
		pass: ms => {
			nowMs += ms
		}
	}
}

/** The pauses of a camera that fails at once whenever it is tried again, up to the end. */
function pausesOf(forMs: number, jitter: () => number): number[] {
	const {retries, pass} = start(forMs, jitter)
	const pauses: number[] = []
	for (let retry = retries.next(); retry; retry = retries.next()) {
		pauses.push(retry.pauseMs)
		pass(retry.pauseMs)
	}
	return pauses
}

test('pauses double up to five seconds, and vary by a quarter', t => {
	t.deepEqual(pausesOf(60_000, () => 0.5).slice(0, 6), [500, 1000, 2000, 4000, 5000, 5000])
	t.deepEqual(pausesOf(60_000, () => 0).slice(0, 5), [375, 750, 1500, 3000, 3750])
	t.deepEqual(pausesOf(60_000, () => 1).slice(0, 5), [625, 1250, 2500, 5000, 6250])
	const values = [0, 1, 0.5]
	t.deepEqual(
		pausesOf(60_000, () => values.shift() ?? 0.5).slice(0, 3),
		[375, 1250, 2000],
		'each has a jitter of its own'
	)
})

test('retries end with the time for them, and the last one comes close to it', t => {
	for (const forMs of [1000, 3000, 7000, 60_000]) {
		for (const jitter of [0, 0.5, 1]) {
			const pauses = pausesOf(forMs, () => jitter)
			const sum = pauses.reduce((before, pause) => before + pause, 0)
			t.true(sum < forMs && sum > forMs - Math.min(500, forMs / 2), `${forMs}: ${pauses.join()}`)
			t.true(
				pauses.every(pause => pause >= Math.min(250, forMs / 4)),
				`no tight loop: ${pauses.join()}`
			)
		}
	}
})

test('each retry says its number, and how much time is left', t => {
	const {retries, pass} = start(7000, () => 0.5)
	t.deepEqual(retries.next(), {number: 1, pauseMs: 500, leftMs: 7000})
	pass(600)
	t.deepEqual(retries.next(), {number: 2, pauseMs: 1000, leftMs: 6400})
	pass(6000)
	t.is(retries.next(), undefined)
})

test('the pauses begin anew only after 10 s of playing, and so does the time that is left', t => {
	const {retries, pass} = start(15_000, () => 0.5)
	t.is(retries.next()?.pauseMs, 500)
	pass(500)
	retries.onPicture(true)
	pass(10_000)
	// It has played for ten seconds, and not for longer.
	retries.onPicture(false)
	t.deepEqual(retries.next(), {number: 2, pauseMs: 1000, leftMs: 4500})
	pass(1000)
	retries.onPicture(true)
	pass(10_001)
	retries.onPicture(false)
	t.deepEqual(retries.next(), {number: 1, pauseMs: 500, leftMs: 15_000})
	pass(500)
	retries.onPicture(true)
	// Silence is no playing: a camera that shows one picture and freezes is not sound.
	pass(11_000)
	t.deepEqual(retries.next(), {number: 2, pauseMs: 1000, leftMs: 3500})
})

test('a loss that follows much later has the whole time for it', t => {
	const {retries, pass} = start(5000, () => 0.5)
	retries.onPicture(true)
	pass(3_600_000)
	retries.onPicture(false)
	t.is(retries.next()?.leftMs, 5000)
})
