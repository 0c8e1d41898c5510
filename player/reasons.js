/**
 * @typedef {object} Reason Why there is no picture.
 * @property {string} code one of the server's error codes, or of the player's own: `server_unreachable`, `connection_lost`,
 *   `silent`, `no_first_picture`, `media_blocked`, `mode_unsupported`, `decode_failed`, `not_images`, `not_video`, `bad_address`
 * @property {string} detail what the server or the browser says of it, for people; may be empty
 * @property {boolean} [final] whether another try has no point, where the code alone does not tell
 */

/** Reasons that another try does not mend: somebody has to change something first. */
const finalCodes = new Set([
	'bad_request',
	'unauthorized',
	'forbidden',
	'not_found',
	'method_not_allowed',
	'camera_unauthorized',
	'camera_not_found',
	'camera_unsupported',
	'template_invalid',
	'not_images',
	'not_video',
	'mode_unsupported',
	'webrtc_unavailable',
	'bad_address'
])

/**
 * Reasons that concern the camera or the server, whatever the mode. To try the other modes would find the same, and a
 * camera may lock after a few wrong passwords.
 */
const sameInEachMode = new Set([
	'camera_unreachable',
	'camera_unauthorized',
	'camera_not_found',
	'camera_timeout',
	'camera_lost',
	'unauthorized',
	'forbidden',
	'shutting_down',
	'server_unreachable',
	'connection_lost',
	'silent',
	'bad_address'
])

/**
 * What a close without an error message means, by its code: going away, restarting, or 4000 + an HTTP status.
 * @type {Record<number, string>}
 */
const codesByClose = {
	1001: 'shutting_down',
	1012: 'shutting_down',
	4400: 'bad_request',
	4401: 'unauthorized',
	4403: 'forbidden',
	4404: 'not_found',
	4500: 'pipeline_failed',
	4502: 'camera_lost',
	4503: 'over_capacity',
	4504: 'camera_timeout'
}

/** @param {Reason} reason */
export function isFinal({code, final = false}) {
	return final || finalCodes.has(code)
}

/** @param {Reason} reason whether another mode may well show a picture all the same */
export function isOfModeAlone({code}) {
	return !sameInEachMode.has(code)
}

/** @param {number} closeCode of a WebSocket @returns {string | undefined} */
export function codeOfClose(closeCode) {
	return codesByClose[closeCode]
}

/** @param {number} status of an HTTP answer that has no code @returns {string} */
export function codeOfStatus(status) {
	return codesByClose[4000 + status] ?? (status < 500 ? 'bad_request' : 'internal_error')
}

/** @param {unknown} body an error as the server writes it, over WebSocket and HTTP alike @returns {Reason | null} */
export function reasonIn(body) {
	const {error, title, code, detail} = Object(body)
	if (error === undefined && title === undefined && code === undefined) return null
	return {code: String(code ?? 'unknown'), detail: String(detail ?? '')}
}
