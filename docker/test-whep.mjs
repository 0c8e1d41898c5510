// The WebRTC viewer of scripts/test-docker.sh. It runs in the image under test, whose modules have node-datachannel.
//
//   node test-whep.mjs URL PICTURES    counts pictures until it has PICTURES, and prints what it saw as JSON
import process from 'node:process'
import ndc from 'node-datachannel'

const [url, wanted] = process.argv.slice(2)
const began = performance.now()
const elapsed = () => Math.round(performance.now() - began) / 1000
const connection = new ndc.PeerConnection('viewer', {iceServers: [], bindAddress: '127.0.0.1'})
let pictures = 0
let bytes = 0
let port
let session

async function end(exitCode) {
	// Or the server waits for a viewer that is gone.
	if (session) await fetch(session, {method: 'DELETE'})
	connection.close()
	ndc.cleanup()
	process.exit(exitCode)
}

function fail(reason) {
	console.error(`viewer: ${reason}, after ${pictures} pictures`)
	void end(1)
}

setTimeout(() => {
	fail('no end after 30 s')
}, 30_000)
const video = new ndc.Video('0', 'RecvOnly')
video.addH264Codec(102, 'level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f')
const track = connection.addTrack(video)
// Held here, for the library does not hold its JavaScript objects.
const receiving = new ndc.RtcpReceivingSession()
track.setMediaHandler(receiving)
track.onMessage(packet => {
	// RTCP, [RFC 5761 4].
	if (packet[1] >= 192 && packet[1] <= 223) return
	bytes += packet.length
	// The marker ends a picture, [RFC 6184 5.1].
	if (packet[1] < 128 || ++pictures !== Number(wanted)) return
	console.log(
		JSON.stringify({pictures, kilobytes: Math.round(bytes / 1000), port, seconds: elapsed()})
	)
	void end(0)
})

const gathered = new Promise(resolve => {
	connection.onGatheringStateChange(state => {
		if (state === 'complete') resolve()
	})
})
connection.setLocalDescription('offer')
await gathered
const response = await fetch(url, {
	method: 'POST',
	headers: {'Content-Type': 'application/sdp'},
	body: connection.localDescription().sdp
})
const answer = await response.text()
session = response.headers.get('location')
if (response.status !== 201) fail(`the server answered ${response.status}: ${answer}`)
port = Number(/^a=candidate:.* (\d+) typ host/m.exec(answer)?.[1])
connection.setRemoteDescription(answer, 'answer')
