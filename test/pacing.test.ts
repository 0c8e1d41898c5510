import {createHash} from 'node:crypto'
import {setTimeout as delay} from 'node:timers/promises'
import test from 'ava'
import {isKeyFrame} from '../dist/h264.js'
import {startLink} from './link.js'
import {type Sluice, startCamera, startSluice} from './processes.js'
import {type TestViewer, until, view} from './viewer.js'

/** When each frame came, by its digest: all viewers of a shared stream get the same bytes. */
function watch(viewer: TestViewer): Map<string, {atMs: number; index: number; keyFrame: boolean}> {
	const seen = new Map<string, {atMs: number; index: number; keyFrame: boolean}>()
	viewer.socket.on('message', (data: Buffer, isBinary) => {
		if (isBinary) seen.set(createHash('sha1').update(data).digest('hex'), {atMs: performance.now(), index: seen.size, keyFrame: isKeyFrame(data)})
	})
	return seen
}

function median(values: number[]): number {
	return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN
}

const through = (sluice: Sluice, port: number, query: Record<string, string>) => sluice.stream(query).replace(`:${sluice.port}/`, `:${port}/`)

test.serial('a viewer on a link of a fifth of the rate sees now, in whole pictures, and its neighbour all of them', async t => {
	const camera = await startCamera(t)
	const sluice = await startSluice(t, ['--share'])
	const query = {rtsp_url: camera.url('/h264')}
	const neighbour = view(t, sluice.stream(query), {keep: 0})
	const reference = watch(neighbour)
	await neighbour.received(10)
	const slow = view(t, through(sluice, await startLink(t, sluice.port, {bytesPerSecond: 1e6}), query), {keep: 0})
	const seen = watch(slow)
	// Unpaced, after 80 pictures at six a second it would be ten seconds behind.
	await slow.received(80, 40_000)
	await neighbour.received(reference.size + 5)
	const ages = [...seen].slice(5).map(([digest, {atMs}]) => atMs - (reference.get(digest)?.atMs ?? NaN))
	t.true(ages.every(age => Number.isFinite(age)), 'each picture is one that the neighbour has got, byte by byte')
	t.true(median(ages) < 1000, `${median(ages)} ms old`)
	t.true(Math.max(...ages) < 2000, `${Math.max(...ages)} ms old at most`)
	slow.socket.close()
	const gone = await sluice.line(line => line['msg'] === 'viewer gone')
	t.true(Number(gone['dropped']) > 100, `${String(gone['dropped'])} dropped`)
})

test.serial('a link with a round trip of 200 ms carries every picture', async t => {
	const camera = await startCamera(t, ['--width', '640', '--height', '360'])
	const sluice = await startSluice(t)
	const viewer = view(t, through(sluice, await startLink(t, sluice.port, {roundTripMs: 200}), {rtsp_url: camera.url('/h264')}), {keep: 0})
	await viewer.received(60)
	const startedMs = performance.now()
	await viewer.received(210)
	const rate = 150 / (performance.now() - startedMs) * 1000
	t.true(rate > 22, `${rate} frames a second`)
})

test.serial('a viewer that stops reading for ten seconds sees now when it reads again', async t => {
	const camera = await startCamera(t)
	const sluice = await startSluice(t, ['--share'])
	const query = {rtsp_url: camera.url('/h264')}
	const neighbour = view(t, sluice.stream(query), {keep: 0})
	const reference = watch(neighbour)
	const viewer = view(t, sluice.stream(query), {keep: 0})
	const seen = watch(viewer)
	await viewer.received(30)
	viewer.socket.pause()
	const pausedMs = performance.now()
	await delay(10_000)
	const before = seen.size
	viewer.socket.resume()
	const resumedMs = performance.now()
	await viewer.received(before + 30)
	// The neighbour may get a picture later, and on a busy machine it may miss one.
	await neighbour.received(reference.size + 5)
	const ages = [...seen].slice(before).filter(([digest]) => reference.has(digest)).map(([digest, {atMs}]) => ({afterMs: atMs - resumedMs, ageMs: atMs - (reference.get(digest)?.atMs ?? NaN)}))
	// Those that were on their way are as old as the pause.
	const [fresh] = ages.filter(({ageMs}) => ageMs < 500)
	t.true((fresh?.afterMs ?? Infinity) < 1000, JSON.stringify({ages, paused: resumedMs - pausedMs}))
	// Half a second of them; how many the link had on it depends on how busy the machine was. Unpaced it would be all that the kernel's buffers hold.
	t.true(ages.filter(({ageMs}) => ageMs > 1000).length <= 15, JSON.stringify(ages))
})

test.serial('coded video on a link that is too slow is dropped up to a key frame, and has no hole otherwise', async t => {
	// A key frame a second, so that there are many to go on from.
	const camera = await startCamera(t, ['--kbit', '4000', '--key-interval', '1'])
	const sluice = await startSluice(t, ['--share'])
	const query = {rtsp_url: camera.url('/h264'), pipeline: 'h264'}
	const neighbour = view(t, sluice.stream(query), {keep: 0})
	const reference = watch(neighbour)
	await neighbour.received(10)
	const slow = view(t, through(sluice, await startLink(t, sluice.port, {bytesPerSecond: 250_000}), query), {keep: 0})
	const seen = watch(slow)
	await slow.received(100, 60_000)
	await until(() => [...seen.keys()].every(digest => reference.has(digest)), 5000, 'the neighbour has them too')
	const indices = [...seen].map(([digest]) => reference.get(digest))
	t.true(indices[0]?.keyFrame)
	let jumps = 0
	for (const [position, frame] of indices.entries()) {
		const before = indices[position - 1]
		if (!before || frame?.index === before.index + 1) continue
		jumps++
		t.true(frame?.keyFrame, `${before.index} is followed by ${String(frame?.index)}, which is no key frame`)
	}
	t.true(jumps > 0)
	const told = slow.texts.map(text => JSON.parse(text) as {caps: {name: string; codec: string; width: number}})
	t.is(told.length, 1)
	t.like(told[0]?.caps, {name: 'video/x-h264', width: 1280})
	t.regex(told[0]?.caps.codec ?? '', /^avc1\.[\da-f]{6}$/)
})
