/** Images on their way from a viewer to clock.py: records of a 32-bit little-endian length and a JPEG. */
import {createWriteStream} from 'node:fs'
import {finished} from 'node:stream/promises'

/**
 * @param {string} file
 * @param {Buffer[]} images
 */
export async function writeImages(file, images) {
	const out = createWriteStream(file)
	for (const image of images) {
		const length = Buffer.alloc(4)
		length.writeUInt32LE(image.length)
		out.write(length)
		out.write(image)
	}
	out.end()
	await finished(out)
}
