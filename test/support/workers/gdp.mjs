// Writes frames to a worker's pipe as GStreamer's gdppay does.
import {createWriteStream} from 'node:fs'

const pipe = createWriteStream('', {fd: 3, autoClose: false})
pipe.on('error', () => undefined)

function packet(type, data, delta = false) {
	const header = Buffer.alloc(62)
	header[0] = 1
	header.writeUInt16BE(type, 4)
	header.writeUInt32BE(data.length, 6)
	header.fill(0xff, 10, 42)
	header.writeUInt16BE(delta ? 1 << 13 : 0, 42)
	return Buffer.concat([header, data])
}

export function writeCaps(text) {
	pipe.write(packet(2, Buffer.from(`${text}\0`)))
}

export function writeFrame(data, {keyFrame = true} = {}, done = () => undefined) {
	pipe.write(packet(1, Buffer.from(data), !keyFrame), done)
}
