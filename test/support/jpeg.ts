/** Width and height that a JPEG's frame header states, in pixels; undefined where it is no complete JPEG. */
export function jpegSize(data: Buffer | undefined): {width: number; height: number} | undefined {
	if (
		!data ||
		data.length < 4 ||
		data.readUInt16BE(0) !== 0xff_d8 ||
		data.readUInt16BE(data.length - 2) !== 0xff_d9
	)
		return undefined
	for (let at = 2; at + 9 < data.length; at += 2 + data.readUInt16BE(at + 2)) {
		const marker = data.readUInt16BE(at)
		if (marker >= 0xff_c0 && marker <= 0xff_c2)
			return {height: data.readUInt16BE(at + 5), width: data.readUInt16BE(at + 7)}
	}
	return undefined
}
