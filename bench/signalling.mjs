/**
 * How a viewer and a server come to terms over WebRTC. Each function runs in Node and in a page, into which its text is
 * copied, so it uses nothing from outside of itself but `fetch`. `peer` is the viewer's own end of the connection.
 *
 * @typedef {object} Target what a contender tells of a camera over WebRTC
 * @property {'whep' | 'janus'} signalling
 * @property {string} url
 * @property {number} [mountpoint] of Janus' streaming plugin
 * @property {string} page any page of that origin
 *
 * @typedef {object} Peer
 * @property {() => Promise<string>} offer the viewer's SDP
 * @property {(answer: string) => Promise<void>} accept
 * @property {(offer: string) => Promise<string>} answer the viewer's SDP, where the server offers
 */

/**
 * WHEP: one request with the viewer's offer, and one answer.
 *
 * @param {Target} target
 * @param {Peer} peer
 */
export async function whep({url}, {offer, accept}) {
	const response = await fetch(url, {
		method: 'POST',
		headers: {'Content-Type': 'application/sdp'},
		body: await offer()
	})
	const text = await response.text()
	if (response.status !== 201) throw new Error(`${url} answered ${response.status} ${text}`)
	await accept(text)
}

/**
 * Janus' REST interface: a session, a handle of the streaming plugin, and the server's offer, which comes as an event.
 *
 * @param {Target} target
 * @param {Peer} peer
 */
export async function janus({url, mountpoint}, {answer}) {
	const ask = async (path, message) => {
		const response = await fetch(
			url + path,
			message && {method: 'POST', body: JSON.stringify({transaction: 'bench', ...message})}
		)
		const reply = await response.json()
		const trouble = reply.error?.reason ?? reply.plugindata?.data?.error
		if (trouble) throw new Error(`${url}${path} answered ${trouble}`)
		return reply
	}
	const session = `/${(await ask('', {janus: 'create'})).data.id}`
	const handle = `${session}/${(await ask(session, {janus: 'attach', plugin: 'janus.plugin.streaming'})).data.id}`
	await ask(handle, {janus: 'message', body: {request: 'watch', id: mountpoint}})
	let jsep
	// Each question waits until there is something to tell, or for half a minute.
	while (!jsep) ({jsep} = await ask(`${session}?maxev=1`))
	await ask(handle, {
		janus: 'message',
		body: {request: 'start'},
		jsep: {type: 'answer', sdp: await answer(jsep.sdp)}
	})
	// Without this it waits for candidates that never come, for all of them are in the answer or learnt from the viewer's checks.
	await ask(handle, {janus: 'trickle', candidate: {completed: true}})
}

export const signallings = {whep, janus}
