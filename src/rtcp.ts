/** Payload-specific feedback, [RFC 4585 6.3]. */
const payloadSpecific = 206
const pictureLoss = 1
/** Full intra request, [RFC 5104 4.3.1]. */
const fullIntraRequest = 4

/**
 * Whether a viewer asks for a picture that it can decode without those before it: PLI or FIR.
 *
 * @param compound one or more RTCP packets, [RFC 3550 6.1]; hostile bytes throw nothing
 */
export function asksForKeyFrame(compound: Uint8Array): boolean {
	const view = new DataView(compound.buffer, compound.byteOffset, compound.byteLength)
	let at = 0
	while (at + 4 <= compound.byteLength) {
		const first = view.getUint8(at)
		if (first >> 6 !== 2) return false
		const format = first & 0x1F
		if (view.getUint8(at + 1) === payloadSpecific && (format === pictureLoss || format === fullIntraRequest)) return true
		at += 4 * (view.getUint16(at + 2) + 1)
	}
	return false
}
