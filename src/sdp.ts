/**
 * Reads a viewer's SDP offer as far as WHEP needs it, and writes the answer. Every text here may be hostile: nothing of it
 * reaches the WebRTC library, which is C++, but through patterns.
 */
import {SluiceError} from './errors.js'
import {attribute, type Block, candidatePattern, lines, passwordPattern, readBlocks, refuse, ufragPattern} from './sdp-text.js'

/** An offer has as many media sections as its sender likes; no real one has more. */
const maxSections = 8
/** Candidates of one PATCH; browsers send one for each network and transport. */
const maxCandidates = 32

const token = /^[\w.~-]{1,64}$/
const fingerprintPattern = /^(?:sha-1|sha-224|sha-256|sha-384|sha-512) [\da-f]{2}(?::[\da-f]{2}){19,63}$/i
const mediaPattern = /^([a-z]{1,16}) (\d{1,5}) ([A-Z/]{3,32})((?: [\w*.-]{1,32}){1,64})$/
const fmtpPattern = /^[\w=;, /-]{1,256}$/
const playoutDelayUri = 'http://www.webrtc.org/experiments/rtp-hdrext/playout-delay'

/** What ties a fragment or an answer to one ICE session. */
export interface IceCredentials {
	ufrag: string
	password: string
}

/** A media section of an offer, as its answer repeats it. */
interface Section {
	kind: string
	protocol: string
	formats: string
	mid: string
}

/** An offer that can be answered with H.264. */
export interface Offer {
	/** Every section, in the offer's order; all but the one of `mid` are refused in the answer. */
	sections: readonly Section[]
	/** Of the video section that is answered. */
	mid: string
	payloadType: number
	/** The payload type's own format parameters, for the answer to repeat. */
	fmtp: string
	ice: IceCredentials
	fingerprint: string
	/** Of DTLS. */
	setup: string
	/** The id of the RTP header extension that tells the viewer to show pictures without delay; undefined where it knows none. */
	playoutDelayId: number | undefined
}

/** An SDP fragment of a PATCH, [RFC 8840]. */
export interface Fragment {
	ice: IceCredentials | undefined
	/** Lines without their `a=`. */
	candidates: readonly string[]
}

/** What the WebRTC library says of itself in its answer. */
export interface EngineAnswer {
	ice: IceCredentials
	fingerprint: string
	setup: string
	/** Lines without their `a=`. */
	candidates: readonly string[]
}

/**
 * @throws SluiceError `bad_request` where it is no offer that WHEP allows, `not_acceptable` where it has no H.264 with
 *   packetization-mode=1
 */
export function readOffer(text: string): Offer {
	const blocks = readBlocks(text)
	const [session, ...media] = blocks
	if (!/^v=0\r?\n/.test(text)) throw refuse('does not begin with v=0')
	if (media.length > maxSections) throw refuse(`has ${media.length} media sections; at most ${maxSections} are taken`)
	const sections = media.map(readSection)
	if (new Set(sections.map(({mid}) => mid)).size < sections.length) throw refuse('gives a mid twice')
	const videos = sections.flatMap(({kind}, index) => (kind === 'video' ? [index] : []))
	const [chosen] = videos
	const section = sections[chosen ?? -1]
	const block = media[chosen ?? -1]
	if (!section || !block) throw refuse('has no video section')
	if (videos.length > 1) throw refuse('has more than one video section')
	if (!/^(?:UDP|TCP)\/TLS\/RTP\/SAVPF?$/.test(section.protocol)) throw refuse('has a video section without DTLS-SRTP')
	const direction = directionOf(block) ?? directionOf(session) ?? 'sendrecv'
	if (direction !== 'recvonly' && direction !== 'sendrecv') throw refuse(`has a video section that is ${direction}; recvonly is expected`)
	const value = (name: string, pattern: RegExp) => {
		const found = attribute(block, name) ?? attribute(session, name)
		if (found === undefined || !pattern.test(found)) throw refuse(`has no valid a=${name}`)
		return found
	}
	if (!block.attributes.some(line => line === 'rtcp-mux' || line === 'rtcp-mux-only')) throw refuse('has a video section without rtcp-mux')
	return {
		sections,
		mid: section.mid,
		...chooseFormat(block, section),
		ice: {ufrag: value('ice-ufrag', ufragPattern), password: value('ice-pwd', passwordPattern)},
		fingerprint: value('fingerprint', fingerprintPattern),
		setup: value('setup', /^(?:actpass|active|passive)$/),
		playoutDelayId: playoutDelayOf(block)
	}
}

/**
 * The offer for the WebRTC library: the video section alone. Without candidates, so that the library waits for the viewer's
 * checks: with them it would begin DTLS before the viewer has the answer, and some viewers would miss it.
 */
export function engineOffer({mid, payloadType, fmtp, ice, fingerprint, setup}: Offer): string {
	return lines([
		...sessionLines('0', mid),
		`m=video 9 UDP/TLS/RTP/SAVPF ${payloadType}`,
		'c=IN IP4 0.0.0.0',
		`a=mid:${mid}`,
		'a=recvonly',
		'a=rtcp-mux',
		...formatLines(payloadType, fmtp),
		`a=setup:${setup}`,
		...iceLines(ice),
		`a=fingerprint:${fingerprint}`
	])
}

/** @throws Error where the library answered with something else than an answer */
export function readEngineAnswer(text: string): EngineAnswer {
	const attributes = readBlocks(text).flatMap(block => block.attributes)
	const value = (name: string) => {
		const found = attribute({attributes}, name)
		if (found === undefined) throw new Error(`the WebRTC library's answer has no a=${name}`)
		return found
	}
	return {
		ice: {ufrag: value('ice-ufrag'), password: value('ice-pwd')},
		fingerprint: value('fingerprint'),
		setup: value('setup'),
		candidates: attributes.filter(line => candidatePattern.test(line))
	}
}

/** A candidate of this host at an address that the library does not know of: behind a NAT, or loopback. */
export function hostCandidate(address: string, port: number, index: number): string {
	// [RFC 8445 5.1.2]: the preference of a host candidate, and below those that were found on the interfaces.
	const priority = 126 * 2 ** 24 + (1000 - index) * 2 ** 8 + 255
	return `candidate:h${index} 1 UDP ${priority} ${address} ${port} typ host`
}

/** The answer: H.264 on the video section, every other section refused, and all candidates, for WHEP lets the server add none later. */
export function writeAnswer(offer: Offer, {ice, fingerprint, setup, candidates}: EngineAnswer, {ssrc, sessionId}: {ssrc: number; sessionId: string}): string {
	const {mid, payloadType, fmtp, playoutDelayId} = offer
	const video = [
		`m=video 9 UDP/TLS/RTP/SAVPF ${payloadType}`,
		'c=IN IP4 0.0.0.0',
		`a=mid:${mid}`,
		'a=sendonly',
		'a=msid:sluice video',
		'a=rtcp-mux',
		'a=rtcp-mux-only',
		'a=rtcp-rsize',
		...(playoutDelayId === undefined ? [] : [`a=extmap:${playoutDelayId} ${playoutDelayUri}`]),
		...formatLines(payloadType, fmtp),
		`a=ssrc:${ssrc} cname:sluice`,
		`a=setup:${setup}`,
		...iceLines(ice),
		`a=fingerprint:${fingerprint}`,
		...candidates.map(candidate => `a=${candidate}`),
		'a=end-of-candidates'
	]
	const refused = ({kind, protocol, formats, mid: refusedMid}: Section) => [`m=${kind} 0 ${protocol}${formats}`, 'c=IN IP4 0.0.0.0', `a=mid:${refusedMid}`, 'a=inactive']
	return lines([...sessionLines(sessionId, mid), ...offer.sections.flatMap(section => (section.mid === mid ? video : refused(section)))])
}

/** @throws SluiceError `bad_request` */
export function readFragment(text: string): Fragment {
	const blocks = readBlocks(text)
	const attributes = blocks.flatMap(block => block.attributes)
	const ufrag = attribute({attributes}, 'ice-ufrag')
	const password = attribute({attributes}, 'ice-pwd')
	const candidates = attributes.filter(line => line.startsWith('candidate:'))
	if ((ufrag === undefined) !== (password === undefined)) throw refuse('has only one of a=ice-ufrag and a=ice-pwd')
	if (ufrag !== undefined && !ufragPattern.test(ufrag)) throw refuse('has no valid a=ice-ufrag')
	if (password !== undefined && !passwordPattern.test(password)) throw refuse('has no valid a=ice-pwd')
	if (candidates.length > maxCandidates) throw refuse(`has ${candidates.length} candidates; at most ${maxCandidates} are taken`)
	if (candidates.some(line => !candidatePattern.test(line))) throw refuse('has a malformed candidate')
	if (ufrag === undefined && candidates.length === 0 && !attributes.includes('end-of-candidates')) throw refuse('has neither ICE credentials nor candidates')
	return {ice: ufrag === undefined || password === undefined ? undefined : {ufrag, password}, candidates}
}

function readSection(block: Block): Section {
	const [, kind = '', , protocol = '', formats = ''] = mediaPattern.exec(block.media ?? '') ?? []
	if (kind === '') throw refuse('has a malformed m= line')
	const mid = attribute(block, 'mid')
	if (mid === undefined || !token.test(mid)) throw refuse('has a media section without a valid a=mid')
	return {kind, protocol, formats, mid}
}

function directionOf({attributes}: Block): string | undefined {
	return attributes.find(line => /^(?:sendrecv|sendonly|recvonly|inactive)$/.test(line))
}

function playoutDelayOf({attributes}: Block): number | undefined {
	const line = attributes.find(candidate => candidate.startsWith('extmap:') && candidate.endsWith(` ${playoutDelayUri}`))
	// Ids above 14 do not fit the one-byte header, which the library writes.
	const id = Number(/^extmap:(\d{1,2})(?:\/\w{1,8})? /.exec(line ?? '')?.[1] ?? 0)
	return id >= 1 && id <= 14 ? id : undefined
}

/**
 * The payload type to answer with: H.264 in packetization-mode 1, constrained baseline if there is a choice. No profile is
 * asked to match: browsers offer no High, and decode it all the same.
 */
function chooseFormat({attributes}: Block, {formats}: Section): {payloadType: number; fmtp: string} {
	const offered = formats.trim().split(' ')
	const h264 = new Set(attributes.flatMap(line => /^rtpmap:(\d{1,3}) H264\/90000$/i.exec(line)?.[1] ?? []))
	// Each once, however often it is named: an offer has thousands of lines for nothing.
	const candidates = [...new Set(offered)].filter(type => h264.has(type)).flatMap(type => {
		const fmtp = fmtpOf(attributes, type)
		return Number(type) <= 127 && /(?:^|;)\s*packetization-mode=1(?:;|$)/.test(fmtp) && fmtpPattern.test(fmtp) ? [{payloadType: Number(type), fmtp}] : []
	})
	const ranks = [/profile-level-id=42e0/i, /profile-level-id=42/i, /./]
	const chosen = ranks.map(rank => candidates.find(({fmtp}) => rank.test(fmtp))).find(found => found)
	if (!chosen) throw new SluiceError('not_acceptable', 'the offer has no H.264 with packetization-mode=1, and that is what is sent')
	return chosen
}

function fmtpOf(attributes: readonly string[], payloadType: string): string {
	return attributes.find(line => line.startsWith(`fmtp:${payloadType} `))?.slice(`fmtp:${payloadType} `.length) ?? ''
}

function sessionLines(id: string, mid: string): string[] {
	return ['v=0', `o=- ${id} 1 IN IP4 127.0.0.1`, 's=-', 't=0 0', `a=group:BUNDLE ${mid}`, 'a=msid-semantic:WMS *', 'a=ice-options:trickle ice2']
}

function formatLines(payloadType: number, fmtp: string): string[] {
	return [`a=rtpmap:${payloadType} H264/90000`, `a=rtcp-fb:${payloadType} nack`, `a=rtcp-fb:${payloadType} nack pli`, `a=rtcp-fb:${payloadType} ccm fir`, `a=fmtp:${payloadType} ${fmtp}`]
}

function iceLines({ufrag, password}: IceCredentials): string[] {
	return [`a=ice-ufrag:${ufrag}`, `a=ice-pwd:${password}`]
}
