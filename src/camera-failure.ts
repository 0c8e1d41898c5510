import {type ErrorCode, SluiceError} from './errors.js'
import type {BusMessage} from './worker-messages.js'

/** What rtspsrc posts in each of these cases was measured with GStreamer 1.22; test/camera-failure.test.ts repeats it. */
const rtspStatusCodes: Record<number, ErrorCode> = {
	401: 'camera_unauthorized',
	403: 'camera_unauthorized',
	404: 'camera_not_found',
	408: 'camera_timeout',
	415: 'camera_unsupported',
	461: 'camera_unsupported'
}

/**
 * The failure behind the messages of a pipeline's bus.
 *
 * @param message the one that ended the pipeline
 * @param warnings the warnings before it; they often hold the reason
 * @param playing whether frames had come
 */
export function cameraFailure(message: BusMessage, warnings: readonly BusMessage[], playing: boolean): SluiceError {
	if (message.kind === 'eos') return new SluiceError('camera_lost', 'the camera ended the stream')
	if (message.kind === 'rtsp-timeout') return new SluiceError('camera_lost', 'the camera went silent')
	const reason = reasonOf(message)
	const status = message.rtspStatus
	if (status !== undefined) {
		const hint = status === 461 ? '; try another transport, &transport=udp or tcp' : ''
		return new SluiceError(rtspStatusCodes[status] ?? 'camera_unreachable', `the camera answered ${reason}${hint}`)
	}
	const unlinked = warnings.find(warning => warning.debug?.includes('failed delayed linking'))
	if (unlinked) return new SluiceError('camera_unsupported', 'the camera offers no stream that the template takes: no video, or another codec')
	const missing = warnings.find(warning => warning.kind === 'missing-plugin')
	if (missing) return new SluiceError('camera_unsupported', `GStreamer has no element here for ${missing.message ?? 'what the camera sends'}`)
	if (message.element === 'src' && !reason.startsWith('streaming stopped')) {
		if (reason.startsWith('No valid RTSP URL')) return new SluiceError('bad_request', 'rtsp_url is none that GStreamer can read')
		if (/timeout/i.test(reason)) return new SluiceError('camera_timeout', `the camera did not answer: ${reason}`)
		if (/no streams|media type/i.test(reason)) return new SluiceError('camera_unsupported', reason)
		if (!playing) return new SluiceError('camera_unreachable', reason)
		return new SluiceError('camera_lost', reason)
	}
	// rtspsrc stops because of what lies behind it; an element that fails by itself is not the camera's fault.
	return new SluiceError(!playing && message.element === 'src' ? 'camera_unsupported' : 'pipeline_failed', `${message.element}: ${reason}`)
}

/** "Unauthorized (401)": what stands behind the line break of the debug text, whose first line is a place in GStreamer's source. */
const maxReasonLength = 300

function reasonOf({message, debug = ''}: BusMessage): string {
	const [, ...reason] = debug.trim().split('\n')
	return (reason.at(-1) ?? message ?? 'unknown error').slice(0, maxReasonLength)
}
