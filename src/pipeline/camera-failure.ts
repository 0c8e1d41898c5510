import {type ErrorCode, SluiceError} from '../base/errors.js'
import type {BusMessage} from './messages.js'

/** What rtspsrc posts in each of these cases was measured with GStreamer 1.22; test/pipeline/camera-failure.test.ts repeats it. */
const rtspStatusCodes: Record<number, ErrorCode> = {
	401: 'camera_unauthorized',
	403: 'camera_unauthorized',
	404: 'camera_not_found',
	408: 'camera_timeout',
	415: 'camera_unsupported',
	461: 'camera_unsupported'
}

/** Of what GStreamer words so that nobody can tell what to do. */
const plainWords: readonly [RegExp, string][] = [
	[
		/^Failed to connect\. \(Generic error\)/,
		'no connection can be made: is the machine there, and a route to it?'
	],
	[/\(Parse error\)/, 'what answers there speaks no RTSP; is the port right?']
]

/**
 * The failure behind the messages of a pipeline's bus.
 *
 * @param message the one that ended the pipeline
 * @param warnings the warnings before it; they often hold the reason
 * @param playing whether frames had come
 * @param redact takes secrets out of GStreamer's words. They are understood before that, and ours are left alone: a secret
 *   that is a common word would hide their meaning, and show by the gaps.
 */
export function cameraFailure(
	message: BusMessage,
	warnings: readonly BusMessage[],
	playing: boolean,
	redact: (text: string) => string
): SluiceError {
	if (message.kind === 'eos') return new SluiceError('camera_lost', 'the camera ended the stream')
	if (message.kind === 'rtsp-timeout')
		return new SluiceError('camera_lost', 'the camera went silent')
	const reason = reasonOf(message)
	const told = redact(reason).slice(0, maxReasonLength)
	const status = message.rtspStatus
	if (status !== undefined) {
		const hint = status === 461 ? '; try another transport, &transport=udp or tcp' : ''
		return new SluiceError(
			rtspStatusCodes[status] ?? 'camera_unreachable',
			`the camera answered ${told}${hint}`
		)
	}
	const unlinked = warnings.find(warning => warning.debug?.includes('failed delayed linking'))
	if (unlinked)
		return new SluiceError(
			'camera_unsupported',
			'the camera offers no stream that the template takes: no video, or another codec'
		)
	const missing = warnings.find(warning => warning.kind === 'missing-plugin')
	if (missing)
		return new SluiceError(
			'camera_unsupported',
			`GStreamer has no element here for ${redact(missing.message ?? 'what the camera sends')}`
		)
	if (message.element === 'src' && !reason.startsWith('streaming stopped')) {
		if (reason.startsWith('No valid RTSP URL'))
			return new SluiceError('bad_request', 'rtsp_url is none that GStreamer can read')
		if (/timeout/i.test(reason))
			return new SluiceError('camera_timeout', `the camera did not answer: ${told}`)
		if (/no streams|media type/i.test(reason)) return new SluiceError('camera_unsupported', told)
		if (!playing)
			return new SluiceError(
				'camera_unreachable',
				plainWords.find(([pattern]) => pattern.test(reason))?.[1] ?? told
			)
		return new SluiceError('camera_lost', told)
	}
	// rtspsrc stops because of what lies behind it; an element that fails by itself is not the camera's fault.
	return new SluiceError(
		!playing && message.element === 'src' ? 'camera_unsupported' : 'pipeline_failed',
		`${message.element}: ${told}`
	)
}

const maxReasonLength = 300

/** "Unauthorized (401)": what stands behind the line break of the debug text, whose first line is a place in GStreamer's source. */
function reasonOf({message, debug = ''}: BusMessage): string {
	const [, ...reason] = debug.trim().split('\n')
	return reason.at(-1) ?? message ?? 'unknown error'
}
