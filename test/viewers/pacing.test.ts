import {createHash} from 'node:crypto'
import test from 'ava'
import {isKeyFrame} from '../../dist/media/nal-units.js'
import {startLink} from '../support/link.js'
import {type Sluice, startCamera, startSluice} from '../support/processes.js'
import {type TestViewer, until, view} from '../support/viewer.js'

interface Seen {
	index: number
	keyFrame: boolean
	/** How many frames the neighbour had when this one came. */
	neighbours: number
}

/** Each frame by its digest: all viewers of a shared stream get the same bytes. */
function watch(viewer: TestViewer, neighbour?: ReadonlyMap<string, Seen>): Map<string, Seen> {
	const seen = new Map<string, Seen>()
	viewer.socket.on('message', (data: Buffer, isBinary) => {
		if (isBinary)
			seen.set(createHash('sha1').update(data).digest('hex'), {
				index: seen.size,
				keyFrame: isKeyFrame(data),
				neighbours: neighbour?.size ?? 0
			})
	})
	return seen
}

/**
 * How far behind its neighbour a viewer was with each frame: how many newer ones the neighbour had by then; NaN where the
 * neighbour has none such. In time it is no figure of a test's: bench/ measures it.
 */
function lags(seen: ReadonlyMap<string, Seen>, reference: ReadonlyMap<string, Seen>): number[] {
	return [...seen].map(
		([digest, {neighbours}]) => neighbours - 1 - (reference.get(digest)?.index ?? NaN)
	)
}

function median(values: number[]): number {
	return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN
}

async function dropped({http}: Sluice): Promise<number> {
	const text = await (await fetch(`${http}/metrics`)).text()
	return Number(/^sluice_frames_dropped_total\{output="websocket"\} (\d+)$/m.exec(text)?.[1] ?? 0)
}

const through = (sluice: Sluice, port: number, query: Record<string, string>) =>
	sluice.stream(query).replace(`:${sluice.port}/`, `:${port}/`)

test.serial(
	'a viewer on a link of a fifth of the rate sees now, in whole pictures, and its neighbour all of them',
	async t => {
		const camera = await startCamera(t)
		const sluice = await startSluice(t, ['--share'])
		const query = {rtsp_url: camera.url('/h264')}
		const neighbour = view(t, sluice.stream(query), {keep: 0})
		const reference = watch(neighbour)
		await neighbour.received(10)
		const slow = view(
			t,
			through(sluice, await startLink(t, sluice.port, {bytesPerSecond: 1e6}), query),
			{keep: 0}
		)
		const seen = watch(slow, reference)
		// Unpaced, after 80 pictures at six a second it would be ten seconds behind.
		await slow.received(80)
		await neighbour.received(reference.size + 5)
		const behind = lags(seen, reference).slice(5)
		t.true(
			behind.every(frames => Number.isFinite(frames)),
			'each picture is one that the neighbour has got, byte by byte'
		)
		t.true(median(behind) < 30, `${median(behind)} pictures behind`)
		t.true(Math.max(...behind) < 60, `${Math.max(...behind)} pictures behind at most`)
		slow.socket.close()
		const gone = await sluice.line(line => line['msg'] === 'viewer gone')
		// What the neighbour got meanwhile and this one did not; one or two are on their way.
		const missed = reference.size - 10 - seen.size
		t.true(
			missed > 0 && Number(gone['dropped']) > missed / 2,
			`${missed} missed, ${String(gone['dropped'])} dropped`
		)
	}
)

test.serial('a link with a round trip of 200 ms carries every picture', async t => {
	const camera = await startCamera(t, ['--width', '640', '--height', '360'])
	const sluice = await startSluice(t, ['--share'])
	const query = {rtsp_url: camera.url('/h264')}
	const neighbour = view(t, sluice.stream(query), {keep: 0})
	const reference = watch(neighbour)
	const viewer = view(
		t,
		through(sluice, await startLink(t, sluice.port, {roundTripMs: 200}), query),
		{keep: 0}
	)
	const seen = watch(viewer)
	await viewer.received(60)
	const [before, neighbours] = [seen.size, reference.size]
	await viewer.received(before + 150)
	// Of those that a neighbour got without the link. Two at a time would be a third; bench/scenarios/links.mjs has the rates.
	const share = 150 / (reference.size - neighbours)
	t.true(share > 0.7, `${share} of the pictures`)
})

test.serial('a viewer that stops reading for a while sees now when it reads again', async t => {
	const camera = await startCamera(t)
	const sluice = await startSluice(t, ['--share'])
	const query = {rtsp_url: camera.url('/h264')}
	const neighbour = view(t, sluice.stream(query), {keep: 0})
	const reference = watch(neighbour)
	const viewer = view(t, sluice.stream(query), {keep: 0})
	const seen = watch(viewer, reference)
	await viewer.received(30)
	viewer.socket.pause()
	// Of its pictures; the neighbour reads all the time. A viewer that is silent for much longer is given up.
	const droppedBefore = await dropped(sluice)
	await until(
		async () => (await dropped(sluice)) >= droppedBefore + 60,
		60_000,
		'pictures are dropped'
	)
	const before = seen.size
	viewer.socket.resume()
	await viewer.received(before + 30)
	// The neighbour may get a picture later, and on a busy machine it may miss one.
	await neighbour.received(reference.size + 5)
	const behind = lags(seen, reference)
		.slice(before)
		.filter(frames => Number.isFinite(frames))
	// Those that were on their way are as old as the pause, half a second of them: how many the link had on it depends on how busy
	// the machine was. Unpaced it would be all that the kernel's buffers hold. How soon it sees now is bench/scenarios/stopped-viewer.mjs'.
	t.true(behind.filter(frames => frames > 30).length <= 15, behind.join())
	t.true(
		behind.some(frames => frames < 15),
		behind.join()
	)
})

test.serial(
	'coded video on a link that is too slow is dropped up to a key frame, and has no hole otherwise',
	async t => {
		// A key frame a second, so that there are many to go on from.
		const camera = await startCamera(t, ['--kbit', '4000', '--key-interval', '1'])
		const sluice = await startSluice(t, ['--share'])
		const query = {rtsp_url: camera.url('/h264'), pipeline: 'h264'}
		const neighbour = view(t, sluice.stream(query), {keep: 0})
		const reference = watch(neighbour)
		await neighbour.received(10)
		const slow = view(
			t,
			through(sluice, await startLink(t, sluice.port, {bytesPerSecond: 200_000}), query),
			{keep: 0}
		)
		const seen = watch(slow)
		const indices = () => [...seen].map(([digest]) => reference.get(digest))
		/** Where a frame that the neighbour has is missing. */
		const isJump = (frame: Seen | undefined, position: number, all: (Seen | undefined)[]) =>
			position > 0 && frame?.index !== (all[position - 1]?.index ?? NaN) + 1
		await slow.received(100)
		// On a slow machine the camera itself sends less.
		await until(
			() => indices().every(frame => frame) && indices().some(isJump),
			60_000,
			'frames were dropped, and the neighbour has all others too'
		)
		const frames = indices()
		t.true(frames[0]?.keyFrame)
		for (const [position, frame] of frames.entries()) {
			if (isJump(frame, position, frames))
				t.true(
					frame?.keyFrame,
					`${String(frames[position - 1]?.index)} is followed by ${String(frame?.index)}, which is no key frame`
				)
		}
		const told = slow.texts.map(
			text => JSON.parse(text) as {caps: {name: string; codec: string; width: number}}
		)
		t.is(told.length, 1)
		t.like(told[0]?.caps, {name: 'video/x-h264', width: 1280})
		t.regex(told[0]?.caps.codec ?? '', /^avc1\.[\da-f]{6}$/)
	}
)
