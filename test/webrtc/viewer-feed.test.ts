import test from 'ava'
import {type CodedFrame, Feed, Source} from '../../dist/webrtc/viewer-feed.js'
import {until} from '../support/viewer.js'

const frame = (timeMs: number, keyFrame = false, bytes = 10): CodedFrame => ({
	timeMs,
	keyFrame,
	data: Buffer.alloc(bytes)
})

interface Viewer {
	feed: Feed
	sent: {bytes: number; timestampMs: number}[]
	/** The feed's time, which stands still until a test moves it. */
	clock: {nowMs: number}
}

/** A viewer that writes down what it is sent; its transport takes what `takes` says. */
function viewer({
	takes = () => true,
	nowMs = 0
}: {takes?: (data: Buffer) => boolean; nowMs?: number} = {}): Viewer {
	const sent: Viewer['sent'] = []
	const clock = {nowMs}
	const feed = new Feed(
		(data, timestampMs) => {
			sent.push({bytes: data.byteLength, timestampMs})
			return takes(data)
		},
		() => clock.nowMs
	)
	return {sent, clock, feed}
}

test('live frames leave at once, from the first key frame on, at the time at which they came', t => {
	const source = new Source()
	const {feed, sent} = viewer()
	source.attach(feed)
	source.add(frame(0))
	source.add(frame(33, true))
	source.add(frame(66))
	t.deepEqual(
		sent.map(({timestampMs}) => timestampMs),
		[33, 66]
	)
	t.is(feed.counters.sent, 2)
})

test('what the transport does not take counts as dropped, and no more is made of it', t => {
	const source = new Source()
	const {feed, sent} = viewer({takes: data => data.byteLength < 20})
	source.attach(feed)
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
	source.attach(feed)
	source.add(frame(1100))
	t.deepEqual(
		sent.map(({timestampMs}) => timestampMs),
		[1063, 1064, 1065, 1066, 1100]
	)
})

test('a replay is paced, live frames wait behind it, and a key frame takes the place of all that waits', async t => {
	const source = new Source()
	for (let index = 0; index < 20; index++) source.add(frame(index * 33, index === 0, 50_000))
	const {feed, sent, clock} = viewer({nowMs: 660})
	source.attach(feed)
	// 50 kB are 10 ms of the pace.
	t.is(sent.length, 1)
	source.add(frame(700))
	clock.nowMs += 20
	await until(() => sent.length >= 3, 20_000, 'as much as 20 ms are worth')
	t.is(sent.length, 3)
	source.add(frame(733, true))
	t.is(sent.length, 4)
	t.is(sent.at(-1)?.timestampMs, 733)
	t.is(feed.counters.dropped, 18)
	feed.close()
})

test('a worker that was held up goes on with the replay at its pace, not in one burst', async t => {
	const source = new Source()
	for (let index = 0; index < 200; index++) source.add(frame(index * 33, index === 0, 10_000))
	const {feed, sent, clock} = viewer({nowMs: 6600})
	source.attach(feed)
	// 10 kB are 2 ms, and the first step is of 5 ms.
	t.is(sent.length, 3)
	clock.nowMs += 200
	await until(() => sent.length >= 13, 20_000, 'the next step')
	t.is(sent.length, 13, '20 ms are made up for, where the 200 would be a hundred frames')
	clock.nowMs += 5
	await until(() => sent.length >= 16, 20_000, 'the step behind it')
	t.is(sent.length, 16)
	feed.close()
})

test('whoever asks for a key frame gets the kept pictures again, not more often than every half second, and never back in time', t => {
	const source = new Source()
	source.add(frame(0, true))
	source.add(frame(33))
	const {feed, sent, clock} = viewer({nowMs: 66})
	source.attach(feed)
	t.false(feed.refresh(source.kept))
	clock.nowMs += 499
	t.false(feed.refresh(source.kept))
	clock.nowMs += 1
	t.true(feed.refresh(source.kept))
	t.false(feed.refresh(source.kept))
	t.deepEqual(
		sent.map(({timestampMs}) => timestampMs),
		[32, 33, 34, 35]
	)
	// The camera has been lost: what is kept would look live.
	clock.nowMs += 1400
	t.false(feed.refresh(source.kept))
	t.like(feed.counters, {asked: 5, replays: 2})
})

test('whom a replay does not help is answered ever more rarely, until it has asked for nothing for a while', t => {
	const source = new Source()
	source.add(frame(0, true))
	const {feed, clock} = viewer()
	source.attach(feed)
	const pass = (ms: number) => {
		clock.nowMs += ms
		source.add(frame(clock.nowMs))
	}
	const pauses: number[] = []
	for (let lastMs = 0; pauses.length < 6;) {
		pass(100)
		if (!feed.refresh(source.kept)) continue
		pauses.push(clock.nowMs - lastMs)
		lastMs = clock.nowMs
	}
	t.deepEqual(pauses, [500, 1000, 2000, 4000, 8000, 8000])
	pass(30_100)
	t.true(feed.refresh(source.kept))
	pass(500)
	t.true(feed.refresh(source.kept))
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
	source.attach(feed)
	t.true(feed.refresh(source.kept))
	source.add(frame(0, true))
	const late = viewer({nowMs: 20_000})
	source.attach(late.feed)
	t.is(late.sent.length, 0)
	t.is(sent.length, 1)
})
