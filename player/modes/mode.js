/**
 * What the modes have in common. Each is a class that is made anew for each try.
 *
 * @typedef {object} Wanted What somebody wants to see.
 * @property {string} server the address that `ws/stream` and `whep` are relative to
 * @property {string} camera a camera's name on the server; empty where a URL is given
 * @property {string} rtspUrl
 * @property {string} pipeline a template's name; empty for the mode's own
 * @property {Record<string, string>} parameters of the template
 * @property {string} token for servers that ask for one; may be empty
 *
 * @typedef {object} ModeOptions
 * @property {Wanted} wanted
 * @property {import('../screen.js').Screen} screen
 * @property {() => void} onFrame called when something arrived, shown or not: the camera is there
 * @property {() => void} onPicture called when a picture was shown
 * @property {(reason: import('../reasons.js').Reason) => void} onFailure called at most once, when the mode has ended by itself
 *
 * @typedef {object} Counts since the mode was started
 * @property {number} drawn
 * @property {number} dropped pictures that arrived, as far as the browser says, and were not shown
 * @property {number} bytes
 *
 * @typedef {object} Mode
 * @property {() => void} start
 * @property {() => void} stop closes everything; idempotent. The picture that is shown may stay on a canvas.
 * @property {Counts} counts
 * @property {{ms: number, of: 'draw' | 'decode' | 'network' | 'buffer'} | null} delay what can be measured of the delay, and what part of it that is
 * @property {{newest: number, best: number} | null} [quality] of JPEG images
 * @property {() => import('../reasons.js').Reason | null} overdue asked when no picture came in time: why not, or null where it is too early to tell
 */

/** A server that has answered only just now may still send a picture: for so long no mode is given up. */
export const pictureWithinMs = 2000

/**
 * The query that asks for a stream.
 * @param {Wanted} wanted
 * @param {string} pipeline a template's name; empty for the server's own choice
 * @returns {URLSearchParams}
 */
export function queryOf({camera, rtspUrl, token, parameters}, pipeline) {
	return new URLSearchParams({
		...(camera === '' ? rtspUrl !== '' && {rtsp_url: rtspUrl} : {camera}),
		...(pipeline !== '' && {pipeline}),
		...(token !== '' && {token}),
		...parameters
	})
}

/** The address of the WebSocket for what is wanted. @param {Wanted} wanted @param {string} pipeline */
export function socketAddress(wanted, pipeline) {
	const address = new URL('ws/stream', wanted.server)
	address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:'
	address.search = queryOf(wanted, pipeline).toString()
	return address.href
}
