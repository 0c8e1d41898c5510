import {setTimeout as delay} from 'node:timers/promises'
import type {Context} from 'koa'
import {SluiceError} from '../base/errors.js'

/** For how long, in all a second, and how often an answer is looked at. */
const lookEveryMs = 50
const looks = 20

/**
 * Waits until an answer has its connection. Node gives it one when the answer before it on the same
 * connection has left, and a quick client asks again before Node hears of that.
 * @throws SluiceError `bad_request` behind an answer without an end, which would hear nothing of the connection's end
 */
export async function waitForConnection({req, res}: Context): Promise<void> {
	for (let look = 0; look < looks && !res.socket && !req.socket.destroyed; look++)
		await delay(look === 0 ? 0 : lookEveryMs)
	requireConnection(res)
}

/** @throws SluiceError `bad_request` */
export function requireConnection(res: Context['res']): void {
	if (res.socket) return
	throw new SluiceError(
		'bad_request',
		'the request came behind another one that is not answered yet'
	)
}
