/** Transport layer feedback, [RFC 4585 6.2]. */
const transportLayer = 205
const genericNack = 1
const feedbackHeaderBytes = 12
/** Payload-specific feedback, [RFC 4585 6.3]. */
const payloadSpecific = 206
const pictureLoss = 1
/** Full intra request, [RFC 5104 4.3.1]. */
const fullIntraRequest = 4

interface Packet {
	type: number
	/** Of feedback, its kind; of reports, how many there are. */
	format: number
	start: number
	end: number
}

/** One or more RTCP packets, [RFC 3550 6.1]; hostile bytes throw nothing. */
function* packetsOf(view: DataView): Generator<Packet> {
	let start = 0
	while (start + 4 <= view.byteLength) {
		const first = view.getUint8(start)
		if (first >> 6 !== 2) return
		const end = start + 4 * (view.getUint16(start + 2) + 1)
		yield {
			type: view.getUint8(start + 1),
			format: first & 0x1f,
			start,
			end: Math.min(end, view.byteLength)
		}
		start = end
	}
}

/**
 * Whether a viewer asks for a picture that it can decode without those before it: PLI or FIR.
 *
 * @param compound one or more RTCP packets; hostile bytes throw nothing
 */
export function asksForKeyFrame(compound: Uint8Array): boolean {
	for (const {type, format} of packetsOf(viewOf(compound))) {
		if (type === payloadSpecific && (format === pictureLoss || format === fullIntraRequest))
			return true
	}
	return false
}

/**
 * How many packets a viewer asks for again: NACK, [RFC 4585 6.2.1]. Each of its entries names one, and up to 16 behind it by
 * a bit each.
 *
 * @param compound one or more RTCP packets; hostile bytes throw nothing
 */
export function packetsAskedFor(compound: Uint8Array): number {
	const view = viewOf(compound)
	let count = 0
	for (const {type, format, start, end} of packetsOf(view)) {
		if (type !== transportLayer || format !== genericNack) continue
		for (let at = start + feedbackHeaderBytes; at + 4 <= end; at += 4) {
			count++
			for (let following = view.getUint16(at + 2); following > 0; following &= following - 1)
				count++
		}
	}
	return count
}

function viewOf({buffer, byteOffset, byteLength}: Uint8Array): DataView {
	return new DataView(buffer, byteOffset, byteLength)
}
