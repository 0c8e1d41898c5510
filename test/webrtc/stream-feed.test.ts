import test from 'ava'
import type {Frame} from '../../dist/streams/frame.js'
import {WebRtcSource} from '../../dist/webrtc/stream-feed.js'

/** An access unit as x264 writes it. */
function accessUnit(...units: string[]): Uint8Array {
	return Buffer.concat(units.flatMap(unit => [Buffer.from([0, 0, 0, 1]), Buffer.from(unit, 'hex')]))
}

const key = accessUnit(
	'091000',
	'674d401eeca05017fcb80b5060606a50000003001000000303c8f162d960',
	'68ce3c80',
	'658884003682180020000803'
)
const slice = accessUnit('093000', '419a20228d041fffffc42fc3')
const bSlice = accessUnit('095000', '019e624055157a04199f2c31')

/** A source with one holder, whose pipe takes frames as long as `taken` holds, and what became of its frames. */
function start(taken: () => boolean = () => true) {
	const seen = {sent: 0, dropped: 0, bFrames: 0}
	const source = new WebRtcSource({
		id: 1,
		send: () => {
			const ok = taken()
			if (ok) seen.sent++
			return ok
		},
		requestKeyFrame: () => undefined,
		onDropped: frames => {
			seen.dropped += frames
		},
		onUnused: () => undefined
	})
	source.hold()
	source.onBFrames.add(() => {
		seen.bFrames++
	})
	let sequence = 0
	const caps = () => ({name: 'video/x-h264', 'stream-format': 'byte-stream'})
	let current = caps()
	const offer = (data: Uint8Array, keyFrame = false) => {
		source.offer({
			sequence: sequence++,
			timeMs: 0,
			keyFrame,
			data,
			caps: current,
			init: undefined,
			pale: false
		} satisfies Frame)
	}
	return {
		source,
		seen,
		offer,
		nextPipeline: () => {
			current = caps()
		}
	}
}

test('a camera that comes back with B-frames is noticed, however long it was watched without', async t => {
	const {source, seen, offer, nextPipeline} = start()
	offer(key, true)
	for (let frame = 0; frame < 310; frame++) offer(slice)
	t.is(await source.verdict, 'plays')
	// So late in one pipeline nobody looks any more.
	offer(bSlice)
	t.is(seen.bFrames, 0)
	nextPipeline()
	offer(key, true)
	offer(slice)
	offer(bSlice)
	t.is(seen.bFrames, 1)
	source.release()
})

test('where the pipe is full frames are dropped up to the next key frame, and counted for each who holds the source', async t => {
	let room = true
	const {source, seen, offer} = start(() => room)
	source.hold()
	offer(key, true)
	room = false
	offer(slice)
	room = true
	offer(slice)
	t.deepEqual(seen, {sent: 1, dropped: 4, bFrames: 0})
	offer(key, true)
	offer(slice)
	t.deepEqual(seen, {sent: 3, dropped: 4, bFrames: 0})
	await t.notThrowsAsync(source.verdict)
	source.release()
	source.release()
})
