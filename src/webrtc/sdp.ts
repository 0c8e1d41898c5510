/** What is made of a viewer's offer: one for the WebRTC library, and the answer; and fragments of trickle ICE. */
import {type IceCredentials, type Idle, type Offer, playoutDelayUri} from './sdp-offer.js'
import {
	attribute,
	candidatePattern,
	lines,
	passwordPattern,
	readBlocks,
	refuse,
	ufragPattern
} from './sdp-text.js'

/** Candidates of one PATCH; browsers send one for each network and transport. */
const maxCandidates = 32

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
 * The offer for the WebRTC library: the video section alone. Without candidates, so that the library waits for the viewer's
 * checks: with them it would begin DTLS before the viewer has the answer, and some viewers would miss it.
 */
export function engineOffer({mid, payloadType, fmtp, ice, fingerprint, setup}: Offer): string {
	return lines([
		...sessionLines('0', [mid]),
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

/**
 * The answer: H.264 on the video section, and all candidates, for WHEP lets the server add none later. Audio that is bundled with
 * the video stays, inactive, and so does whatever the viewer bundles the rest with: it cannot do without that one's transport,
 * and fails where that is refused, https://github.com/bluenviron/mediamtx/issues/3381. All else is refused.
 */
export function writeAnswer(
	offer: Offer,
	engine: EngineAnswer,
	{ssrc, sessionId}: {ssrc: number; sessionId: string}
): string {
	const {sections, mid, bundle, payloadType, fmtp, playoutDelayId} = offer
	const [transport = mid] = bundle
	const video: Idle = {
		format: String(payloadType),
		attributes: [
			'a=sendonly',
			'a=msid:sluice video',
			'a=rtcp-mux',
			'a=rtcp-mux-only',
			'a=rtcp-rsize',
			...(playoutDelayId === undefined ? [] : [`a=extmap:${playoutDelayId} ${playoutDelayUri}`]),
			...formatLines(payloadType, fmtp),
			`a=ssrc:${ssrc} cname:sluice`
		]
	}
	const answers = sections.map(section => {
		const kept = section.mid === mid ? video : section.idle
		const format = kept
			? `9 ${section.protocol} ${kept.format}`
			: `0 ${section.protocol} ${section.formats.join(' ')}`
		const head = [`m=${section.kind} ${format}`, 'c=IN IP4 0.0.0.0', `a=mid:${section.mid}`]
		if (!kept) return [...head, 'a=inactive']
		return [
			...head,
			...kept.attributes,
			// In each section, as browsers' own answers have them, though the first one's count: some clients ask for them.
			`a=setup:${engine.setup}`,
			...iceLines(engine.ice),
			`a=fingerprint:${engine.fingerprint}`,
			...(section.mid === transport
				? [...engine.candidates.map(candidate => `a=${candidate}`), 'a=end-of-candidates']
				: [])
		]
	})
	return lines([...sessionLines(sessionId, bundle), ...answers.flat()])
}

/** @throws SluiceError `bad_request` */
export function readFragment(text: string): Fragment {
	const blocks = readBlocks(text)
	const attributes = blocks.flatMap(block => block.attributes)
	const ufrag = attribute({attributes}, 'ice-ufrag')
	const password = attribute({attributes}, 'ice-pwd')
	const candidates = attributes.filter(line => line.startsWith('candidate:'))
	if ((ufrag === undefined) !== (password === undefined))
		throw refuse('has only one of a=ice-ufrag and a=ice-pwd')
	if (ufrag !== undefined && !ufragPattern.test(ufrag)) throw refuse('has no valid a=ice-ufrag')
	if (password !== undefined && !passwordPattern.test(password))
		throw refuse('has no valid a=ice-pwd')
	if (candidates.length > maxCandidates)
		throw refuse(`has ${candidates.length} candidates; at most ${maxCandidates} are taken`)
	if (candidates.some(line => !candidatePattern.test(line)))
		throw refuse('has a malformed candidate')
	if (ufrag === undefined && candidates.length === 0 && !attributes.includes('end-of-candidates'))
		throw refuse('has neither ICE credentials nor candidates')
	return {
		ice: ufrag === undefined || password === undefined ? undefined : {ufrag, password},
		candidates
	}
}

function sessionLines(id: string, bundle: readonly string[]): string[] {
	const group = bundle.length === 0 ? [] : [`a=group:BUNDLE ${bundle.join(' ')}`]
	return [
		'v=0',
		`o=- ${id} 1 IN IP4 127.0.0.1`,
		's=-',
		't=0 0',
		...group,
		'a=msid-semantic:WMS *',
		'a=ice-options:trickle ice2'
	]
}

function formatLines(payloadType: number, fmtp: string): string[] {
	return [
		`a=rtpmap:${payloadType} H264/90000`,
		`a=rtcp-fb:${payloadType} nack`,
		`a=rtcp-fb:${payloadType} nack pli`,
		`a=rtcp-fb:${payloadType} ccm fir`,
		`a=fmtp:${payloadType} ${fmtp}`
	]
}

function iceLines({ufrag, password}: IceCredentials): string[] {
	return [`a=ice-ufrag:${ufrag}`, `a=ice-pwd:${password}`]
}
