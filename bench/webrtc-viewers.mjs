/**
 * Viewers over WebRTC without a browser, in a process of their own: node bench/webrtc-viewers.mjs OPTIONS, which is JSON:
 *
 * {target, count, host, framesPerGroup}
 *
 * They decrypt and decode nothing more than they must: RTP's own numbers tell which packets are missing, and H.264's which
 * frames. They ask for no packet again and for no key frame, so what is lost on the way stays lost and is counted. Everything
 * is told when standard input ends.
 */
import ndc from 'node-datachannel'
import {signallings} from './signalling.mjs'
import {nowMs} from './statistics.mjs'

const {target, count, host, framesPerGroup} = JSON.parse(process.argv[2])
const say = facts => process.stdout.write(`${JSON.stringify(facts)}\n`)

/** x264 counts frames by numbers of four bits, so that a hole of exactly so many of them would not be seen. */
const FRAME_NUMBERS = 16
const SEQUENCE_NUMBERS = 2 ** 16
const [SLICE, KEY_SLICE, SEVERAL, PART] = [1, 5, 24, 28]
const OPEN_TIMEOUT_MS = 15_000

const viewers = []
let ending = false

const modulo = (value, range) => ((value % range) + range) % range

class Viewer {
	startMs = nowMs()
	/** When the first packet of a key frame came. */
	keyFrameMs = undefined
	/** Of each frame: when its first packet came, and what had been missing until then. */
	arrivals = []
	packetsMissing = []
	framesMissing = []
	#missing = 0
	#missingFrames = 0
	#highest = undefined
	#timestamp = undefined
	/** The encoder's number of the last frame that told its own, and how many came since that did not. */
	#number = undefined
	#unnumbered = 0
	#connection
	#receiving = new ndc.RtcpReceivingSession()
	/** Held here, for the library does not hold its JavaScript objects. */
	held = []

	constructor(index) {
		this.#connection = new ndc.PeerConnection(`viewer-${index}`, {
			iceServers: [],
			bindAddress: host
		})
	}

	/** Resolves when media can flow. */
	async open() {
		const opened = new Promise((resolve, reject) => {
			setTimeout(() => {
				reject(new Error(`not connected after ${OPEN_TIMEOUT_MS} ms`))
			}, OPEN_TIMEOUT_MS).unref()
			this.#connection.onTrack(track => {
				this.#watch(track, resolve)
			})
			this.#connection.onStateChange(state => {
				if (state === 'failed' || state === 'closed') reject(new Error(`the connection ${state}`))
			})
			if (target.signalling === 'whep') {
				const video = new ndc.Video('0', 'RecvOnly')
				video.addH264Codec(
					102,
					'level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f'
				)
				this.#watch(this.#connection.addTrack(video), resolve)
			}
		})
		const signalled = signallings[target.signalling](target, {
			offer: async () =>
				this.#describe(() => {
					this.#connection.setLocalDescription('offer')
				}),
			accept: async answer => {
				this.#connection.setRemoteDescription(answer, 'answer')
			},
			// Without candidates the library waits for the server's checks. With them it would begin DTLS before the server has the answer, and again only after a second.
			answer: async offer =>
				this.#describe(() => {
					this.#connection.setRemoteDescription(
						offer.replace(/^a=(?:candidate:.*|end-of-candidates)\r\n/gm, ''),
						'offer'
					)
				})
		})
		await Promise.all([signalled, opened])
		this.#connection.onStateChange(state => {
			trouble(`the connection is ${state}`)
		})
	}

	close() {
		this.#connection.close()
	}

	/** The description that the act makes, with every candidate. */
	async #describe(act) {
		const gathered = new Promise(resolve => {
			this.#connection.onGatheringStateChange(state => {
				if (state === 'complete') resolve()
			})
		})
		act()
		await gathered
		return this.#connection.localDescription().sdp
	}

	#watch(track, onOpen) {
		this.held.push(track)
		track.setMediaHandler(this.#receiving)
		track.onOpen(onOpen)
		track.onMessage(packet => {
			this.#onPacket(packet)
		})
	}

	#onPacket(packet) {
		// RTCP, [RFC 5761 4].
		if (packet[1] >= 192 && packet[1] <= 223) return
		const now = nowMs()
		const sequence = packet.readUInt16BE(2)
		const ahead =
			this.#highest === undefined ? 1 : modulo(sequence - this.#highest, SEQUENCE_NUMBERS)
		if (ahead > SEQUENCE_NUMBERS / 2) {
			// One that came late was counted as missing.
			this.#missing--
			return
		}
		this.#missing += ahead - 1
		this.#highest = sequence
		const timestamp = packet.readUInt32BE(4)
		if (timestamp === this.#timestamp) return
		const payload = payloadOf(packet)
		const {type, at} = sliceIn(payload)
		// Parameter sets may come first; the frame begins with its first slice, or with a part of one whose beginning is lost.
		if (type === undefined) return
		this.#timestamp = timestamp
		const number = at === undefined ? undefined : frameNumber(payload, at)
		const key = type === KEY_SLICE
		if (number === undefined && !key) this.#unnumbered++
		else {
			// A key frame starts its numbers anew.
			const due = key ? framesPerGroup : number
			if (this.#number !== undefined)
				this.#missingFrames += modulo(due - this.#number - 1 - this.#unnumbered, FRAME_NUMBERS)
			this.#number = key ? 0 : number
			this.#unnumbered = 0
		}
		if (key && this.keyFrameMs === undefined) {
			this.keyFrameMs = now
			onKeyFrame()
		}
		this.arrivals.push(now)
		this.packetsMissing.push(this.#missing)
		this.framesMissing.push(this.#missingFrames)
	}
}

function payloadOf(packet) {
	const extension = packet[0] & 0x10 ? 4 + 4 * packet.readUInt16BE(14) : 0
	return packet.subarray(12 + 4 * (packet[0] & 0x0f) + extension)
}

/** The type of the first slice in a packet, and where its header begins, [RFC 6184]; no place where that is in another packet. */
function sliceIn(payload) {
	const isSlice = type => type === SLICE || type === KEY_SLICE
	const type = payload[0] & 0x1f
	if (isSlice(type)) return {type, at: 1}
	if (type === PART) {
		const whole = payload[1] & 0x1f
		return isSlice(whole) ? {type: whole, at: payload[1] & 0x80 ? 2 : undefined} : {}
	}
	if (type !== SEVERAL) return {}
	for (let at = 1; at + 2 < payload.length; at += 2 + payload.readUInt16BE(at)) {
		const inner = payload[at + 2] & 0x1f
		if (isSlice(inner)) return {type: inner, at: at + 3}
	}
	return {}
}

/** `frame_num` of the slice header that begins here, [ITU-T H.264 7.3.3]; undefined where it is not the frame's first slice. */
function frameNumber(payload, at) {
	let bit = at * 8
	const read = () => (payload[bit >> 3] >> (7 - (bit++ & 7))) & 1
	const golomb = () => {
		let zeros = 0
		while (read() === 0 && zeros < 32) zeros++
		let value = 1
		for (let index = 0; index < zeros; index++) value = value * 2 + read()
		return value - 1
	}
	// Its first macroblock, its type and its parameter set.
	if (golomb() !== 0) return undefined
	golomb()
	golomb()
	return [0, 0, 0, 0].reduce(value => value * 2 + read(), 0)
}

function trouble(text) {
	if (!ending) say({event: 'trouble', text})
}

function onKeyFrame() {
	if (viewers.length === count && viewers.every(({keyFrameMs}) => keyFrameMs !== undefined))
		say({event: 'first', ms: viewers.map(({startMs, keyFrameMs}) => keyFrameMs - startMs)})
}

process.stdin.resume().on('end', () => {
	ending = true
	const told = {
		event: 'done',
		viewers: viewers.map(({arrivals, packetsMissing, framesMissing}) => ({
			arrivals,
			packetsMissing,
			framesMissing
		}))
	}
	// A pipe takes megabytes in parts: the process must live until the last one.
	process.stdout.write(`${JSON.stringify(told)}\n`, () => {
		for (const viewer of viewers) viewer.close()
		ndc.cleanup()
		process.exit(0)
	})
})

// One after the other, so that no burst of handshakes is part of what is measured.
try {
	for (let index = 0; index < count && !ending; index++) {
		const viewer = new Viewer(index)
		viewers.push(viewer)
		await viewer.open()
	}
} catch (error) {
	trouble(error.message)
}
