import type {Caps} from '../media/caps.js'
import type {PropertyValue} from './messages.js'

/** How much of a byte a picture's values use: video mostly 16 to 235, for colours to 240, as broadcasting has it; images all of it. */
export type Range = 'limited' | 'full'

/** GStreamer's names for it, and how it writes others: range, matrix, transfer and primaries. */
const limitedPattern = /^(?:bt601|bt709|smpte240m|bt2020|bt2020-10|bt2100-pq|bt2100-hlg|2:.*)$/
/** Of a videobalance, which keeps black at 16 and grey at 128. */
const stretched: ReadonlyMap<string, number> = new Map([
	['brightness', -16 / 255],
	['contrast', 255 / 219],
	['saturation', 255 / 224]
])
const untouched: ReadonlyMap<string, number> = new Map([
	['brightness', 0],
	['contrast', 1],
	['saturation', 1]
])

/** Of the picture that an image was made of, which its caps still tell; undefined where they do not, or it is no such image. */
export function rangeOf({name, colorimetry}: Caps): Range | undefined {
	if (name !== 'image/jpeg' || typeof colorimetry !== 'string') return undefined
	return limitedPattern.test(colorimetry) ? 'limited' : 'full'
}

/**
 * What the videobalance named "levels" of a template is set to, for its images to use the whole range, as every viewer of JPEG takes
 * them to: jpegenc converts nothing, white would be grey. To stretch the values costs next to nothing; videoconvert, which
 * also knows the standards' other difference, their shades of colour, takes as long as decoding for it.
 */
export function levelsFor(range: Range): PropertyValue[] {
	return [...(range === 'limited' ? stretched : untouched)].map(([property, value]) => ({
		element: 'levels',
		property,
		value
	}))
}
