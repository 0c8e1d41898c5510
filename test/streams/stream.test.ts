import {setTimeout as delay} from 'node:timers/promises'
import test from 'ava'
import type {Stream} from '../../dist/streams/stream.js'
import {ended} from '../support/processes.js'
import {
	type Attempt,
	nameOf,
	type Script,
	script,
	startStreams,
	Watcher
} from '../support/scripted.js'
import {until} from '../support/viewer.js'

// One stream's life, with workers that follow a script. Those tests that mostly wait for pauses run beside each other.

test('a camera that refuses the connection late is told as one that does so at once', async t => {
	const {attach} = startStreams(t, {retryForMs: 0})
	const watcher = new Watcher()
	const played = await script([{frames: '|', end: 'refused'}])
	attach(played, watcher)
	// Late is what comes more than a second after the start; it may well be later.
	await delay(1100)
	await played.go(0)
	t.is((await watcher.failed()).detail, '127.0.0.1:1 refused the connection; is the port right?')
})

test.serial(
	'a subscriber may leave inside its own onFrame and onFailure, and others come inside: each frame comes once, each failure once',
	async t => {
		const {attach} = startStreams(t, {share: true, lingerMs: 100})
		const played = await script([{frames: 'KKKKKKKKKK', end: 'unauthorized'}])
		const once = new Watcher()
		const guest = new Watcher()
		const others = [new Watcher(), new Watcher(), new Watcher()] as const
		const [first, second, third] = others
		const stream = attach(played, once)
		once.onFrame = frame => {
			once.frames.push(frame)
			stream.detach(once)
			attach(played, guest)
		}
		for (const watcher of others) attach(played, watcher)
		// The failure of one takes another along, which then must not be told any more.
		second.onFailure = error => {
			second.failures.push(error)
			stream.detach(second)
			stream.detach(third)
		}
		await second.failed()
		t.deepEqual(once.names, ['0.0'])
		t.deepEqual(once.failures, [])
		for (const watcher of [guest, ...others])
			t.deepEqual(
				watcher.names,
				Array.from({length: 10}, (_, index) => `0.${index}`)
			)
		t.is(first.failures.length, 1)
		t.is(second.failures.length, 1)
		t.is(third.failures.length, 0)
		await stream.ended
	}
)

test.serial('who leaves at the first of the frames that were kept gets no other', async t => {
	const {attach} = startStreams(t, {share: true})
	const played = await script([{frames: 'Kppppppppppppppppppp'}], {images: false})
	const early = new Watcher()
	const stream = attach(played, early)
	await early.got(20)
	const late = new Watcher()
	late.onFrame = frame => {
		late.frames.push(frame)
		stream.detach(late)
	}
	attach(played, late)
	t.deepEqual(late.names, ['0.0'])
})

test.serial(
	'a first attempt that fails tells everyone who waits, once; whoever comes then starts another',
	async t => {
		const {streams, attach, pool} = startStreams(t, {share: true, lingerMs: 5000})
		const played = await script([{end: 'unauthorized'}, {frames: 'K…'}])
		const waiting = [new Watcher(), new Watcher(), new Watcher()]
		const again = new Watcher()
		let stream: Stream | undefined
		for (const watcher of waiting) stream = attach(played, watcher)
		const [, second = again] = waiting
		second.onFailure = error => {
			second.failures.push(error)
			attach(played, again)
		}
		await again.got(3)
		for (const {failures} of waiting)
			t.deepEqual(
				failures.map(({code}) => code),
				['camera_unauthorized']
			)
		t.deepEqual(again.failures, [])
		await stream?.ended
		t.is(streams.all.size, 1)
		t.is(pool.running, 1)
		t.is(played.notes().filter(({event}) => event === 'start').length, 2)
	}
)

test('a camera that does not come back is tried again up to the limit; then the last reason is told', async t => {
	const {attach, logged, pool} = startStreams(t, {retryForMs: 5000})
	const watcher = new Watcher()
	const stream = attach(await script([{frames: 'KKK', end: 'eos'}, {end: 'refused'}]), watcher)
	const error = await watcher.failed()
	t.is(error.code, 'camera_lost')
	t.is(error.detail, 'tried again for 5 s: 127.0.0.1:1 refused the connection; is the port right?')
	// How pauses grow is in retries.test.ts; here they are announced, and there is no tight loop.
	const retries = logged('retrying')
	t.deepEqual(
		retries.map(({retry}) => retry),
		retries.map((_, index) => index + 1)
	)
	t.true(
		retries.every(({pauseMs}) => Number(pauseMs) >= 250),
		retries.map(({pauseMs}) => pauseMs).join()
	)
	t.deepEqual(
		retries.slice(0, 2).map(({code}) => code),
		['camera_lost', 'camera_unreachable']
	)
	await stream.ended
	t.is(pool.running, 0)
})

test.serial('--retry-for 0 ends at once, with the reason as it is', async t => {
	const {attach, logged} = startStreams(t, {retryForMs: 0})
	const watcher = new Watcher()
	attach(await script([{frames: 'KKK', end: 'eos'}]), watcher)
	const error = await watcher.failed()
	t.is(error.code, 'camera_lost')
	t.is(error.detail, 'the camera ended the stream')
	t.deepEqual(logged('retrying'), [])
})

test('a camera that refuses the password when it is back ends the stream at once', async t => {
	const {attach, logged} = startStreams(t)
	const watcher = new Watcher()
	attach(
		await script([
			{frames: 'KKK', end: 'eos'},
			{end: 'refused'},
			{end: 'unauthorized'},
			{frames: 'K…'}
		]),
		watcher
	)
	t.is((await watcher.failed()).code, 'camera_unauthorized')
	t.is(watcher.failures.length, 1)
	t.is(logged('retrying').length, 2)
})

test('a worker that crashes after its first frame, always, ends with pipeline_failed, and without a tight loop', async t => {
	const {attach, pool, logged} = startStreams(t, {retryForMs: 3000})
	const played = await script([{frames: 'K', end: 'crash'}])
	const watcher = new Watcher()
	const stream = attach(played, watcher)
	const error = await watcher.failed()
	t.is(error.code, 'pipeline_failed')
	t.is(error.detail, 'tried again for 3 s: the worker died: SIGSEGV')
	const retries = logged('retrying')
	t.true(retries.length > 0)
	t.true(
		retries.every(({pauseMs}) => Number(pauseMs) >= 250),
		retries.map(({pauseMs}) => pauseMs).join()
	)
	// Each worker but the first follows a pause. The last may be ended by the time that runs out, with its frame or before it.
	const starts = played.notes().filter(({event}) => event === 'start').length
	t.true(starts <= retries.length + 1, `${starts} workers, ${retries.length} pauses`)
	const crashes = played.notes().filter(({event}) => event === 'crash').length
	t.true(crashes >= starts - 1, `${crashes} crashes of ${starts} workers`)
	// Each frame of a worker that crashed has come.
	t.true(
		watcher.frames.length >= crashes && watcher.frames.length <= starts,
		`${watcher.frames.length} frames, ${crashes} crashes, ${starts} workers`
	)
	t.deepEqual(
		watcher.names,
		watcher.frames.map((_, attempt) => `${attempt}.0`)
	)
	// Viewers count on.
	t.deepEqual(
		watcher.frames.map(({sequence}) => sequence),
		watcher.frames.map((_, index) => index)
	)
	await stream.ended
	t.is(pool.running, 0)
})

test("the old worker's place is the new one's, also where it ends late: nothing is lost to the limit on pipelines", async t => {
	const {attach, logged} = startStreams(t, {maxPipelines: 1})
	const played = await script([{frames: 'KKK', end: 'eos', deaf: true}, {frames: 'K…'}])
	const watcher = new Watcher()
	let endedBefore: boolean | undefined
	watcher.onFrame = frame => {
		watcher.frames.push(frame)
		if (nameOf(frame) === '1.0') endedBefore = ended(Number(played.notes()[0]?.['pid']))
	}
	attach(played, watcher)
	await watcher.got(6)
	t.deepEqual(
		logged('retrying').map(({code}) => code),
		['camera_lost']
	)
	t.true(endedBefore)
})

test('a place that somebody else has taken while the camera was away: over_capacity, when the retries run out', async t => {
	const watcher = new Watcher()
	const other = new Watcher()
	const played = await script([{frames: 'K', end: 'crash'}, {frames: 'K…'}])
	const second = await script([{frames: 'K…'}])
	const {attach, streams} = startStreams(t, {
		maxPipelines: 1,
		retryForMs: 2000,
		onRetry: () => {
			// The worker has crashed, so its place is free by now.
			if (streams.all.size === 1) attach(second, other)
		}
	})
	attach(played, watcher)
	const error = await watcher.failed()
	t.is(error.code, 'over_capacity')
	t.is(error.detail, 'tried again for 2 s: 1 pipelines run already; --max-pipelines allows no more')
	t.is(watcher.frames.length, 1)
	await other.got(5)
	t.deepEqual(other.failures, [])
})

test('whoever comes while a lost camera is tried again hears of it within --open-timeout; who was there waits on', async t => {
	const {attach, streams, context, line} = startStreams(t, {share: true, lingerMs: 5000})
	const played = await script([{frames: 'KKK', end: 'eos'}, {end: 'refused'}, {frames: '|…'}])
	const early = new Watcher()
	const stream = attach(played, early)
	// The second retry starts a worker that waits.
	await line('retrying', 2)
	const late = new Watcher()
	const openTimeoutMs = 300
	context.openTimeoutMs = openTimeoutMs
	t.is(attach(played, late), stream)
	context.openTimeoutMs = 30_000
	const leaving = new Watcher()
	attach(played, leaving)
	stream.detach(leaving)
	// Of two timers the shorter one ends first, however slow the machine is.
	await delay(openTimeoutMs / 2)
	t.deepEqual(late.failures, [])
	const error = await late.failed()
	t.is(error.code, 'camera_unreachable')
	t.is(error.detail, '127.0.0.1:1 refused the connection; is the port right?')
	t.is(stream.state, 'retrying')
	const last = new Watcher()
	attach(played, last)
	await played.go(2)
	await Promise.all([early.got(6), last.got(3)])
	t.is(early.names[3], '2.0')
	t.is(last.names[0], '2.0')
	for (const {failures} of [early, last, leaving]) t.deepEqual(failures, [])
	t.is(late.failures.length, 1)
	t.deepEqual(late.frames, [])
	t.is(streams.all.size, 1)
})

test.serial('a lost camera is not tried again for nobody', async t => {
	const {attach, streams, line, logged} = startStreams(t, {share: true, lingerMs: 60_000})
	// The last viewer leaves while the camera is tried again; and before it is lost.
	const first = new Watcher()
	const one = await script([{frames: 'KKK', end: 'eos'}, {end: 'refused'}])
	const retrying = attach(one, first)
	await line('retrying')
	t.is(retrying.state, 'retrying')
	retrying.detach(first)
	await retrying.ended
	t.is(logged('retrying').length, 1)
	const second = new Watcher()
	const other = await script([{frames: 'K|', end: 'eos'}])
	const lingering = attach(other, second)
	await second.got(1)
	lingering.detach(second)
	t.is(lingering.state, 'playing')
	await other.go(0)
	await lingering.ended
	t.is(logged('retrying').length, 1)
	t.is(streams.all.size, 0)
})

test.serial(
	'a shared stream lives on without viewers for its time, and who comes meanwhile has a picture at once and ends that time',
	async t => {
		const lingerMs = 300
		const {attach} = startStreams(t, {share: true, lingerMs})
		// The camera is silent behind its third picture.
		const played = await script([{frames: 'KKK|'}])
		const first = new Watcher()
		const stream = attach(played, first)
		await first.got(3)
		stream.detach(first)
		t.is(stream.state, 'playing')
		const second = new Watcher()
		t.is(attach(played, second), stream)
		t.deepEqual(second.names, ['0.2'])
		// Of two timers the one that was due first ends first, however slow the machine is.
		await delay(2 * lingerMs)
		t.is(stream.state, 'playing')
		stream.detach(second)
		await delay(lingerMs / 2)
		t.is(stream.state, 'playing')
		await stream.ended
		t.is(stream.state, 'closed')
	}
)

test('coded video begins with a key frame, and again so after each restart', async t => {
	const {attach, logged} = startStreams(t, {share: true})
	const watcher = new Watcher()
	const played = await script(
		[{frames: 'ppKpp', end: 'eos'}, {frames: 'pppKpK', end: 'crash'}, {frames: 'pK…'}],
		{images: false}
	)
	attach(played, watcher)
	await watcher.got(8)
	t.deepEqual(watcher.names.slice(0, 8), ['0.2', '0.3', '0.4', '1.3', '1.4', '1.5', '2.1', '2.2'])
	t.deepEqual(
		watcher.frames.slice(0, 8).map(({sequence}) => sequence),
		[0, 1, 2, 3, 4, 5, 6, 7]
	)
	t.is(logged('retrying').length, 2)
})

test.serial(
	'of coded video the frames since the last key frame are kept for late viewers, and never only some of them',
	async t => {
		const {attach} = startStreams(t, {share: true})
		const group = `K${'p'.repeat(39)}`
		const played = await script([{frames: `${group}${group}pppp`}], {images: false})
		const early = new Watcher()
		attach(played, early)
		await early.got(84)
		const late = new Watcher()
		attach(played, late)
		t.deepEqual(late.names, early.names.slice(40))
		t.deepEqual(
			late.frames.map(({sequence}) => sequence),
			early.frames.slice(40).map(({sequence}) => sequence)
		)
		// Six megabytes are kept at most.
		const large = await script([{frames: `Kppp|${'p'.repeat(16)}|Kpp`, bytes: 1024 * 1024}], {
			images: false
		})
		const whole = new Watcher()
		attach(large, whole)
		await whole.got(4)
		const some = new Watcher()
		attach(large, some)
		t.deepEqual(some.names, ['0.0', '0.1', '0.2', '0.3'])
		await large.go(0)
		await whole.got(20)
		const none = new Watcher()
		attach(large, none)
		t.is(none.names.length, 0)
		await large.go(0)
		await whole.got(23)
		const next = new Watcher()
		attach(large, next)
		t.deepEqual(next.names, ['0.20', '0.21', '0.22'])
	}
)

test.serial('what set() has changed holds for the pipeline that follows', async t => {
	const {attach} = startStreams(t)
	const played = await script([{frames: 'K|', end: 'eos'}, {frames: 'K…'}])
	const watcher = new Watcher()
	const stream = attach(played, watcher)
	await watcher.got(1)
	stream.set('encoder', 'quality', 60)
	stream.set('encoder', 'quality', 40)
	stream.set('rate', 'max-rate', 10)
	const sets = () =>
		played
			.notes()
			.filter(({event}) => event === 'set')
			.map(({attempt, property, value}) => [attempt, property, value])
	await until(() => sets().length >= 3, 60_000, 'the properties are set')
	await played.go(0)
	await until(() => sets().length >= 5, 60_000, 'the properties are set again')
	t.deepEqual(sets(), [
		[0, 'encoder.quality', 60],
		[0, 'encoder.quality', 40],
		[0, 'rate.max-rate', 10],
		[1, 'encoder.quality', 40],
		[1, 'rate.max-rate', 10]
	])
})

test('close() that races with a failure is silent and complete', async t => {
	const {streams, attach, pool, line} = startStreams(t, {share: true, lingerMs: 1000})
	const attempts: Attempt[] = [
		{frames: 'K', end: 'crash'},
		{frames: 'K', end: 'eos'}
	]
	let retries = 0
	let opened = 0
	for (const attempt of attempts) {
		// From the frame to the failure, into the pause, and into the next attempt.
		for (const moment of ['frame', 'in the frame', 'retrying', 'opening', 'next frame'] as const) {
			const played = await script([attempt, {frames: 'K', end: 'eos'}])
			const watcher = new Watcher()
			const stream = attach(played, watcher)
			let closed: Promise<void> | undefined
			watcher.onFrame = frame => {
				watcher.frames.push(frame)
				if (moment === 'in the frame') closed = stream.close()
			}
			opened++
			await watcher.got(moment === 'next frame' ? 2 : 1)
			if (moment === 'retrying' || moment === 'opening') await line('retrying', retries + 1)
			if (moment === 'opening') await line('opening', opened + 1)
			if (moment === 'retrying' || moment === 'opening' || moment === 'next frame') retries++
			if (moment === 'opening' || moment === 'next frame') opened++
			t.deepEqual(watcher.failures, [])
			await Promise.all([closed, stream.close(), stream.close(), stream.ended])
			t.is(stream.state, 'closed')
			t.deepEqual(watcher.failures, [])
			t.is(pool.running, 0)
			t.is(streams.all.size, 0)
		}
	}
})

test.serial(
	'where all pipelines run, one that nobody watches, or that ends already, makes room',
	async t => {
		const {streams, attach, pool} = startStreams(t, {
			share: true,
			lingerMs: 60_000,
			maxPipelines: 1
		})
		const watchers = [new Watcher(), new Watcher(), new Watcher()] as const
		const scripts = await Promise.all(
			watchers.map(async () => script([{frames: 'K…', deaf: true}]))
		)
		const [one, two, three] = scripts as [Script, Script, Script]
		const first = attach(one, watchers[0])
		await watchers[0].got(1)
		t.throws(() => attach(two, watchers[1]), {message: /over_capacity/})
		first.detach(watchers[0])
		t.is(first.state, 'playing')
		const second = attach(two, watchers[1])
		t.is(first.state, 'closed')
		// The place is promised: nobody else is put off with it.
		t.throws(() => attach(three, watchers[2]), {message: /over_capacity/})
		await watchers[1].got(3)
		void second.close()
		const third = attach(three, watchers[2])
		// Who leaves before the place is free starts nothing.
		third.detach(watchers[2])
		await third.close()
		await until(() => streams.all.size === 0, 60_000, 'every stream has ended')
		t.is(pool.running, 0)
		t.deepEqual(three.notes(), [])
	}
)

test.serial('a server that shuts down starts no stream any more', async t => {
	const {streams, attach} = startStreams(t)
	await streams.close()
	const played = await script([{frames: 'K…'}])
	t.throws(() => attach(played, new Watcher()), {message: /shutting_down/})
})

test('coded video without a key frame fails by the time-out, for the first viewer and for a late one whose group is not kept', async t => {
	const {attach, pool, context} = startStreams(t, {openTimeoutMs: 3000, retryForMs: 0, share: true})
	// The time-out counts from the viewer's coming: a worker that is ready gives its frames within it.
	await pool.start()
	const first = new Watcher()
	attach(await script([{frames: 'dddddddddd'}]), first)
	const {code, detail} = await first.failed()
	t.is(code, 'camera_timeout')
	t.regex(detail, /^no key frame, and \d+ others, within 3 s$/)
	context.openTimeoutMs = 30_000
	const long = await script([{frames: `K${'d'.repeat(10)}|dd`, bytes: 1_000_000}])
	const early = new Watcher()
	attach(long, early)
	await early.got(11)
	const late = new Watcher()
	context.openTimeoutMs = 500
	attach(long, late)
	await long.go(0)
	t.is((await late.failed()).code, 'camera_timeout')
	t.deepEqual(early.failures, [])
})
