import {monotonicMs} from '../base/clock.js'
import type {Frame} from '../streams/frame.js'

/** How far the wall clock is ahead of the monotonic one, as far as is known. */
let leadMs = -Infinity

/**
 * Of a time of the monotonic clock. The wall clock is told in whole milliseconds: each look at it alone would move pictures
 * against each other by up to one. So the largest lead that was seen holds, unless the wall clock was set back.
 */
function wallClockMs(timeMs: number): number {
	const seenMs = Date.now() - monotonicMs()
	if (seenMs > leadMs || seenMs < leadMs - 2) leadMs = seenMs
	return timeMs + leadMs
}

/** The media type of an image, from its caps. */
export function imageType({caps}: Frame): string {
	const {name} = caps
	return typeof name === 'string' && name.startsWith('image/') ? name : 'image/jpeg'
}

/** What HTTP outputs say of a frame: when it was taken from the pipeline, in seconds since 1970, and its number in its stream. */
export function frameHeaders({timeMs, sequence}: Frame): Record<string, string> {
	return {'X-Timestamp': (wallClockMs(timeMs) / 1000).toFixed(6), 'X-Sequence': String(sequence)}
}
