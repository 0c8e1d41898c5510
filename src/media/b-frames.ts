import {headUnits, type NalCodec, type NalUnit} from './nal-units.js'

/** Headers of slices and parameter sets end long before; what lies behind is not read. */
const maxHeaderBytes = 1024
/** Parameter sets have ids below 16 in H.265's SPS and below 64 in its PPS. */
const maxParameterSets = 64

/**
 * Finds out whether a camera sends B-frames: pictures that wait for a later one, and so delay those that follow.
 *
 * H.264 says it in each slice. An H.265 encoder may call every slice B, also where none waits, so there the pictures'
 * order tells: whether one comes that is to be shown before another that came earlier.
 */
export class BFrameFinder {
	/** Undefined until a slice could be read. */
	found: boolean | undefined
	/** Whether the stream itself says that no picture waits for a later one. Many cameras' H.264 does. */
	ruledOut = false
	#codec: NalCodec
	#order = new PictureOrder()

	constructor(codec: NalCodec) {
		this.#codec = codec
	}

	/**
	 * Access units in the order in which they came, without gaps. Throws nothing, whatever the bytes.
	 *
	 * @param accessUnit Annex B bytes, as `isKeyFrame` takes them
	 */
	add(accessUnit: Uint8Array): void {
		if (this.found) return
		for (const unit of headUnits(accessUnit, this.#codec)) {
			if (this.#codec === 'H264' && unit.type === 7) this.ruledOut = keepsOrder(accessUnit, unit)
			const waits =
				this.#codec === 'H264' ? isBSlice(accessUnit, unit) : this.#order.waits(accessUnit, unit)
			this.found = waits ?? this.found
			if (waits) return
		}
	}
}

/** [ITU-T H.264 7.3.3, table 7-6]; undefined for what is no slice with a header. */
function isBSlice(data: Uint8Array, {type, start, end}: NalUnit): boolean | undefined {
	if (type !== 1 && type !== 2 && type !== 5) return undefined
	const bits = new BitReader(data, start + 1, end)
	bits.exponential() // first_mb_in_slice
	const sliceType = bits.exponential()
	return bits.overrun || sliceType > 9 ? undefined : sliceType % 5 === 1
}

/** Profiles whose SPS says more before the picture order, [ITU-T H.264 7.3.2.1.1]. */
const highProfiles: readonly number[] = [
	100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135
]

/**
 * Whether an SPS allows no other order of showing pictures than that of coding them: by its profile, baseline, or by a picture
 * order count of type 2. One with scaling lists, which are rare, is not read so far.
 */
function keepsOrder(data: Uint8Array, {start, end}: NalUnit): boolean {
	const bits = new BitReader(data, start + 1, end)
	const profile = bits.read(8)
	bits.skip(16) // constraints, level_idc
	bits.exponential() // seq_parameter_set_id
	if (highProfiles.includes(profile)) {
		if (bits.exponential() === 3) bits.skip(1) // chroma_format_idc, separate_colour_plane_flag
		bits.exponential() // bit_depth_luma_minus8
		bits.exponential() // bit_depth_chroma_minus8
		bits.skip(1) // qpprime_y_zero_transform_bypass_flag
		if (bits.read(1) === 1) return false // seq_scaling_matrix_present_flag
	}
	bits.exponential() // log2_max_frame_num_minus4
	const orderType = bits.exponential()
	return !bits.overrun && (profile === 66 || orderType === 2)
}

/** Follows the picture order count of an H.265 stream's base layer. */
class PictureOrder {
	/** Of each SPS, what a slice header's reading depends on. */
	#sequences = new Map<number, {orderBits: number; separatePlanes: boolean}>()
	#pictures = new Map<number, {sequence: number; outputFlag: boolean; extraBits: number}>()
	#previous: number | undefined

	/** Whether this is the first slice of a picture that waited; undefined for what is none, or cannot be read. */
	waits(data: Uint8Array, {type, start, end}: NalUnit): boolean | undefined {
		const layer = (((data[start] ?? 0) & 1) << 5) | ((data[start + 1] ?? 0) >> 3)
		if (layer !== 0) return undefined
		const bits = new BitReader(data, start + 2, end)
		if (type === 33) this.#readSequence(bits)
		else if (type === 34) this.#readPicture(bits)
		else if (type <= 9 || (type >= 16 && type <= 21)) return this.#readSlice(bits, type)
		return undefined
	}

	/** [ITU-T H.265 7.3.2.2] */
	#readSequence(bits: BitReader): void {
		bits.skip(4) // sps_video_parameter_set_id
		const subLayers = bits.read(3)
		bits.skip(1) // sps_temporal_id_nesting_flag
		skipProfile(bits, subLayers)
		const id = bits.exponential()
		const separatePlanes = bits.exponential() === 3 && bits.read(1) === 1
		bits.exponential() // pic_width_in_luma_samples
		bits.exponential() // pic_height_in_luma_samples
		if (bits.read(1) === 1) for (let edge = 0; edge < 4; edge++) bits.exponential() // conformance window
		bits.exponential() // bit_depth_luma_minus8
		bits.exponential() // bit_depth_chroma_minus8
		const orderBits = bits.exponential() + 4
		if (!bits.overrun && id < maxParameterSets && orderBits <= 16)
			this.#sequences.set(id, {orderBits, separatePlanes})
	}

	/** [ITU-T H.265 7.3.2.3] */
	#readPicture(bits: BitReader): void {
		const id = bits.exponential()
		const sequence = bits.exponential()
		bits.skip(1) // dependent_slice_segments_enabled_flag
		const outputFlag = bits.read(1) === 1
		const extraBits = bits.read(3)
		if (!bits.overrun && id < maxParameterSets)
			this.#pictures.set(id, {sequence, outputFlag, extraBits})
	}

	/** [ITU-T H.265 7.3.6.1] */
	#readSlice(bits: BitReader, type: number): boolean | undefined {
		const first = bits.read(1) === 1
		if (!first) return undefined
		if (type >= 16) bits.skip(1) // no_output_of_prior_pics_flag
		const picture = this.#pictures.get(bits.exponential())
		const sequence = picture && this.#sequences.get(picture.sequence)
		if (!picture || !sequence) return undefined
		bits.skip(picture.extraBits)
		bits.exponential() // slice_type
		if (picture.outputFlag) bits.skip(1) // pic_output_flag
		if (sequence.separatePlanes) bits.skip(2) // colour_plane_id
		const idr = type === 19 || type === 20
		const order = idr ? 0 : bits.read(sequence.orderBits)
		if (bits.overrun) return undefined
		const previous = this.#previous
		this.#previous = order
		// An IRAP picture may count from anew.
		if (type >= 16 || previous === undefined) return false
		// The count is cut to its low bits: a step of half its range or more is one back.
		const range = 2 ** sequence.orderBits
		return (order - previous + range) % range >= range / 2
	}
}

/** profile_tier_level(1, subLayers), [ITU-T H.265 7.3.3] */
function skipProfile(bits: BitReader, subLayers: number): void {
	bits.skip(96)
	if (subLayers === 0) return
	const present = Array.from({length: 8}, () => ({
		profile: bits.read(1) === 1,
		level: bits.read(1) === 1
	}))
	for (const {profile, level} of present.slice(0, subLayers))
		bits.skip((profile ? 88 : 0) + (level ? 8 : 0))
}

/** Reads a NAL unit's payload bit by bit, and passes over its emulation prevention bytes, [ITU-T H.264 7.4.1]. Behind the end there are zeros. */
class BitReader {
	/** Whether more was read than there is. */
	overrun = false
	#data: Uint8Array
	#at: number
	#end: number
	#zeros = 0
	#byte = 0
	#left = 0

	constructor(data: Uint8Array, start: number, end: number) {
		this.#data = data
		this.#at = start
		this.#end = Math.min(end, start + maxHeaderBytes)
	}

	/** @param count at most 32 */
	read(count: number): number {
		let value = 0
		for (let index = 0; index < count; index++) value = value * 2 + this.#bit()
		return value
	}

	skip(count: number): void {
		for (let index = 0; index < count; index++) this.#bit()
	}

	/** ue(v), [ITU-T H.264 9.1]. More than 31 leading zeros stand in no header; they count as an overrun. */
	exponential(): number {
		let zeros = 0
		while (zeros < 32 && !this.overrun && this.#bit() === 0) zeros++
		if (zeros === 32) this.overrun = true
		return this.overrun ? 0 : 2 ** zeros - 1 + this.read(zeros)
	}

	#bit(): number {
		if (this.#left === 0) this.#nextByte()
		this.#left--
		return (this.#byte >> this.#left) & 1
	}

	#nextByte(): void {
		this.#left = 8
		if (this.#zeros >= 2 && this.#data[this.#at] === 3) {
			this.#at++
			this.#zeros = 0
		}
		if (this.#at >= this.#end) {
			this.overrun = true
			this.#byte = 0
			return
		}
		this.#byte = this.#data[this.#at++] ?? 0
		this.#zeros = this.#byte === 0 ? this.#zeros + 1 : 0
	}
}
