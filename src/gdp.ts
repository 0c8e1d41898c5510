/**
 * Reads what GStreamer's `gdppay` writes: buffers with their timestamps, which gstreamer-superficial does not give, and caps.
 * Takes hostile bytes: it throws nothing.
 */

/** [gst-plugins-bad, gst/gdp/dataprotocol.c], version 1.0; all numbers are big-endian. */
const headerBytes = 62
const typeAt = 4
const lengthAt = 6
const timeAt = 10
const durationAt = 18
const bufferType = 1
const capsType = 2
const noTime = 2n ** 64n - 1n

export type GdpPacket =
	/** Times in nanoseconds; undefined where GStreamer knows none. */
	| {type: 'buffer'; ptsNs: number | undefined; durationNs: number | undefined; data: Uint8Array}
	/** Caps as GStreamer writes them, `video/x-h264, width=(int)640, …`. */
	| {type: 'caps'; text: string}

/**
 * @param packet one whole packet, as gdppay puts each into a buffer of its own
 * @returns undefined for events, and for what is no packet
 */
export function readGdp(packet: Uint8Array): GdpPacket | undefined {
	if (packet.byteLength < headerBytes || packet[0] !== 1) return undefined
	const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength)
	const data = packet.subarray(headerBytes)
	if (view.getUint32(lengthAt) !== data.byteLength) return undefined
	const type = view.getUint16(typeAt)
	if (type === bufferType) return {type: 'buffer', ptsNs: time(view.getBigUint64(timeAt)), durationNs: time(view.getBigUint64(durationAt)), data}
	// C's own end of a text is part of it.
	if (type === capsType) return {type: 'caps', text: new TextDecoder().decode(data).replace(/\0.*$/s, '')}
	return undefined
}

/** A pipeline's times stay exact for a hundred days, and within microseconds for longer than anybody waits. */
function time(value: bigint): number | undefined {
	return value === noTime ? undefined : Number(value)
}
