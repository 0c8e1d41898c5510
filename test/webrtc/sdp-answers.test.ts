import test, {type ExecutionContext} from 'ava'
import {engineOffer, writeAnswer} from '../../dist/webrtc/sdp.js'
import {readOffer} from '../../dist/webrtc/sdp-offer.js'
import {chromiumOffer} from '../support/sdp-offers.js'

const engineAnswer = {
	ice: {ufrag: 'abcd', password: 'abcdefghijklmnopqrstuv'},
	fingerprint: 'sha-256 AA:BB',
	setup: 'active',
	candidates: ['candidate:1 1 UDP 2114977791 192.0.2.1 8555 typ host']
}
const answerTo = (offer: string) =>
	writeAnswer(readOffer(offer), engineAnswer, {ssrc: 7, sessionId: '7'})

/** Puts each value in the place of its key, and fails where there is none such: an offer that stays as it was would test nothing. */
function change(text: string, ...changes: [from: string | RegExp, to: string][]): string {
	let changed = text
	for (const [from, to] of changes) {
		const before = changed
		changed = before.replaceAll(typeof from === 'string' ? from : new RegExp(from, 'gm'), to)
		if (changed === before) throw new Error(`nothing to replace: ${String(from)}`)
	}
	return changed
}

const audio = chromiumOffer.slice(
	chromiumOffer.indexOf('m=audio'),
	chromiumOffer.indexOf('m=video')
)
const video = chromiumOffer.slice(chromiumOffer.indexOf('m=video'))
const application = [
	'm=application 9 UDP/DTLS/SCTP webrtc-datachannel',
	'c=IN IP4 0.0.0.0',
	...audio.split('\r\n').filter(line => /^a=(?:ice-|fingerprint|setup)/.test(line)),
	'a=mid:0',
	'a=sctp-port:5000',
	'a=max-message-size:262144',
	''
].join('\r\n')
const head = chromiumOffer.slice(0, chromiumOffer.indexOf('a=group:'))

/** An offer of these sections, with mids by their order, all of them in one BUNDLE group if nothing else is said. */
function offerOf(
	sections: string[],
	groups = [sections.map((_, index) => index).join(' ')]
): string {
	const named = sections.map((section, mid) => section.replace(/^a=mid:.*(?=\r$)/m, `a=mid:${mid}`))
	return [head, ...groups.map(mids => `a=group:BUNDLE ${mids}\r\n`), ...named].join('')
}

/** As a viewer makes it that needs BUNDLE: no port, and the transport's attributes in the first section alone, [RFC 9143 7.2]. */
const transportLines = /^a=(?:ice-|fingerprint|setup|rtcp-mux|candidate).*\r\n/
const bundleOnly = (section: string) =>
	change(
		section,
		[/^(m=\w+) 9/, '$1 0'],
		[transportLines, ''],
		[/^a=mid:.*/, '$&\r\na=bundle-only']
	)
const without = (section: string, pattern: RegExp) => change(section, [pattern, ''])
const sessionOnly = (offer: string) => {
	const lines = /^a=(?:fingerprint|setup|ice-ufrag|ice-pwd):.*\r\n/gm
	return without(offer, lines).replace('m=', `${[...new Set(audio.match(lines))].join('')}m=`)
}

interface AnsweredSection {
	head: string
	mid: string
	/** Whether a line begins so. */
	has: (line: string) => boolean
}

function sectionsOf(text: string): AnsweredSection[] {
	return text
		.split(/^m=/m)
		.slice(1)
		.map(section => {
			const lines = section.split('\r\n')
			return {
				head: lines[0] ?? '',
				mid: lines.find(line => line.startsWith('a=mid:'))?.slice(6) ?? '',
				has: start => lines.some(line => line.startsWith(start))
			}
		})
}

const groupOf = (text: string) => /^a=group:BUNDLE(.*)\r$/m.exec(text)?.[1]?.trim().split(' ') ?? []

/** What JSEP and BUNDLE demand of any answer, [RFC 9429 5.3.1] and [RFC 9143 7.3]. */
function conforms(t: ExecutionContext, offer: string, answer: string): void {
	const [offered, answered, group] = [sectionsOf(offer), sectionsOf(answer), groupOf(answer)]
	t.deepEqual(
		answered.map(({mid}) => mid),
		offered.map(({mid}) => mid),
		'the same sections in the same order'
	)
	for (const [index, {head: line, mid, has}] of answered.entries()) {
		const [kind, port, protocol, ...formats] = line.split(' ')
		const [offeredKind, , offeredProtocol, ...offeredFormats] =
			offered[index]?.head.split(' ') ?? []
		t.deepEqual([kind, protocol], [offeredKind, offeredProtocol])
		t.deepEqual(
			formats.filter(format => !offeredFormats.includes(format)),
			[],
			'no format that was not offered'
		)
		t.true(formats.length > 0)
		const accepted = port !== '0'
		if (group.length > 0)
			t.is(group.includes(mid), accepted, `${mid} is in the BUNDLE group where it is accepted`)
		if (!accepted) continue
		// Chromium demands them of the first section, and others of each.
		for (const name of [
			'a=ice-ufrag:abcd',
			'a=ice-pwd:',
			'a=fingerprint:sha-256 AA:BB',
			'a=setup:active'
		])
			t.true(has(name), `${mid} has ${name}`)
		t.is(
			has('a=candidate:'),
			group.length === 0 || group[0] === mid,
			'the first section has the candidates'
		)
		if (kind !== 'application') {
			t.true(has('a=rtcp-mux'))
			for (const format of formats) t.true(has(`a=rtpmap:${format} `))
		}
	}
	const offeredGroups = [...offer.matchAll(/^a=group:BUNDLE(.*)\r$/gm)].map(([, mids = '']) =>
		mids.trim().split(' ')
	)
	t.true(
		group.length === 0 || offeredGroups.some(mids => group.every(mid => mids.includes(mid))),
		'nothing is bundled that was not offered so'
	)
	t.is(answered.filter(({has}) => has('a=sendonly')).length, 1)
}

for (const [name, offer, group, answered] of [
	['audio first', offerOf([audio, video]), '0 1', ['audio 9 111', 'video 9 108']],
	['video first', offerOf([video, audio]), '0 1', ['video 9 108', 'audio 9 111']],
	['video alone', offerOf([video]), '0', ['video 9 108']],
	[
		'a data channel last',
		offerOf([audio, video, application]),
		'0 1',
		['audio 9 111', 'video 9 108', 'application 0 webrtc-datachannel']
	],
	[
		'a data channel first',
		offerOf([application, audio, video]),
		'0 1 2',
		['application 9 webrtc-datachannel', 'audio 9 111', 'video 9 108']
	],
	[
		'several audio sections',
		offerOf([audio, video, audio, audio]),
		'0 1 2 3',
		['audio 9 111', 'video 9 108', 'audio 9 111', 'audio 9 111']
	],
	['two videos', offerOf([video, video]), '0 1', ['video 9 108', 'video 9 96']],
	[
		'a video that is sent, and one that is asked for',
		offerOf([change(video, ['a=recvonly', 'a=sendonly']), video]),
		'0 1',
		['video 9 96', 'video 9 108']
	],
	[
		'a video without H.264 before one with it',
		offerOf([change(video, ['H264', 'H265']), video]),
		'0 1',
		['video 9 96', 'video 9 108']
	],
	[
		'sendrecv',
		offerOf([
			change(audio, ['a=recvonly', 'a=sendrecv']),
			change(video, ['a=recvonly', 'a=sendrecv'])
		]),
		'0 1',
		['audio 9 111', 'video 9 108']
	],
	[
		'no direction',
		offerOf([without(audio, /^a=recvonly\r\n/), without(video, /^a=recvonly\r\n/)]),
		'0 1',
		['audio 9 111', 'video 9 108']
	],
	[
		'the group in another order',
		offerOf([audio, video], ['1 0']),
		'1 0',
		['audio 9 111', 'video 9 108']
	],
	[
		'a group that names what is not there',
		offerOf([audio, video], ['x 0 0 1']),
		'0 1',
		['audio 9 111', 'video 9 108']
	],
	['no BUNDLE', offerOf([audio, video], []), '', ['audio 0 all', 'video 9 108']],
	[
		'a group without the video',
		offerOf([audio, video, audio], ['0 2']),
		'',
		['audio 0 all', 'video 9 108', 'audio 0 all']
	],
	[
		'two groups',
		offerOf([audio, video, audio, video], ['0 2', '1 3']),
		'1 3',
		['audio 0 all', 'video 9 108', 'audio 0 all', 'video 9 96']
	],
	['bundle-only video', offerOf([audio, bundleOnly(video)]), '0 1', ['audio 9 111', 'video 9 108']],
	['bundle-only audio', offerOf([video, bundleOnly(audio)]), '0 1', ['video 9 108', 'audio 9 111']],
	[
		'audio that is taken back',
		offerOf([change(audio, ['m=audio 9', 'm=audio 0']), video]),
		'1',
		['audio 0 all', 'video 9 108']
	],
	[
		'a first video that is taken back',
		offerOf([change(video, ['m=video 9', 'm=video 0']), video]),
		'1',
		['video 0 all', 'video 9 108']
	],
	[
		'kinds that nobody knows',
		offerOf([
			'm=x-whiteboard 9 UDP/DTLS/SCTP draw\r\na=mid:0\r\n',
			video,
			'm=text 9 UDP/TLS/RTP/SAVPF 99\r\na=mid:0\r\na=rtpmap:99 t140/1000\r\n'
		]),
		'1',
		['x-whiteboard 0 draw', 'video 9 108', 'text 0 99']
	],
	[
		'audio without DTLS',
		offerOf([change(audio, ['UDP/TLS/RTP/SAVPF', 'RTP/AVP']), video]),
		'1',
		['audio 0 all', 'video 9 108']
	],
	[
		'audio without rtcp-mux',
		offerOf([without(audio, /^a=rtcp-mux\r\n/), video]),
		'1',
		['audio 0 all', 'video 9 108']
	],
	[
		'audio without names of its formats',
		offerOf([without(audio, /^a=rtpmap:.*\r\n/), video]),
		'1',
		['audio 0 all', 'video 9 108']
	],
	[
		"audio with a payload type of the video's",
		offerOf([change(audio, [/\b111\b/, '108']), video]),
		'0 1',
		['audio 9 63', 'video 9 108']
	],
	[
		'attributes before the sections',
		sessionOnly(offerOf([audio, video])),
		'0 1',
		['audio 9 111', 'video 9 108']
	],
	['TCP', offerOf([change(video, ['UDP/TLS', 'TCP/TLS'])]), '0', ['video 9 108']]
] as [string, string, string, string[]][]) {
	test(`answer to: ${name}`, t => {
		const answer = answerTo(offer)
		conforms(t, offer, answer)
		t.is(groupOf(answer).join(' '), group)
		const all = audio.split('\r\n', 1)[0]?.split(' ').slice(3).join(' ')
		const heads = sectionsOf(answer).map(({head: line}) =>
			line.replace(/ \S+(?= \S+)(?<=^\S+ \d+ \S+)/, '')
		)
		const videoFormats = video.split('\r\n', 1)[0]?.split(' ').slice(3).join(' ')
		t.deepEqual(
			heads,
			answered.map(line =>
				line
					.replace('audio 0 all', `audio 0 ${all}`)
					.replace('video 0 all', `video 0 ${videoFormats}`)
			)
		)
		for (const line of answer.split('\r\n').slice(0, -1)) t.regex(line, /^[a-z]=[\u0020-\u007E]+$/)
		const engine = engineOffer(readOffer(offer))
		t.is(engine.match(/^m=/gm)?.length, 1, 'the library sees the video alone')
		t.regex(engine, /^m=video 9 UDP\/TLS\/RTP\/SAVPF 108\r$/m)
		t.regex(engine, /^a=ice-ufrag:NJxI\r$/m)
	})
}

test("the answer to Chromium's offer, as it is", t => {
	t.is(
		answerTo(chromiumOffer),
		[
			'v=0',
			'o=- 7 1 IN IP4 127.0.0.1',
			's=-',
			't=0 0',
			'a=group:BUNDLE 0 1',
			'a=msid-semantic:WMS *',
			'a=ice-options:trickle ice2',
			'm=audio 9 UDP/TLS/RTP/SAVPF 111',
			'c=IN IP4 0.0.0.0',
			'a=mid:0',
			'a=inactive',
			'a=rtcp-mux',
			'a=rtpmap:111 opus/48000/2',
			'a=setup:active',
			'a=ice-ufrag:abcd',
			'a=ice-pwd:abcdefghijklmnopqrstuv',
			'a=fingerprint:sha-256 AA:BB',
			'a=candidate:1 1 UDP 2114977791 192.0.2.1 8555 typ host',
			'a=end-of-candidates',
			'm=video 9 UDP/TLS/RTP/SAVPF 108',
			'c=IN IP4 0.0.0.0',
			'a=mid:1',
			'a=sendonly',
			'a=msid:sluice video',
			'a=rtcp-mux',
			'a=rtcp-mux-only',
			'a=rtcp-rsize',
			'a=extmap:5 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay',
			'a=rtpmap:108 H264/90000',
			'a=rtcp-fb:108 nack',
			'a=rtcp-fb:108 nack pli',
			'a=rtcp-fb:108 ccm fir',
			'a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f',
			'a=ssrc:7 cname:sluice',
			'a=setup:active',
			'a=ice-ufrag:abcd',
			'a=ice-pwd:abcdefghijklmnopqrstuv',
			'a=fingerprint:sha-256 AA:BB',
			''
		].join('\r\n')
	)
})

test("sections with transports of their own: what is bundled has the first one's, what is not its own", t => {
	const other = change(video, ['NJxI', 'oThr'], ['SW1kF8He', 'xxxxxxxx'], ['FD:5D', 'AB:CD'])
	const bundled = readOffer(offerOf([audio, other]))
	t.deepEqual(bundled.ice, {ufrag: 'NJxI', password: 'SW1kF8He+TH2opeElpCWzJXA'})
	t.true(bundled.fingerprint.startsWith('sha-256 FD:5D'))
	const alone = readOffer(offerOf([audio, other], []))
	t.deepEqual(alone.ice, {ufrag: 'oThr', password: 'xxxxxxxx+TH2opeElpCWzJXA'})
	t.true(alone.fingerprint.startsWith('sha-256 AB:CD'))
	// Client libraries send the first that they find in their offer, whatever is bundled.
	t.deepEqual(alone.ufrags, ['NJxI', 'oThr'])
})

test('nothing of a hostile audio section is in the answer', t => {
	for (const [from, to] of [
		['opus/48000/2', 'opus/48000/2 evil'],
		['opus/48000/2', 'evil\u007F/48000'],
		['opus/48000/2', `${'evil'.repeat(20)}/48000`],
		['opus/48000/2', 'evil/48000/2/3'],
		['a=rtpmap:111 ', 'a=rtpmap:111evil '],
		['a=fmtp:111 minptime=10', 'a=fmtp:111 evil=10'],
		['a=rtcp-fb:111 transport-cc', 'a=rtcp-fb:111 evil'],
		['a=extmap:1 urn:', 'a=extmap:1 evil:']
	] as const) {
		let answer: string
		try {
			answer = answerTo(offerOf([change(audio, [from, to]), video]))
		} catch (error) {
			t.regex(String(error), /bad_request/)
			continue
		}
		t.notRegex(answer, /evil/, to)
		t.regex(answer, /^m=audio 9 UDP\/TLS\/RTP\/SAVPF (?:111|63)\r$/m)
	}
})
