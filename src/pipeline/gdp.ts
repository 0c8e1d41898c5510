/** Reads what GStreamer's `gdppay` writes: buffers with their timestamps and flags, and caps. Takes hostile bytes. */
import type {AccessUnit} from '../media/mp4-muxer.js'
import type {Buffer} from 'node:buffer'
import {PacketReader} from '../base/packet-reader.js'
import {RateLimit} from '../base/rate-limit.js'

/** [gst-plugins-bad, gst/gdp/dataprotocol.c], version 1.0; all numbers are big-endian. */
const headerBytes = 62
const typeAt = 4
const lengthAt = 6
const timeAt = 10
const durationAt = 18
const flagsAt = 42
const bufferType = 1
const capsType = 2
const noTime = 2n ** 64n - 1n
/** GST_BUFFER_FLAG_DELTA_UNIT. */
const deltaUnit = 1 << 13

/** No camera's picture is so large: beyond it whoever wrote it is broken. */
export const maxFrameBytes = 32 * 1024 * 1024
/** Of frames there are a thousand at most (pipeline.ts), and a few events and caps between them. */
const maxPacketsPerSecond = 3000
/** Caps are some hundred bytes, and may hold a codec's parameters, or what else a camera says of itself. */
const maxCapsBytes = 256 * 1024

export interface GdpBuffer extends AccessUnit {
	type: 'buffer'
	/** Whether it builds on the buffers before it, as far as GStreamer knows. */
	delta: boolean
}

export type GdpPacket =
	| GdpBuffer
	/** Caps as GStreamer writes them, `video/x-h264, width=(int)640, …`. */
	| {type: 'caps'; text: string}

/**
 * Reads a stream of packets; events are left out.
 * @returns its `read()` throws where these are no packets, one is too large, or they are too many
 */
export function gdpReader(onPacket: (packet: GdpPacket) => void): PacketReader {
	const limit = new RateLimit(maxPacketsPerSecond)
	return new PacketReader({
		headerBytes,
		bytesBehind(header) {
			if (!limit.take())
				throw new Error(`the worker sent more than ${maxPacketsPerSecond} packets in a second`)
			return bytesBehind(header)
		},
		onPacket: (header, data) => {
			const type = header.readUInt16BE(typeAt)
			// C's own end of a text is part of it.
			if (type === capsType) onPacket({type: 'caps', text: data.toString().replace(/\0.*$/s, '')})
			else if (type === bufferType) {
				onPacket({
					type: 'buffer',
					ptsNs: time(header.readBigUInt64BE(timeAt)),
					durationNs: time(header.readBigUInt64BE(durationAt)),
					delta: (header.readUInt16BE(flagsAt) & deltaUnit) !== 0,
					data
				})
			}
		}
	})
}

function bytesBehind(header: Buffer): number {
	if (header[0] !== 1) throw new Error('what the worker sends is no GDP')
	const bytes = header.readUInt32BE(lengthAt)
	if (header.readUInt16BE(typeAt) === capsType) {
		if (bytes > maxCapsBytes)
			throw new Error(`caps of ${bytes} bytes are more than the ${maxCapsBytes} that are taken`)
	} else if (bytes > maxFrameBytes)
		throw new Error(`a frame of ${bytes} bytes is more than the ${maxFrameBytes} that are taken`)
	return bytes
}

/** A pipeline's times stay exact for a hundred days, and within microseconds for longer than anybody waits. */
function time(value: bigint): number | undefined {
	return value === noTime ? undefined : Number(value)
}
