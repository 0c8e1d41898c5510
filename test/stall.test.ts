import test from 'ava'
import {setTimeout as delay} from 'node:timers/promises'
import {Credit} from '../dist/credit.js'
import type {Frame} from '../dist/stream.js'
import {Viewer} from '../dist/viewer.js'

const frame = (sequence: number, keyFrame = true): Frame => ({sequence, timeMs: sequence, keyFrame, data: Buffer.alloc(10), caps: {name: ''}, init: undefined, pale: false})

for (const images of [true, false]) {
	test(`a viewer that answers no ping any more stalls, however many frames replace each other: ${images ? 'images' : 'coded video'}`, async t => {
		const credit = new Credit(() => undefined)
		const answers = new Credit(payload => { credit.onPong(payload) })
		credit.start()
		// The first ping is answered, so the credit is not blind, and none after it.
		answers.start()
		const viewer = new Viewer({send: (_frame, done) => { done() }, images, credit})
		let sequence = 0
		for (let index = 0; index < 10; index++) viewer.offer(frame(sequence++))
		const sentBefore = viewer.sent
		for (let round = 0; round < 15; round++) {
			await delay(100)
			viewer.offer(frame(sequence++))
		}
		t.is(viewer.sent, sentBefore)
		t.true(viewer.stalledMs >= 1000, `${viewer.stalledMs} ms`)
	})
}

test('a viewer whose camera is slow does not stall', async t => {
	const viewer = new Viewer({send: (_frame, done) => { done() }, images: true})
	viewer.offer(frame(0))
	await delay(300)
	viewer.offer(frame(1))
	t.is(viewer.sent, 2)
	t.true(viewer.stalledMs < 100)
})
