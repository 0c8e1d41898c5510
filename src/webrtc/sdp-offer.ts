/**
 * Reads a viewer's SDP offer as far as WHEP needs it. Every text here may be hostile: nothing of it reaches the WebRTC
 * library, which is C++, nor an answer, but through patterns.
 */
import {SluiceError} from '../base/errors.js'
import {
	attribute,
	type Block,
	passwordPattern,
	readBlocks,
	refuse,
	ufragPattern
} from './sdp-text.js'

/** An offer has as many media sections as its sender likes; no real one has more. */
const maxSections = 8

const token = /^[\w.~-]{1,64}$/
const fingerprintPattern =
	/^(?:sha-1|sha-224|sha-256|sha-384|sha-512) [\da-f]{2}(?::[\da-f]{2}){19,63}$/i
const mediaPattern = /^([a-z\d-]{1,16}) (\d{1,5}) ([A-Z/]{3,32})((?: [\w*.-]{1,32}){1,128})$/
const rtpPattern = /^(?:UDP|TCP)\/TLS\/RTP\/SAVPF?$/
const rtpmapPattern = /^rtpmap:(\d{1,3}) ([\w.+-]{1,32}\/\d{1,6}(?:\/\d{1,2})?)$/
const fmtpPattern = /^[\w=;, /-]{1,256}$/
export const playoutDelayUri = 'http://www.webrtc.org/experiments/rtp-hdrext/playout-delay'

/** What ties a fragment or an answer to one ICE session. */
export interface IceCredentials {
	ufrag: string
	password: string
}

/** A media section of an offer, as its answer repeats it. */
interface Section {
	kind: string
	protocol: string
	formats: readonly string[]
	mid: string
}

/** What an answer says of a section that stays without media. */
export interface Idle {
	format: string
	/** Lines with their `a=`. */
	attributes: readonly string[]
}

/** An offer that can be answered with H.264. */
export interface Offer {
	/**
	 * Every section, in the offer's order: an answer has as many. `idle` is undefined for the video, and for what is refused.
	 */
	sections: readonly (Section & {idle: Idle | undefined})[]
	/** Of the video section that is answered. */
	mid: string
	/**
	 * The mids of the sections that the answer keeps, in the order of the offer's BUNDLE group: the first one's transport
	 * is that of all. Empty where the offer bundles nothing with the video.
	 */
	bundle: readonly string[]
	payloadType: number
	/** The payload type's own format parameters, for the answer to repeat. */
	fmtp: string
	/** Of the transport of `bundle`, as what follows. */
	ice: IceCredentials
	/** Of every section: a fragment that names another one asks for an ICE restart. */
	ufrags: readonly string[]
	fingerprint: string
	/** Of DTLS. */
	setup: string
	/** The id of the RTP header extension that tells the viewer to show pictures without delay; undefined where it knows none. */
	playoutDelayId: number | undefined
}

/**
 * @throws SluiceError `bad_request` where it is no offer that WHEP allows, `not_acceptable` where it has no H.264 with
 *   packetization-mode=1
 */
export function readOffer(text: string): Offer {
	const [session, ...media] = readBlocks(text)
	if (!/^v=0\r?\n/.test(text)) throw refuse('does not begin with v=0')
	if (media.length > maxSections)
		throw refuse(`has ${media.length} media sections; at most ${maxSections} are taken`)
	const offered = media.map(readSection)
	if (new Set(offered.map(({mid}) => mid)).size < offered.length) throw refuse('gives a mid twice')
	const {video, ...format} = chooseVideo(offered, session)
	const group = groupOf(video, offered, session)
	const idle = new Map<string, Idle>()
	for (const [index, section] of group.entries()) {
		const stays = section === video ? undefined : idleOf(section, index === 0, format.payloadType)
		if (stays) idle.set(section.mid, stays)
	}
	const bundle = group.filter(section => section === video || idle.has(section.mid))
	// [RFC 9143 7.1.3]: the first section has the transport's attributes, and others may be without.
	const blocks = [...bundle, video].map(({block}) => block).concat(session)
	const value = (name: string, pattern: RegExp) => {
		const found = blocks
			.map(block => attribute(block, name))
			.find(candidate => candidate !== undefined)
		if (found === undefined || !pattern.test(found)) throw refuse(`has no valid a=${name}`)
		return found
	}
	return {
		// Without their blocks: a session keeps this as long as it lives.
		sections: offered.map(({kind, protocol, formats, mid}) => ({
			kind,
			protocol,
			formats,
			mid,
			idle: idle.get(mid)
		})),
		mid: video.mid,
		bundle: bundle.map(({mid}) => mid),
		...format,
		ice: {ufrag: value('ice-ufrag', ufragPattern), password: value('ice-pwd', passwordPattern)},
		ufrags: [session, ...media].flatMap(block => attribute(block, 'ice-ufrag') ?? []),
		fingerprint: value('fingerprint', fingerprintPattern),
		setup: value('setup', /^(?:actpass|active|passive)$/),
		playoutDelayId: playoutDelayOf(video.block)
	}
}

/** A media section, as it was offered. */
interface OfferedSection extends Section {
	/** Whether it has no transport of its own, and is there only together with the sections that it is bundled with. */
	bundleOnly: boolean
	/** Whether it is there at all: port 0 takes a section back. */
	live: boolean
	block: Block
}

function readSection(block: Block): OfferedSection {
	const [, kind = '', port = '', protocol = '', formats = ''] =
		mediaPattern.exec(block.media ?? '') ?? []
	if (kind === '') throw refuse('has a malformed m= line')
	const mid = attribute(block, 'mid')
	if (mid === undefined || !token.test(mid))
		throw refuse('has a media section without a valid a=mid')
	const bundleOnly = Number(port) === 0 && block.attributes.includes('bundle-only')
	return {
		kind,
		protocol,
		formats: formats.trim().split(' '),
		mid,
		bundleOnly,
		live: Number(port) !== 0 || bundleOnly,
		block
	}
}

interface Video {
	video: OfferedSection
	payloadType: number
	fmtp: string
}

/**
 * The first video section that can be answered.
 * @throws SluiceError what is wrong with the first one
 */
function chooseVideo(sections: readonly OfferedSection[], session: Block): Video {
	const videos = sections.filter(({kind}) => kind === 'video')
	let wrong: SluiceError | undefined
	for (const video of videos) {
		try {
			return readVideo(video, session)
		} catch (error) {
			if (!(error instanceof SluiceError)) throw error
			wrong ??= error
		}
	}
	throw wrong ?? refuse('has no video section')
}

function readVideo(video: OfferedSection, session: Block): Video {
	if (!video.live) throw refuse('has a video section with port 0, and not bundle-only')
	if (!rtpPattern.test(video.protocol)) throw refuse('has a video section without DTLS-SRTP')
	const direction = directionOf(video.block) ?? directionOf(session) ?? 'sendrecv'
	if (direction !== 'recvonly' && direction !== 'sendrecv')
		throw refuse(`has a video section that is ${direction}; recvonly is expected`)
	if (!muxes(video)) throw refuse('has a video section without rtcp-mux')
	return {video, ...chooseFormat(video)}
}

/** Whether RTP and RTCP share a port: what is bundled does so anyway. */
function muxes({bundleOnly, block: {attributes}}: OfferedSection): boolean {
	return bundleOnly || attributes.includes('rtcp-mux') || attributes.includes('rtcp-mux-only')
}

/** The sections that the viewer bundles with the video, and it, in the order of the BUNDLE group. */
function groupOf(
	video: OfferedSection,
	sections: readonly OfferedSection[],
	session: Block
): OfferedSection[] {
	const groups = session.attributes.filter(line => line.startsWith('group:BUNDLE '))
	const mids = groups
		.map(line => new Set(line.split(' ').slice(1)))
		.find(group => group.has(video.mid))
	return [...(mids ?? [])].flatMap(
		mid => sections.find(section => section.mid === mid && section.live) ?? []
	)
}

/**
 * @param first whether the transport of the whole group is its own
 * @param payloadType that of the video, which no other format of the group may have
 * @returns undefined where the section is refused
 */
function idleOf(section: OfferedSection, first: boolean, payloadType: number): Idle | undefined {
	const {kind, protocol, formats, block} = section
	if (kind === 'application') {
		// Nothing answers on a data channel, so it is better refused. It is the first where a page makes it before all else.
		const kept = first && /^(?:UDP|TCP)\/DTLS\/SCTP$/.test(protocol)
		return kept ? {format: 'webrtc-datachannel', attributes: ['a=sctp-port:5000']} : undefined
	}
	if (!/^(?:audio|video)$/.test(kind) || !rtpPattern.test(protocol) || !muxes(section))
		return undefined
	const names = new Map<string, string>()
	for (const line of block.attributes) {
		const [, type = '', name = ''] = rtpmapPattern.exec(line) ?? []
		if (type !== '') names.set(type, name)
	}
	const format = formats.find(type => names.has(type) && Number(type) !== payloadType)
	if (format === undefined) return undefined
	return {
		format,
		attributes: ['a=inactive', 'a=rtcp-mux', `a=rtpmap:${format} ${names.get(format) ?? ''}`]
	}
}

function directionOf({attributes}: Block): string | undefined {
	return attributes.find(line => /^(?:sendrecv|sendonly|recvonly|inactive)$/.test(line))
}

function playoutDelayOf({attributes}: Block): number | undefined {
	const line = attributes.find(
		candidate => candidate.startsWith('extmap:') && candidate.endsWith(` ${playoutDelayUri}`)
	)
	// Ids above 14 do not fit the one-byte header, which the library writes.
	const id = Number(/^extmap:(\d{1,2})(?:\/\w{1,8})? /.exec(line ?? '')?.[1] ?? 0)
	return id >= 1 && id <= 14 ? id : undefined
}

/**
 * The payload type to answer with: H.264 in packetization-mode 1, constrained baseline if there is a choice. No profile is
 * asked to match: browsers offer no High, and decode it all the same.
 */
function chooseFormat({formats, block: {attributes}}: OfferedSection): {
	payloadType: number
	fmtp: string
} {
	const h264 = new Set(
		attributes.flatMap(line => /^rtpmap:(\d{1,3}) H264\/90000$/i.exec(line)?.[1] ?? [])
	)
	// Each once, however often it is named: an offer has thousands of lines for nothing.
	const candidates = [...new Set(formats)]
		.filter(type => h264.has(type))
		.flatMap(type => {
			const fmtp = fmtpOf(attributes, type)
			return Number(type) <= 127 &&
				/(?:^|;)\s*packetization-mode=1(?:;|$)/.test(fmtp) &&
				fmtpPattern.test(fmtp)
				? [{payloadType: Number(type), fmtp}]
				: []
		})
	const ranks = [/profile-level-id=42e0/i, /profile-level-id=42/i, /./]
	const chosen = ranks
		.map(rank => candidates.find(({fmtp}) => rank.test(fmtp)))
		.find(found => found)
	if (!chosen)
		throw new SluiceError(
			'not_acceptable',
			'the offer has no H.264 with packetization-mode=1, and that is what is sent'
		)
	return chosen
}

function fmtpOf(attributes: readonly string[], payloadType: string): string {
	return (
		attributes
			.find(line => line.startsWith(`fmtp:${payloadType} `))
			?.slice(`fmtp:${payloadType} `.length) ?? ''
	)
}
