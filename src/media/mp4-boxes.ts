/** Writes fragmented MP4 with one track of H.264: [ISO/IEC 14496-12] for the boxes, [ISO/IEC 14496-15] for H.264 in them. */
import {Buffer} from 'node:buffer'

/** Ticks a second of every time in here. */
export const timescale = 90_000

const trackId = 1
/** A key frame depends on no other; any other sample does, and is no sync sample. */
const keyFrameFlags = 0x0200_0000
const otherFlags = 0x0101_0000
const identityMatrix = u32(0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000)

export interface TrackFormat {
	width: number
	height: number
	/** Of a pixel: its width to its height. */
	pixelAspect: readonly [number, number]
	/** `AVCDecoderConfigurationRecord`: what is in the box avcC. */
	avcC: Uint8Array
}

export interface Sample {
	/** When it is decoded. */
	decodeTime: number
	duration: number
	/** When it is shown, behind `decodeTime`; negative where it is before. */
	compositionOffset: number
	keyFrame: boolean
	/** NAL units with lengths before them, as `avcC` says. */
	data: Uint8Array
}

/** ftyp and moov: what a player needs before any fragment. */
export function initSegment(format: TrackFormat): Uint8Array {
	const {width, height} = format
	// What has no times of its own has no samples either: they are in the fragments.
	const sampleTable = box(
		'stbl',
		sampleDescription(format),
		...['stts', 'stsc', 'stco'].map(type => fullBox(type, 0, 0, u32(0))),
		fullBox('stsz', 0, 0, u32(0, 0))
	)
	const dataInformation = box('dinf', fullBox('dref', 0, 0, u32(1), fullBox('url ', 0, 1)))
	return Buffer.concat([
		box('ftyp', latin1('iso6'), u32(0), latin1('iso6mp41avc1')),
		box(
			'moov',
			fullBox(
				'mvhd',
				0,
				0,
				u32(0, 0, timescale, 0, 0x10000),
				u16(0x100, 0),
				u32(0, 0),
				identityMatrix,
				Buffer.alloc(24),
				u32(trackId + 1)
			),
			box(
				'trak',
				// 7: enabled, in the presentation, in its preview.
				fullBox(
					'tkhd',
					0,
					7,
					u32(0, 0, trackId, 0, 0, 0, 0),
					u16(0, 0, 0, 0),
					identityMatrix,
					u32(width * 0x10000, height * 0x10000)
				),
				box(
					'mdia',
					// 0x55c4: the language is "und", undetermined.
					fullBox('mdhd', 0, 0, u32(0, 0, timescale, 0), u16(0x55c4, 0)),
					fullBox('hdlr', 0, 0, u32(0), latin1('vide'), Buffer.alloc(12), latin1('Sluice\0')),
					box('minf', fullBox('vmhd', 0, 1, u16(0, 0, 0, 0)), dataInformation, sampleTable)
				)
			),
			box('mvex', fullBox('trex', 0, 0, u32(trackId, 1, 0, 0, 0)))
		)
	])
}

function sampleDescription({width, height, pixelAspect, avcC}: TrackFormat): Buffer {
	const perInch = 72 * 0x10000
	return fullBox(
		'stsd',
		0,
		0,
		u32(1),
		box(
			'avc1',
			u16(0, 0, 0, 1),
			Buffer.alloc(16),
			u16(width, height),
			u32(perInch, perInch, 0),
			u16(1),
			Buffer.alloc(32),
			u16(24, 0xffff),
			box('avcC', avcC),
			box('pasp', u32(...pixelAspect))
		)
	)
}

/** moof and mdat, with one sample. @param sequence from 1 */
export function fragment(
	sequence: number,
	{decodeTime, duration, compositionOffset, keyFrame, data}: Sample
): Uint8Array {
	const moof = (dataOffset: number) =>
		box(
			'moof',
			fullBox('mfhd', 0, 0, u32(sequence)),
			box(
				'traf',
				// 0x20000: the offset of the data counts from the beginning of the moof.
				fullBox('tfhd', 0, 0x20000, u32(trackId)),
				fullBox('tfdt', 1, 0, u32(Math.floor(decodeTime / 2 ** 32), decodeTime)),
				// 0xF01: the data's offset; of each sample duration, size, flags and composition offset, which version 1 takes as signed.
				fullBox(
					'trun',
					1,
					0xf01,
					u32(
						1,
						dataOffset,
						duration,
						data.byteLength,
						keyFrame ? keyFrameFlags : otherFlags,
						compositionOffset
					)
				)
			)
		)
	const headBytes = 8
	const head = moof(moof(0).byteLength + headBytes)
	return Buffer.concat([head, u32(headBytes + data.byteLength), latin1('mdat'), data])
}

function box(type: string, ...content: Uint8Array[]): Buffer {
	const bytes = content.reduce((sum, {byteLength}) => sum + byteLength, 8)
	return Buffer.concat([u32(bytes), latin1(type), ...content], bytes)
}

function fullBox(type: string, version: number, flags: number, ...content: Uint8Array[]): Buffer {
	return box(type, u32(version * 2 ** 24 + flags), ...content)
}

function latin1(text: string): Buffer {
	return Buffer.from(text, 'latin1')
}

/** Each number's lowest 32 bits, negative ones in two's complement. */
function u32(...values: number[]): Buffer {
	const bytes = Buffer.allocUnsafe(values.length * 4)
	for (const [index, value] of values.entries()) bytes.writeInt32BE(value | 0, index * 4)
	return bytes
}

function u16(...values: number[]): Buffer {
	const bytes = Buffer.allocUnsafe(values.length * 2)
	for (const [index, value] of values.entries()) bytes.writeUInt16BE(value & 0xffff, index * 2)
	return bytes
}
