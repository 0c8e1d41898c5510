/** What the server and the WebRTC worker say to each other, see worker-channel.ts; frames go on a pipe, see webrtc-pipe.ts. */
import type {FrameCounts} from '../streams/frame.js'
import {count, messageReader, shape, text, truth} from '../base/shape.js'

export type ToWebRtcWorker =
	/** Sent once, to a worker that said `ready`: the UDP port for all viewers, 0 for a free one, and the address. */
	| {type: 'listen'; address: string; port: number}
	/** Opens a viewer's peer connection. `offer` is that of `engineOffer()`. Answered by `answer` or `closed`. */
	| {
			type: 'open'
			session: string
			source: number
			offer: string
			mid: string
			payloadType: number
			fmtp: string
			ssrc: number
			playoutDelayId?: number
	  }
	| {type: 'close'; session: string}
	/** Ends every peer connection and the process. */
	| {type: 'stop'}

export type FromWebRtcWorker =
	/** The WebRTC library is loaded. */
	| {type: 'ready'}
	/** It cannot be, in its own words; the process ends. */
	| {type: 'unavailable'; message: string}
	/** The answer to `listen`. */
	| {type: 'listening'; port: number}
	| {type: 'not-listening'; message: string}
	/** The library's answer, with all candidates. */
	| {type: 'answer'; session: string; sdp: string}
	/** Media flow from now on. */
	| {type: 'connected'; session: string}
	/** The session is over: the offer was refused, the viewer left, was lost, never came, or `close` was received. Sent once for each that was opened. */
	| {type: 'closed'; session: string; reason: string; refused: boolean; counters: SessionCounters}
	/** What was sent to all viewers since the last such message: once a second, where there is anything to tell. */
	| ({type: 'counted'} & FrameCounts)
	/** A viewer lost its picture; a new key frame of the camera's would help. */
	| {type: 'key-frame-wanted'; source: number}

/** What became of one viewer's frames. */
export interface SessionCounters {
	/** Frames that were handed to the library, those of replays included. */
	sent: number
	/** Their bytes. */
	bytes: number
	/** Frames that never will be. */
	dropped: number
	/** How often the viewer asked for a key frame. */
	asked: number
	/** How often it got the kept pictures. */
	replays: number
}

/** @throws Error where it is no message of the WebRTC worker's */
export const readFromWebRtcWorker = messageReader<FromWebRtcWorker>({
	ready: {},
	unavailable: {message: text},
	listening: {port: count},
	'not-listening': {message: text},
	answer: {session: text, sdp: text},
	connected: {session: text},
	closed: {
		session: text,
		reason: text,
		refused: truth,
		counters: shape<SessionCounters>({
			sent: count,
			bytes: count,
			dropped: count,
			asked: count,
			replays: count
		})
	},
	counted: {frames: count, bytes: count, dropped: count},
	'key-frame-wanted': {source: count}
})
