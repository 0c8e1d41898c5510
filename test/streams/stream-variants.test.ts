import test from 'ava'
import type {StreamRequest} from '../../dist/streams/stream-request.js'
import {type Script, script, startStreams, Watcher, withVariants} from '../support/scripted.js'
import {until} from '../support/viewer.js'

// Which variant plays, and which follows, with workers that follow a script: see test/support/workers/scripted.mjs.

test.serial(
	'a variant that fails gives its place to the next, also where only one pipeline may run',
	async t => {
		const {attach, passedOver, logged, line} = startStreams(t, {maxPipelines: 1, retryForMs: 0})
		// The codec is learnt from the plain variant first.
		const learning = attach(await script([{frames: 'K…', codec: 'H264'}]), new Watcher())
		await line('codec')
		await learning.close()
		const broken = await script([{end: 'broken', deaf: true}])
		const plain = await script([{frames: 'K…', codec: 'H264'}])
		const watcher = new Watcher()
		attach(withVariants(plain, [{template: 'jpeg.broken', script: broken, codec: 'H264'}]), watcher)
		await watcher.got(3)
		t.deepEqual(passedOver, ['jpeg.broken'])
		t.deepEqual(
			logged('opening').map(({template}) => template),
			['jpeg', 'jpeg.broken', 'jpeg']
		)
		t.deepEqual(watcher.failures, [])
	}
)

test.serial(
	'a worker that tells one codec after the other starts one variant, and leaves nothing',
	async t => {
		const {attach, logged, line, pool} = startStreams(t, {retryForMs: 0})
		const [one, other] = [await script([{frames: '|…'}]), await script([{frames: 'K…'}])]
		const plain = await script([{frames: 'K…', codec: ['H264', 'JPEG', 'H264']}])
		const watcher = new Watcher()
		const stream = attach(
			withVariants(plain, [
				{template: 'jpeg.one', script: one, codec: 'H264'},
				{template: 'jpeg.other', script: other, codec: 'JPEG'}
			]),
			watcher
		)
		await line('opening', 2)
		// It told all codecs in one go, and then went on.
		await watcher.got(watcher.frames.length + 50)
		await one.go(0)
		await until(() => pool.running === 1, 60_000, 'the variant plays alone')
		t.deepEqual(
			logged('opening').map(({template}) => template),
			['jpeg', 'jpeg.one']
		)
		await stream.close()
		t.is(pool.running, 0)
	}
)

test.serial(
	'an edited variant is another stream, as an edited template is; one that came or went is not',
	async t => {
		const {attach, streams} = startStreams(t, {share: true})
		const variant = (template: string, launch: string) => ({
			template,
			launch,
			rank: 100,
			codecs: ['H264']
		})
		const played = await script([{frames: 'K…'}])
		const request = (...variants: StreamRequest['variants']): Script => ({
			...played,
			request: {...played.request, variants}
		})
		const first = attach(request(variant('jpeg.va', 'one')), new Watcher())
		t.is(attach(request(), new Watcher()), first)
		t.is(
			attach(request(variant('jpeg.qsv', 'one'), variant('jpeg.va', 'one')), new Watcher()),
			first
		)
		const edited = attach(request(variant('jpeg.va', 'two')), new Watcher())
		t.not(edited, first)
		t.is(attach(request(variant('jpeg.va', 'two')), new Watcher()), edited)
		await first.close()
		t.is(attach(request(variant('jpeg.va', 'two')), new Watcher()), edited)
		t.is(streams.all.size, 1)
	}
)

test('a variant that hangs costs one viewer one attempt, not every viewer the camera', async t => {
	const {attach, passedOver} = startStreams(t, {openTimeoutMs: 4000, retryForMs: 0})
	const hanging = await script([{}])
	const plain = await script([{frames: 'K…', codec: 'H264'}])
	const played = withVariants(plain, [{template: 'jpeg.hangs', script: hanging, codec: 'H264'}])
	// While the plain variant plays beside it, it is clear who is to blame.
	const first = new Watcher()
	const stream = attach(played, first)
	await until(() => passedOver.length > 0, 60_000, 'the variant is passed over')
	t.deepEqual(passedOver, ['jpeg.hangs'])
	t.deepEqual(first.failures, [])
	await stream.close()
	// With the codec known, it starts first and nothing comes; the next viewer begins with the plain one again.
	const second = new Watcher()
	attach(played, second)
	t.is((await second.failed()).code, 'camera_timeout')
	const third = new Watcher()
	attach(played, third)
	await third.got(3)
	t.deepEqual(third.failures, [])
})

test.serial(
	'where a camera gives its one session to a variant that fails, the plain one takes over again, and the variant is not tried twice',
	async t => {
		const {attach, passedOver, logged, line} = startStreams(t)
		const broken = await script([{frames: '|', end: 'broken'}])
		const plain = await script([
			{frames: `K|${'K'.repeat(19)}`, codec: 'H264', end: 'eos'},
			{frames: 'KKKK', codec: 'H264', end: 'eos'},
			{frames: 'K…'}
		])
		const watcher = new Watcher()
		attach(withVariants(plain, [{template: 'jpeg.broken', script: broken, codec: 'H264'}]), watcher)
		// The variant starts beside the plain one; then the camera ends the plain one; then the variant fails.
		await line('opening', 2)
		await plain.go(0)
		await line('bus message')
		await broken.go(0)
		await watcher.got(27)
		t.deepEqual(passedOver, ['jpeg.broken'])
		t.is(logged('retrying').length, 1)
		t.deepEqual(
			logged('opening').map(({template}) => template),
			['jpeg', 'jpeg.broken', 'jpeg', 'jpeg']
		)
		t.deepEqual([watcher.names[20], watcher.names[24]], ['1.0', '2.0'])
	}
)
