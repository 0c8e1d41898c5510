import {setTimeout as delay} from 'node:timers/promises'
import test from 'ava'
import {type CodedFrame, Feed, Source} from '../dist/webrtc-feed.js'

const frame = (timeMs: number, keyFrame = false, bytes = 10): CodedFrame => ({timeMs, keyFrame, data: Buffer.alloc(bytes)})

/** A viewer that writes down what it is sent; its transport takes what `takes` says. */
function viewer(takes: (data: Buffer) => boolean = () => true): {feed: Feed; sent: {bytes: number; timestampMs: number; atMs: number}[]} {
	const sent: {bytes: number; timestampMs: number; atMs: number}[] = []
	return {sent, feed: new Feed((data, timestampMs) => {
		sent.push({bytes: data.byteLength, timestampMs, atMs: performance.now()})
		return takes(data)
	})}
}

test('live frames leave at once, from the first key frame on, at the time at which they came', t => {
	const source = new Source()
	const {feed, sent} = viewer()
	source.attach(feed, 0)
	source.add(frame(0))
	source.add(frame(33, true))
	source.add(frame(66))
	t.deepEqual(sent.map(({timestampMs}) => timestampMs), [33, 66])
	t.is(feed.counters.sent, 2)
})

test('what the transport does not take counts as dropped, and no more is made of it', t => {
	const source = new Source()
	const {feed, sent} = viewer(data => data.byteLength < 20)
	source.attach(feed, 0)
	source.add(frame(0, true, 20))
	source.add(frame(33))
	t.is(sent.length, 2)
	t.like(feed.counters, {sent: 1, bytes: 10, dropped: 1})
})

test('a late viewer gets the pictures since the last key frame first, a millisecond apart up to the newest', t => {
	const source = new Source()
	source.add(frame(0, true))
	for (const timeMs of [1000, 1033, 1066]) source.add(frame(timeMs))
	const {feed, sent} = viewer()
	source.attach(feed, 0)
	source.add(frame(1100))
	t.deepEqual(sent.map(({timestampMs}) => timestampMs), [1063, 1064, 1065, 1066, 1100])
})

test('a replay is paced, live frames wait behind it, and a key frame takes the place of all that waits', async t => {
	const source = new Source()
	for (let index = 0; index < 20; index++) source.add(frame(index * 33, index === 0, 50_000))
	const {feed, sent} = viewer()
	source.attach(feed, 0)
	t.true(sent.length < 5, `${sent.length} of 20 left at once`)
	source.add(frame(700))
	await delay(60)
	t.true(sent.length > 2 && sent.length < 21, `${sent.length} after 60 ms`)
	const before = sent.length
	source.add(frame(733, true))
	t.is(sent.length, before + 1)
	t.is(sent.at(-1)?.timestampMs, 733)
	t.is(feed.counters.dropped, 21 - before)
	feed.close()
})

test('a worker that was held up goes on with the replay at its pace, not in one burst', async t => {
	const source = new Source()
	for (let index = 0; index < 200; index++) source.add(frame(index * 33, index === 0, 10_000))
	// Frames of one step leave before anything else runs.
	const steps: number[] = []
	let left = 0
	const feed = new Feed(() => {
		if (left++ === 0) queueMicrotask(() => { steps.push(left); left = 0 })
		return true
	})
	source.attach(feed, 0)
	const startedMs = performance.now()
	while (performance.now() - startedMs < 200) { /* Holds up the whole process. */ }
	while (steps.length < 4 && performance.now() - startedMs < 5000) await delay(5)
	// 20 ms of 5 kB each, where the 200 ms would be a hundred frames.
	t.true(steps.length >= 4 && Math.max(...steps) < 20, `frames at once: ${steps.join(', ')}`)
	feed.close()
})

test('whoever asks for a key frame gets the kept pictures again, not more often than every half second, and never back in time', async t => {
	const source = new Source()
	source.add(frame(0, true))
	source.add(frame(33))
	const {feed, sent} = viewer()
	const nowMs = 66
	source.attach(feed, 0)
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
	source.add(frame(0, true))
	const {feed} = viewer()
	source.attach(feed, 0)
	const answers: number[] = []
	const startMs = performance.now()
	while (answers.length < 3) {
		if (feed.refresh(source.kept, 0)) answers.push(performance.now())
		await delay(10)
	}
	const [first = 0, second = 0, third = 0] = answers
	t.true(first - startMs >= 490 && second - first >= 990 && third - second >= 1990, answers.map(atMs => Math.round(atMs - startMs)).join())
})

test('a group of pictures that grows without bound is not kept', t => {
	const source = new Source()
	source.add(frame(0, true, 1_000_000))
	for (let index = 1; index < 20; index++) source.add(frame(index, false, 1_000_000))
	t.is(source.kept.length, 0)
})

test('a viewer without any picture may ask for a key frame of the camera, and pictures of a camera that is lost are not shown', t => {
	const source = new Source()
	const {feed, sent} = viewer()
	source.attach(feed, 0)
	t.true(feed.refresh(source.kept, 0))
	source.add(frame(0, true))
	const late = viewer()
	source.attach(late.feed, 20_000)
	t.is(late.sent.length, 0)
	t.is(sent.length, 1)
})
