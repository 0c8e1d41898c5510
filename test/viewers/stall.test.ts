import test, {type ExecutionContext} from 'ava'
import {Credit} from '../../dist/viewers/credit.js'
import type {Frame} from '../../dist/streams/frame.js'
import {Viewer} from '../../dist/viewers/frame-queue.js'

const frame = (sequence: number, keyFrame = true): Frame => ({
	sequence,
	timeMs: sequence,
	keyFrame,
	data: Buffer.alloc(10),
	caps: {name: ''},
	init: undefined,
	pale: false
})

/** Stops the clock, which then goes by what it is told. Nothing else may run meanwhile: such tests wait for nothing. */
function stopClock(t: ExecutionContext): (ms: number) => void {
	const original = performance.now.bind(performance)
	t.teardown(() => {
		performance.now = original
	})
	let nowMs = 0
	performance.now = () => nowMs
	return ms => {
		nowMs += ms
	}
}

for (const images of [true, false]) {
	test.serial(
		`a viewer that answers no ping any more stalls, however many frames replace each other: ${images ? 'images' : 'coded video'}`,
		t => {
			const pass = stopClock(t)
			const credit = new Credit(() => undefined)
			const answers = new Credit(payload => {
				credit.onPong(payload)
			})
			credit.start()
			// The first ping is answered, so the credit is not blind, and none after it.
			answers.start()
			const viewer = new Viewer({
				send: (_frame, done) => {
					done()
				},
				images,
				credit
			})
			let sequence = 0
			for (let index = 0; index < 10; index++) viewer.offer(frame(sequence++))
			const sentBefore = viewer.sent
			for (let round = 0; round < 15; round++) {
				pass(100)
				viewer.offer(frame(sequence++))
			}
			t.is(viewer.sent, sentBefore)
			t.is(viewer.stalledMs, 1500)
		}
	)
}

test.serial('a viewer whose camera is slow does not stall', t => {
	const pass = stopClock(t)
	const viewer = new Viewer({
		send: (_frame, done) => {
			done()
		},
		images: true
	})
	viewer.offer(frame(0))
	pass(300)
	viewer.offer(frame(1))
	t.is(viewer.sent, 2)
	t.is(viewer.stalledMs, 0)
})
