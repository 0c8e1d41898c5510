import {spawn} from 'node:child_process'
import {once} from 'node:events'
import {jpegSize} from './jpeg.js'

/** The brightness of every pixel of a JPEG, row by row, decoded by GStreamer. */
export async function luma(jpeg: Buffer): Promise<Buffer> {
	const child = spawn(
		'gst-launch-1.0',
		[
			'-q',
			'fdsrc',
			'!',
			'jpegdec',
			'!',
			'videoconvert',
			'!',
			'video/x-raw,format=GRAY8',
			'!',
			'fdsink'
		],
		{stdio: ['pipe', 'pipe', 'inherit']}
	)
	child.stdin.end(jpeg)
	const chunks = (await child.stdout.toArray()) as Buffer[]
	if (child.exitCode === null) await once(child, 'exit')
	return Buffer.concat(chunks)
}

/** The clock that scripts/camera.py wrote into a picture, in milliseconds of the monotonic clock, modulo 2^32; undefined where it is damaged. */
export async function clockOf(jpeg: Buffer): Promise<number | undefined> {
	const {width = 0} = jpegSize(jpeg) ?? {}
	const pixels = await luma(jpeg)
	// Mirrors block_size() there.
	const size = Math.floor(Math.floor(width / 44) / 2) * 2
	const bits = Array.from({length: 42}, (_, index) =>
		Number((pixels[(size / 2) * width + index * size + size / 2] ?? 0) > 127)
	).join('')
	if (!bits.startsWith('10')) return undefined
	const value = Number.parseInt(bits.slice(2, 34), 2)
	const check = (value >>> 24) ^ ((value >>> 16) & 255) ^ ((value >>> 8) & 255) ^ (value & 255)
	return check === Number.parseInt(bits.slice(34), 2) ? value : undefined
}
