// The viewer of scripts/test-docker.sh. It runs in the image under test, whose modules have ws.
//
//   node test-viewer.mjs SERVER QUERY FRAMES    counts whole JPEG images until it has FRAMES, and prints what it saw as JSON
//   node test-viewer.mjs SERVER QUERY until-closed    prints "watching" at the first image, and the close code at the end
import process from 'node:process'
import WebSocket from 'ws'

const [server, query, wanted] = process.argv.slice(2)
const began = performance.now()
const socket = new WebSocket(`${server}/ws/stream?${query}`)
const timer = setTimeout(() => {
	fail('no end after 30 s')
}, 30_000)
let frames = 0
let bytes = 0

function fail(reason) {
	console.error(`viewer: ${reason}, after ${frames} images`)
	process.exit(1)
}

/** Width and height from the JPEG's frame header: the segments before it are skipped by their lengths. */
function size(image) {
	for (let at = 2; at < image.length - 9; at += 2 + image.readUInt16BE(at + 2)) {
		if (image[at] !== 0xff) break
		if (image[at + 1] >= 0xc0 && image[at + 1] <= 0xc3)
			return `${image.readUInt16BE(at + 7)}x${image.readUInt16BE(at + 5)}`
	}
	return fail('an image without a frame header')
}

socket.on('message', (data, isBinary) => {
	if (!isBinary) fail(data.toString())
	const whole =
		data.length > 4 &&
		data.readUInt16BE(0) === 0xffd8 &&
		data.readUInt16BE(data.length - 2) === 0xffd9
	if (!whole) fail('a message that is no whole JPEG image')
	frames++
	bytes += data.length
	if (wanted === 'until-closed') {
		if (frames === 1) console.log('watching')
	} else if (frames === Number(wanted)) {
		console.log(
			JSON.stringify({
				frames,
				size: size(data),
				kilobytes: Math.round(bytes / frames / 1000),
				seconds: Math.round(performance.now() - began) / 1000
			})
		)
		clearTimeout(timer)
		socket.terminate()
	}
})
socket.on('error', error => {
	fail(error.message)
})
socket.on('close', code => {
	if (wanted === 'until-closed') console.log(code)
	else if (frames < Number(wanted)) fail(`closed with ${code}`)
	clearTimeout(timer)
})
