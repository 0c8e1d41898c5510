/** A box of MP4: its type, and what is in it. */
export interface Box {
	type: string
	content: Buffer
}

/** The boxes of some bytes, which must be filled by them to the last one. */
export function boxes(bytes: Buffer): Box[] {
	const found: Box[] = []
	for (let at = 0; at < bytes.length;) {
		const end = at + bytes.readUInt32BE(at)
		if (end < at + 8 || end > bytes.length)
			throw new Error(`a box at ${at} of ${bytes.length} ends at ${end}`)
		found.push({
			type: bytes.toString('latin1', at + 4, at + 8),
			content: bytes.subarray(at + 8, end)
		})
		at = end
	}
	return found
}

/** The content of the box behind a path of types, moov trak mdia. */
export function inside(bytes: Buffer, ...path: string[]): Buffer {
	const [type, ...rest] = path
	if (type === undefined) return bytes
	const found = boxes(bytes).find(box => box.type === type)
	if (!found)
		throw new Error(
			`no ${type} among ${boxes(bytes)
				.map(box => box.type)
				.join(' ')}`
		)
	return inside(found.content, ...rest)
}

/** A fragment's times, in seconds, and whether it begins with a sync sample; it has one sample. */
export function readFragment(bytes: Buffer): {
	decode: number
	duration: number
	shown: number
	keyFrame: boolean
	data: Buffer
} {
	const traf = inside(bytes, 'moof', 'traf')
	const decode = Number(inside(traf, 'tfdt').readBigUInt64BE(4)) / 90_000
	const trun = inside(traf, 'trun')
	if (trun.readUInt32BE(0) !== 0x1000f01 || trun.readUInt32BE(4) !== 1)
		throw new Error('the trun is another one')
	const data = bytes.subarray(trun.readUInt32BE(8))
	if (data.length !== trun.readUInt32BE(16)) throw new Error('the sample does not fill the mdat')
	return {
		decode,
		duration: trun.readUInt32BE(12) / 90_000,
		shown: decode + trun.readInt32BE(24) / 90_000,
		keyFrame: (trun.readUInt32BE(20) & 0x10000) === 0,
		data
	}
}
