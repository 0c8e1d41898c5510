import test from 'ava'
import {Credit} from '../../dist/viewers/credit.js'
import type {Frame} from '../../dist/streams/frame.js'
import {Viewer} from '../../dist/viewers/frame-queue.js'

interface Link {
	/** Of an empty link. */
	roundTripMs: number
	bytesPerSecond: number
	/** Up to so much is added to each way, in order. */
	jitterMs?: number
	/** How likely it is that one of a frame's packets is lost, and comes a round trip later. */
	loss?: number
	/** From this time on the round trip is another one. */
	later?: {atMs: number; roundTripMs: number}
	answers?: (payload: Buffer) => Buffer[]
}

interface Seen {
	atMs: number
	ageMs: number
}

/** Seeded, so that a failure can be repeated. */
function generator(seed: number): () => number {
	let state = seed
	return () => {
		state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32
		return state / 2 ** 32
	}
}

/** A viewer behind a link, in a time of their own: what it sees of a source of so many frames a second, and how old that is. */
function simulate(
	link: Link,
	{seconds = 20, framesPerSecond = 30, frameBytes = 170_000} = {}
): {seen: Seen[]; viewer: Viewer} {
	let nowMs = 0
	const events: {atMs: number; order: number; act: () => void}[] = []
	const at = (atMs: number, act: () => void) => {
		events.push({atMs, order: events.length, act})
	}
	const random = generator(1)
	let freeMs = 0
	let arrivedMs = 0
	let returnedMs = 0
	const oneWayMs = () =>
		(nowMs >= (link.later?.atMs ?? Infinity) ? (link.later?.roundTripMs ?? 0) : link.roundTripMs) /
			2 +
		random() * (link.jitterMs ?? 0)
	// Both ways deliver in order, as TCP does.
	const deliver = (bytes: number, act: () => void) => {
		freeMs = Math.max(freeMs, nowMs) + (bytes / link.bytesPerSecond) * 1000
		arrivedMs = Math.max(
			arrivedMs,
			freeMs + oneWayMs() + (random() < (link.loss ?? 0) ? link.roundTripMs : 0)
		)
		at(arrivedMs, act)
	}
	const seen: Seen[] = []
	const credit = new Credit(
		payload => {
			deliver(10, () => {
				for (const answer of link.answers?.(payload) ?? [payload]) {
					returnedMs = Math.max(returnedMs, nowMs + oneWayMs())
					at(returnedMs, () => {
						if (credit.onPong(answer)) viewer.drain()
					})
				}
			})
		},
		() => nowMs
	)
	const viewer: Viewer = new Viewer({
		images: true,
		credit,
		// The socket's buffer takes everything at once, as the kernel's do for seconds.
		send: (frame, done) => {
			deliver(frame.data.byteLength, () => {
				seen.push({atMs: nowMs, ageMs: nowMs - frame.timeMs})
			})
			done()
		}
	})
	credit.start()
	const data = new Uint8Array(frameBytes)
	for (let sequence = 0; sequence < seconds * framesPerSecond; sequence++) {
		const timeMs = 160 + (sequence / framesPerSecond) * 1000
		at(timeMs, () => {
			viewer.offer({
				sequence,
				timeMs,
				keyFrame: true,
				data,
				caps: {name: ''},
				init: undefined,
				pale: false
			} satisfies Frame)
		})
	}
	const endMs = 160 + seconds * 1000
	for (;;) {
		events.sort((a, b) => a.atMs - b.atMs || a.order - b.order)
		const event = events.shift()
		if (!event || event.atMs > endMs) return {seen, viewer}
		nowMs = event.atMs
		event.act()
	}
}

const rateOf = (seen: Seen[], fromMs: number, toMs: number) =>
	(seen.filter(({atMs}) => atMs >= fromMs && atMs < toMs).length / (toMs - fromMs)) * 1000

function worstAge(seen: Seen[], fromMs = 1000): number {
	return Math.max(...seen.filter(({atMs}) => atMs >= fromMs).map(({ageMs}) => ageMs))
}

for (const roundTripMs of [1, 20, 80, 200, 400]) {
	for (const bytesPerSecond of [1e9, 8e6]) {
		test(`a round trip of ${roundTripMs} ms at ${bytesPerSecond / 1e6} MB/s carries every frame of 5 MB/s`, t => {
			const {seen} = simulate({roundTripMs, bytesPerSecond})
			const rate = rateOf(seen, 2000, 20_000)
			t.true(rate >= 29.5, `${rate} frames a second`)
			t.true(worstAge(seen) < roundTripMs / 2 + 60, `${worstAge(seen)} ms`)
		})
	}
}

test('a round trip that varies by 40 ms keeps the rate', t => {
	const {seen} = simulate({roundTripMs: 80, bytesPerSecond: 1e8, jitterMs: 20})
	const rate = rateOf(seen, 2000, 20_000)
	t.true(rate >= 29, `${rate} frames a second`)
})

test('a round trip of 80 ms on which most frames lose a packet keeps the rate', t => {
	const {seen} = simulate({roundTripMs: 80, bytesPerSecond: 1e8, loss: 0.7, jitterMs: 10})
	const rate = rateOf(seen, 2000, 20_000)
	t.true(rate >= 29, `${rate} frames a second`)
})

for (const roundTripMs of [1, 20, 80]) {
	test(`a link of 2 MB/s and ${roundTripMs} ms shows the present, and is kept busy`, t => {
		const {seen} = simulate({roundTripMs, bytesPerSecond: 2e6})
		t.true(worstAge(seen) < roundTripMs / 2 + 250, `${worstAge(seen)} ms`)
		// 2 MB/s carry 11.8 of these frames. Where one more on the link would be old on arrival, some of that is given up.
		const rate = rateOf(seen, 1000, 20_000)
		t.true(rate > 9, `${rate} frames a second`)
	})
}

test('a link that takes most of a second for each frame has at most two on it', t => {
	const {seen} = simulate({roundTripMs: 50, bytesPerSecond: 200_000})
	t.true(worstAge(seen) < 1900, `${worstAge(seen)} ms`)
	t.true(rateOf(seen, 1000, 20_000) > 0.9)
})

test('a round trip that has grown for good is learnt, and the rate comes back', t => {
	const {seen} = simulate(
		{roundTripMs: 10, bytesPerSecond: 1e9, later: {atMs: 10_000, roundTripMs: 300}},
		{seconds: 120}
	)
	t.true(rateOf(seen, 12_000, 20_000) < 20)
	const rate = rateOf(seen, 60_000, 120_000)
	t.true(rate >= 29, `${rate} frames a second`)
})

test('a viewer whose pings are never answered gets every frame after a second, and two before that', t => {
	const {seen} = simulate({roundTripMs: 1, bytesPerSecond: 1e9, answers: () => []})
	t.is(seen.filter(({atMs}) => atMs < 990).length, 2)
	t.true(rateOf(seen, 1100, 20_000) >= 29.5)
})

test('a round trip that is longer than the wait for answers is found out too', t => {
	const {seen} = simulate({roundTripMs: 1500, bytesPerSecond: 2e6}, {seconds: 60})
	// Without pacing it would be 36 s.
	t.true(worstAge(seen, 20_000) < 3000, `${worstAge(seen, 20_000)} ms`)
	t.true(rateOf(seen, 20_000, 60_000) > 8)
})

test('answers that come twice, or that nobody waits for, give no credit', t => {
	const slow = {roundTripMs: 1, bytesPerSecond: 2e6}
	const honest = simulate(slow)
	const twice = simulate({...slow, answers: payload => [payload, payload]})
	t.deepEqual(twice.seen, honest.seen)
	const credit = new Credit(() => undefined)
	for (const payload of [Buffer.alloc(0), Buffer.alloc(4, 255), Buffer.alloc(4), Buffer.alloc(125)])
		t.false(credit.onPong(payload))
})

test('an answer to the newest ping answers those before it', t => {
	const pings: Buffer[] = []
	const credit = new Credit(
		payload => pings.push(payload),
		() => 0
	)
	credit.start()
	credit.onSent()
	credit.onSent()
	t.false(credit.allows())
	t.true(credit.onPong(pings[2] ?? Buffer.alloc(0)))
	t.true(credit.allows())
	t.false(credit.onPong(pings[1] ?? Buffer.alloc(0)))
})
