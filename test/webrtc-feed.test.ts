import {setTimeout as delay} from 'node:timers/promises'
import test from 'ava'
import {type CodedFrame, Feed, Source} from '../dist/webrtc-feed.js'

const frame = (timeMs: number, keyFrame = false, bytes = 10): CodedFrame => ({timeMs, keyFrame, data: Buffer.alloc(bytes)})

/** A viewer that writes down what it is sent. */
function viewer(): {feed: Feed; sent: {bytes: number; timestampMs: number; atMs: number}[]} {
	const sent: {bytes: number; timestampMs: number; atMs: number}[] = []
	return {sent, feed: new Feed((data, timestampMs) => { sent.push({bytes: data.byteLength, timestampMs, atMs: performance.now()}) })}
}

test('live frames leave at once, from the first key frame on, at the time at which they came', t => {
	const source = new Source()
	const {feed, sent} = viewer()
	source.attach(feed)
	source.add(frame(0), false)
	source.add(frame(33, true), false)
	source.add(frame(66), false)
	t.deepEqual(sent.map(({timestampMs}) => timestampMs), [33, 66])
	t.is(feed.counters.sent, 2)
})

test('a late viewer gets the pictures since the last key frame first, a millisecond apart up to the newest', t => {
	const source = new Source()
	source.add(frame(0, true), false)
	for (const timeMs of [1000, 1033, 1066]) source.add(frame(timeMs), false)
	const {feed, sent} = viewer()
	source.attach(feed)
	source.add(frame(1100), false)
	t.deepEqual(sent.map(({timestampMs}) => timestampMs), [1063, 1064, 1065, 1066, 1100])
})

test('a replay is paced, live frames wait behind it, and a key frame takes the place of all that waits', async t => {
	const source = new Source()
	for (let index = 0; index < 20; index++) source.add(frame(index * 33, index === 0, 50_000), false)
	const {feed, sent} = viewer()
	source.attach(feed)
	t.true(sent.length < 5, `${sent.length} of 20 left at once`)
	source.add(frame(700), false)
	await delay(60)
	t.true(sent.length > 2 && sent.length < 21, `${sent.length} after 60 ms`)
	const before = sent.length
	source.add(frame(733, true), false)
	t.is(sent.length, before + 1)
	t.is(sent.at(-1)?.timestampMs, 733)
	t.is(feed.counters.dropped, 21 - before)
	feed.close()
})

test('whoever asks for a key frame gets the kept pictures again, not more often than every half second, and never back in time', async t => {
	const source = new Source()
	source.add(frame(0, true), false)
	source.add(frame(33), false)
	const {feed, sent} = viewer()
	const nowMs = 66
	source.attach(feed)
	t.false(feed.refresh(source.kept, nowMs))
	await delay(550)
	// The camera has been lost: what is kept would look live.
	t.false(feed.refresh(source.kept, 2000))
	t.true(feed.refresh(source.kept, nowMs))
	t.false(feed.refresh(source.kept, nowMs))
	t.deepEqual(sent.map(({timestampMs}) => timestampMs), [32, 33, 34, 35])
	t.like(feed.counters, {asked: 4, replays: 2})
})

test('whom a replay does not help is answered ever more rarely', async t => {
	const source = new Source()
	source.add(frame(0, true), false)
	const {feed} = viewer()
	source.attach(feed)
	const answers: number[] = []
	const startMs = performance.now()
	while (answers.length < 3) {
		if (feed.refresh(source.kept, 0)) answers.push(performance.now())
		await delay(10)
	}
	const [first = 0, second = 0, third = 0] = answers
	t.true(first - startMs >= 490 && second - first >= 990 && third - second >= 1990, answers.map(atMs => Math.round(atMs - startMs)).join())
})

test('an interrupted stream begins again with a key frame', t => {
	const source = new Source()
	const {feed, sent} = viewer()
	source.attach(feed)
	source.add(frame(0, true), true)
	source.add(frame(1000), true)
	source.add(frame(1033), false)
	t.is(sent.length, 1)
	t.is(source.kept.length, 0)
	source.add(frame(1066, true), false)
	t.is(sent.length, 2)
})

test('a group of pictures that grows without bound is not kept', t => {
	const source = new Source()
	source.add(frame(0, true, 1_000_000), false)
	for (let index = 1; index < 20; index++) source.add(frame(index, false, 1_000_000), false)
	t.is(source.kept.length, 0)
})
