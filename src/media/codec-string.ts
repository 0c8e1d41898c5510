import {headUnits} from './nal-units.js'

const spsType = 7

/**
 * The codec's name as browsers want it, `avc1.640029` [RFC 6381, ISO/IEC 14496-15]: profile, constraints and level, which
 * are the first three bytes of the sequence parameter set.
 *
 * @param accessUnit H.264 in Annex B
 * @returns undefined where it holds no sequence parameter set
 */
export function codecString(accessUnit: Uint8Array): string | undefined {
	for (const {type, start, end} of headUnits(accessUnit, 'H264')) {
		if (type === spsType && end - start >= 4) return codecStringOf(accessUnit.subarray(start))
	}
	return undefined
}

/** The same from a sequence parameter set, or from an avcC record: their first byte is another, the next three are equal. */
export function codecStringOf(parameters: Uint8Array): string {
	return `avc1.${Buffer.from(parameters.subarray(1, 4)).toString('hex')}`
}
