/**
 * A WHEP viewer without a browser, a program of its own: `node whep-client.js URL [--loss PERCENT] [--no-nack]`.
 *
 * It prints JSON lines: `answer` with the status, headers and SDP, `connected`, `first` with the first NAL unit's type,
 * `state`, `gone`, and `stats` whenever it reads `stats` on standard input. It reads `pli`, `flood`, `delete` and `quit` too.
 * Between it and the server stands a relay of its own, which loses packets of the server's if it is told to.
 */
import {createSocket, type Socket} from 'node:dgram'
import {once} from 'node:events'
import process from 'node:process'
import readline from 'node:readline'
import ndc from 'node-datachannel'

const [url = '', ...flags] = process.argv.slice(2)
const lossPercent =
	Number(flags[flags.indexOf('--loss') + 1] ?? 0) * (flags.includes('--loss') ? 1 : 0)
const nacks = !flags.includes('--no-nack')
const startedMs = performance.now()

function say(event: string, facts: object = {}): void {
	process.stdout.write(
		`${JSON.stringify({event, atMs: Math.round(performance.now() - startedMs), ...facts})}\n`
	)
}

/** What was received, by RTP's own numbers. */
const seen = {
	packets: 0,
	frames: 0,
	keyFrames: 0,
	missing: new Map<number, number>(),
	healed: 0,
	relayed: 0,
	lost: 0,
	longestGapMs: 0,
	payloadTypes: new Set<number>(),
	backwards: 0,
	begun: false
}
let highest: number | undefined
let lastTimestamp: number | undefined
let lastKeyTimestamp: number | undefined
let lastFrameMs = 0
let lastSsrc = 0

const connection = new ndc.PeerConnection('client', {iceServers: [], bindAddress: '127.0.0.1'})
const video = new ndc.Video('0', 'SendRecv')
video.addH264Codec(102, 'level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f')
video.addSSRC(42, 'client', 'client', 'video')
const track = connection.addTrack(video)
const receiving = new ndc.RtcpReceivingSession()
track.setMediaHandler(receiving)

function onPacket(packet: Buffer): void {
	const type = (packet[1] ?? 0) & 0x7f
	// RTCP, [RFC 5761 4].
	if ((packet[1] ?? 0) >= 192 && (packet[1] ?? 0) <= 223) return
	const sequence = packet.readUInt16BE(2)
	const timestamp = packet.readUInt32BE(4)
	lastSsrc = packet.readUInt32BE(8)
	const extension = (packet[0] ?? 0) & 0x10 ? 4 + 4 * packet.readUInt16BE(14) : 0
	const payload = packet.subarray(12 + extension)
	const nalType = (payload[0] ?? 0) & 0x1f
	seen.packets++
	// Delimiters and SEI may stand before anything.
	if (!seen.begun && nalType !== 9 && nalType !== 6) {
		seen.begun = true
		say('first', {nalType})
	}
	seen.payloadTypes.add(type)
	const ahead = highest === undefined ? 1 : (sequence - highest + 65_536) % 65_536
	if (ahead < 32_768) {
		if (highest !== undefined)
			for (let step = 1; step < ahead; step++)
				seen.missing.set((highest + step) % 65_536, performance.now())
		highest = sequence
	} else if (seen.missing.delete(sequence)) seen.healed++
	const idr = nalType === 5 || (nalType === 28 && ((payload[1] ?? 0) & 0x9f) === 0x85)
	if (idr && timestamp !== lastKeyTimestamp) {
		lastKeyTimestamp = timestamp
		seen.keyFrames++
	}
	if (timestamp === lastTimestamp || ahead >= 32_768) return
	if (lastTimestamp !== undefined && (timestamp - lastTimestamp + 2 ** 32) % 2 ** 32 > 2 ** 31)
		seen.backwards++
	lastTimestamp = timestamp
	seen.frames++
	const now = performance.now()
	if (lastFrameMs > 0) seen.longestGapMs = Math.max(seen.longestGapMs, now - lastFrameMs)
	lastFrameMs = now
}

/** Asks again for what is missing, [RFC 4585 6.2.1], as browsers do. */
function askAgain(): void {
	const missing = [...seen.missing.keys()]
	if (!nacks || missing.length === 0 || !track.isOpen()) return
	for (const sequence of missing.slice(0, 64)) {
		const packet = Buffer.alloc(16)
		packet.writeUInt8(0x81, 0)
		packet.writeUInt8(205, 1)
		packet.writeUInt16BE(3, 2)
		packet.writeUInt32BE(42, 4)
		packet.writeUInt32BE(lastSsrc, 8)
		packet.writeUInt16BE(sequence, 12)
		track.sendMessageBinary(packet)
	}
}

/** Asks for the last thousand packets again and again, until the server ends it, or three hundred times: what no honest viewer does. */
async function flood(): Promise<void> {
	const pairs = 60
	const before = seen.relayed
	let asked = 0
	while (asked < 300) {
		const packet = Buffer.alloc(12 + 4 * pairs)
		packet.writeUInt8(0x81, 0)
		packet.writeUInt8(205, 1)
		packet.writeUInt16BE(2 + pairs, 2)
		packet.writeUInt32BE(42, 4)
		packet.writeUInt32BE(lastSsrc, 8)
		for (let pair = 0; pair < pairs; pair++) {
			packet.writeUInt16BE(((highest ?? 0) - 17 * (pair + 1) + 65_536) % 65_536, 12 + 4 * pair)
			packet.writeUInt16BE(0xffff, 14 + 4 * pair)
		}
		if (!track.isOpen()) break
		track.sendMessageBinary(packet)
		asked++
		await new Promise(resolve => {
			setTimeout(resolve, 10)
		})
	}
	say('flooded', {asked, relayed: seen.relayed - before})
}

/** Carries packets between the viewer and the server's port, and loses some on the way to the viewer. */
async function relay(serverPort: number): Promise<Socket> {
	const socket = createSocket({type: 'udp4', recvBufferSize: 4 * 1024 * 1024})
	let viewerPort = 0
	socket.on('message', (packet, {port}) => {
		if (port !== serverPort) {
			viewerPort = port
			socket.send(packet, serverPort, '127.0.0.1')
			return
		}
		seen.relayed++
		// Media only: a lost handshake is another test's affair.
		const media = ((packet[0] ?? 0) & 0xc0) === 0x80
		if (media && seen.packets > 0 && Math.random() * 100 < lossPercent) seen.lost++
		else if (viewerPort > 0) socket.send(packet, viewerPort, '127.0.0.1')
	})
	socket.bind(0, '127.0.0.1')
	await once(socket, 'listening')
	return socket
}

async function main(): Promise<void> {
	const gathered = new Promise<void>(resolve => {
		connection.onGatheringStateChange(state => {
			if (state === 'complete') resolve()
		})
	})
	connection.onStateChange(state => {
		say('state', {state})
	})
	track.onOpen(() => {
		say('connected')
	})
	track.onMessage(onPacket)
	connection.setLocalDescription('offer')
	await gathered
	const response = await fetch(url, {
		method: 'POST',
		headers: {'Content-Type': 'application/sdp'},
		body: connection.localDescription()?.sdp ?? ''
	})
	const sdp = await response.text()
	say('answer', {status: response.status, headers: Object.fromEntries(response.headers), sdp})
	if (response.status !== 201) {
		leave()
		return
	}
	const serverPort = Number(/a=candidate:.* (\d+) typ host/.exec(sdp)?.[1])
	const socket = await relay(serverPort)
	connection.setRemoteDescription(
		sdp.replaceAll(` ${serverPort} typ host`, ` ${socket.address().port} typ host`),
		'answer'
	)
	setInterval(askAgain, 30)
	readline.createInterface({input: process.stdin}).on('line', line => {
		if (line === 'pli') say('pli', {sent: track.requestKeyframe()})
		else if (line === 'stats')
			say('stats', {...seen, missing: seen.missing.size, payloadTypes: [...seen.payloadTypes]})
		else if (line === 'flood') void flood()
		else if (line === 'reset') seen.longestGapMs = 0
		else if (line === 'delete') {
			const location = response.headers.get('location') ?? ''
			void fetch(location, {method: 'DELETE'}).then(({status}) => {
				say('deleted', {status})
			})
		} else leave()
	})
}

function leave(): void {
	connection.close()
	ndc.cleanup()
	process.exit(0)
}

await main()
