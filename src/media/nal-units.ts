/**
 * Reads H.264 and H.265 in Annex B byte streams, as far as Sluice needs to know what a camera sends. Every function takes
 * hostile bytes: it throws nothing, and reads every byte once at most.
 */
import {Buffer} from 'node:buffer'

/** Delimiter, parameter sets and messages stand before the first slice. */
const maxHeadUnits = 64
const maxHeadBytes = 64 * 1024
/** Of three bytes; one of four is this behind a zero. */
const startCode = Buffer.from([0, 0, 1])

/** Codecs made of NAL units, by their names in RTP. */
export type NalCodec = 'H264' | 'H265'

/** Where a NAL unit lies in its access unit, from its header to the byte before the next start code. */
export interface NalUnit {
	/** `nal_unit_type`: [ITU-T H.264 table 7-1], [ITU-T H.265 table 7-1]. */
	type: number
	start: number
	end: number
}

/**
 * Whether a decoder can begin with this access unit: its first slice is of an IDR picture, in H.265 of any IRAP picture.
 * An I picture that is no IDR picture does not count, as in libwebrtc. Cheap enough for every frame: it looks no further
 * than the header of the first slice, and allocates nothing.
 *
 * @param accessUnit one coded picture with start codes of three or four bytes, [ITU-T H.264 annex B]
 * @returns false for bytes that hold no slice
 */
export function isKeyFrame(accessUnit: Uint8Array, codec: NalCodec = 'H264'): boolean {
	for (
		let at = afterStartCode(accessUnit, 0);
		at < accessUnit.length;
		at = afterStartCode(accessUnit, at)
	) {
		const type = nalUnitType(accessUnit[at] ?? 0, codec)
		if (isSlice(type, codec)) return codec === 'H264' ? type === 5 : type >= 16
	}
	return false
}

/** The NAL units of an access unit, in their order; none where it holds no start code. Zeros that pad a unit count as its own. */
export function* nalUnits(accessUnit: Uint8Array, codec: NalCodec): Generator<NalUnit> {
	let start = afterStartCode(accessUnit, 0)
	while (start < accessUnit.length) {
		const next = afterStartCode(accessUnit, start)
		// The last unit ends with the bytes, also where these end with a start code.
		const end = startsAt(accessUnit, next) ? next - 3 : next
		yield {type: nalUnitType(accessUnit[start] ?? 0, codec), start, end}
		start = next
	}
}

/**
 * The same as far as a decoder reads before a picture's first slice, that included: who sends millions of units, or none, holds up
 * nobody. A unit that is longer is cut off.
 */
export function* headUnits(accessUnit: Uint8Array, codec: NalCodec): Generator<NalUnit> {
	let count = 0
	for (const unit of nalUnits(accessUnit.subarray(0, maxHeadBytes), codec)) {
		yield unit
		if (isSlice(unit.type, codec) || ++count === maxHeadUnits) return
	}
}

/**
 * Units behind lengths of four bytes, big-endian, in the place of start codes, as MP4 and RTP packetizers take them. Empty units
 * and zeros that pad a unit are left out.
 * @returns a copy
 */
export function withLengths(accessUnit: Buffer): Buffer {
	// At the worst units of one byte stand behind start codes of three: four bytes become five.
	const lengths = Buffer.allocUnsafeSlow(Math.ceil((accessUnit.length / 4) * 5))
	let filled = 0
	for (let next = accessUnit.indexOf(startCode); next >= 0;) {
		const start = next + startCode.length
		next = accessUnit.indexOf(startCode, start)
		let end = next < 0 ? accessUnit.length : next
		while (end > start && accessUnit[end - 1] === 0) end--
		if (end === start) continue
		filled = lengths.writeUInt32BE(end - start, filled)
		filled += accessUnit.copy(lengths, filled, start, end)
	}
	return lengths.subarray(0, filled)
}

function startsAt(data: Uint8Array, at: number): boolean {
	return data[at - 1] === 1 && data[at - 2] === 0 && data[at - 3] === 0
}

/** Slices of coded pictures; in H.265 those above 21 are reserved. */
function isSlice(type: number, codec: NalCodec): boolean {
	return codec === 'H264' ? type >= 1 && type <= 5 : type <= 21
}

function nalUnitType(firstByte: number, codec: NalCodec): number {
	return codec === 'H264' ? firstByte & 0x1f : (firstByte >> 1) & 0x3f
}

/** The index behind the next start code, 00 00 01, from `from` on; the length where there is none. */
function afterStartCode(data: Uint8Array, from: number): number {
	let at = from + 2
	while (at < data.length) {
		const byte = data[at] ?? 0
		// Whatever is greater than 1 can be no part of a start code that begins in the last three bytes.
		if (byte > 1) at += 3
		else if (byte === 1 && data[at - 1] === 0 && data[at - 2] === 0) return at + 1
		else at++
	}
	return data.length
}
