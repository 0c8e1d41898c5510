/** The sum of the example table for luminance in annex K of the JPEG standard, which common encoders scale by their quality. */
const exampleSum = 3688

/**
 * What quality a JPEG was made with, read from its first quantization table: nobody has to say it, and it is what is seen.
 * Exact to about 1 for the usual encoders; of a camera with tables of its own, the quality of a usual encoder that is as coarse.
 * @param {ArrayBuffer} picture
 * @returns {number | null} 1 to 100; null where there is no such table at its beginning
 */
export function jpegQuality(picture) {
	const bytes = new DataView(picture, 0, Math.min(picture.byteLength, 65_536))
	// Behind the start of the image, segments: a marker, then the length of what follows, itself included.
	for (
		let at = 2;
		at + 4 <= bytes.byteLength && bytes.getUint8(at) === 0xff;
		at += 2 + bytes.getUint16(at + 2)
	) {
		if (bytes.getUint8(at + 1) !== 0xdb) continue
		const wide = bytes.getUint8(at + 4) >> 4 !== 0
		if (at + 5 + (wide ? 128 : 64) > bytes.byteLength) return null
		let sum = 0
		for (let index = 0; index < 64; index++)
			sum += wide ? bytes.getUint16(at + 5 + index * 2) : bytes.getUint8(at + 5 + index)
		const percent = (sum / exampleSum) * 100
		return Math.max(
			1,
			Math.min(100, Math.round(percent > 100 ? 5000 / percent : (200 - percent) / 2))
		)
	}
	return null
}
