import process from 'node:process'
import type {Frame} from '../pipeline.js'

/** What HTTP outputs say of a frame: when it was taken from the pipeline, in seconds since 1970, and its number in its stream. */
export function frameHeaders({timeMs, sequence}: Frame): Record<string, string> {
	const ageMs = Number(process.hrtime.bigint()) / 1e6 - timeMs
	return {'X-Timestamp': ((Date.now() - ageMs) / 1000).toFixed(3), 'X-Sequence': String(sequence)}
}
