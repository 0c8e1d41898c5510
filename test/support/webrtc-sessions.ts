import {readFileSync} from 'node:fs'
import {childrenOf, type Program, type Sluice} from './processes.js'
import {chromiumOffer} from './sdp-offers.js'

/** The process of all WebRTC viewers, from the first one on. */
export function webrtcWorkerOf({pid}: Program): number {
	return (
		childrenOf(pid).find(child =>
			readFileSync(`/proc/${child}/cmdline`, 'utf8').includes('webrtc/worker-main')
		) ?? -1
	)
}

/** Opens a session that never connects. */
export async function openSession(
	{http}: Sluice,
	url: string
): Promise<{location: string; etag: string}> {
	const response = await fetch(`${http}/whep?${new URLSearchParams({rtsp_url: url}).toString()}`, {
		method: 'POST',
		headers: {'Content-Type': 'application/sdp'},
		body: chromiumOffer
	})
	await response.text()
	return {
		location: response.headers.get('Location') ?? '',
		etag: response.headers.get('ETag') ?? ''
	}
}
