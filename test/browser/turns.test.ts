import {setImmediate as turn} from 'node:timers/promises'
import test from 'ava'

type TakeTurn = (act: () => void) => (shown?: boolean) => void
const file = new URL('../../player/turns.js', import.meta.url).href

test.serial(
	'as many players start at a time as the page shows soon: two, up to four, and fewer again where pictures are late',
	async t => {
		const {takeTurn} = (await import(file)) as {takeTurn: TakeTurn}
		let nowMs = 0
		t.teardown(() => {
			performance.now = original
		})
		const original = performance.now.bind(performance)
		performance.now = () => nowMs
		let begun = 0
		const turns = Array.from({length: 20}, () =>
			takeTurn(() => {
				begun++
			})
		)
		const show = async (...indices: number[]) => {
			for (const index of indices) turns[index]?.(true)
			await turn()
			return begun
		}
		t.is(await show(), 2)
		nowMs = 500
		t.is(await show(0, 1), 6, 'both came soon: four at a time')
		// Nobody waits longer for them than three seconds, but their pictures come after all, and tell how slow the page is.
		for (const index of [2, 3, 4, 5]) turns[index]?.()
		await turn()
		t.is(begun, 10)
		nowMs = 5000
		await show(2, 3)
		for (const index of [6, 7]) turns[index]?.()
		await turn()
		t.is(begun, 10, 'two at a time')
		for (const index of [8, 9]) turns[index]?.()
		await turn()
		t.is(begun, 12)
		t.is(await show(2, 3), 12, 'each picture tells once')
	}
)
