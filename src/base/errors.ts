/**
 * Every error that a viewer can be told, in one table: its HTTP status and its text.
 * A WebSocket closes with 4000 + the status. README.md lists the same rows; a test compares them.
 */
export const errorTable = {
	bad_request: {status: 400, text: 'The request is not valid'},
	forbidden: {status: 403, text: 'This server does not allow that'},
	not_found: {status: 404, text: 'There is no such camera, template or page'},
	method_not_allowed: {status: 405, text: 'This address does not take that method'},
	not_acceptable: {status: 406, text: 'There is no video codec that both sides know'},
	precondition_failed: {status: 412, text: 'The entity tag is not that of the session'},
	too_large: {status: 413, text: 'The request is too large'},
	unsupported_media_type: {
		status: 415,
		text: 'The body has a type that this address does not take'
	},
	unprocessable: {status: 422, text: 'The server cannot do this with the session'},
	upgrade_required: {status: 426, text: 'This address speaks WebSocket only'},
	internal_error: {status: 500, text: 'The server failed; its log says why'},
	template_invalid: {status: 500, text: 'The pipeline template is not valid'},
	pipeline_failed: {status: 500, text: 'The pipeline failed'},
	webrtc_unavailable: {status: 501, text: 'This server has no WebRTC'},
	camera_unreachable: {status: 502, text: 'The camera cannot be reached'},
	camera_unauthorized: {status: 502, text: 'The camera refused the user name or password'},
	camera_not_found: {status: 502, text: 'The camera has no stream at this address'},
	camera_unsupported: {status: 502, text: 'The camera sends nothing that the template can take'},
	camera_lost: {status: 502, text: 'The camera stopped sending'},
	over_capacity: {status: 503, text: 'The server has as many viewers or pipelines as it may'},
	webrtc_failed: {status: 503, text: 'WebRTC failed, and is started again'},
	shutting_down: {status: 503, text: 'The server is shutting down'},
	camera_timeout: {status: 504, text: 'The camera did not answer in time'}
} as const satisfies Record<string, {status: number; text: string}>

export type ErrorCode = keyof typeof errorTable

/** A failure with its facts; it becomes an HTTP answer or a WebSocket close at the edge only. */
export class SluiceError extends Error {
	readonly code: ErrorCode
	/** For people: what exactly was wrong, without secrets. */
	readonly detail: string

	constructor(code: ErrorCode, detail: string, options?: ErrorOptions) {
		super(`${code}: ${detail}`, options)
		this.name = 'SluiceError'
		this.code = code
		this.detail = detail
	}

	get status(): number {
		return errorTable[this.code].status
	}

	/** The close code of a WebSocket that ends with this error. */
	get closeCode(): number {
		return 4000 + this.status
	}
}

/** What a viewer receives, over WebSocket as over HTTP. */
export interface ErrorBody {
	error: string
	code: ErrorCode
	detail: string
}

/** A request that was wrong in itself asked for no stream that could have been opened. */
const requestErrors: readonly ErrorCode[] = ['bad_request', 'not_found']

/**
 * @param unopenedUrl the RTSP URL, or the camera's name, as the viewer sent it, while its stream has not been opened: clients of the server that
 *   Sluice replaces recognise that failure by this exact text.
 */
export function errorBody(error: SluiceError, unopenedUrl?: string): ErrorBody {
	return {
		error:
			unopenedUrl === undefined || requestErrors.includes(error.code)
				? errorTable[error.code].text
				: `无法打开RTSP流: ${unopenedUrl}`,
		code: error.code,
		detail: error.detail
	}
}

/** Anything thrown, as a SluiceError. What was not foreseen is an `internal_error` that tells viewers nothing. */
export function asSluiceError(error: unknown): SluiceError {
	return error instanceof SluiceError
		? error
		: new SluiceError('internal_error', 'unexpected failure', {cause: error})
}

/** What anything thrown says of itself. */
export function wordsOf(error: unknown): string {
	return error instanceof Error ? error.message : String(error)
}
