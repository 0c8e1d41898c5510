import test from 'ava'
import {SluiceError} from '../../dist/base/errors.js'
import {Budget} from '../../dist/base/rate-limit.js'
import {asksForKeyFrame, packetsAskedFor} from '../../dist/webrtc/rtcp.js'
import {engineOffer, hostCandidate, readFragment} from '../../dist/webrtc/sdp.js'
import {readOffer} from '../../dist/webrtc/sdp-offer.js'
import {chromiumOffer} from '../support/sdp-offers.js'

const pick = (text: string, from: string | RegExp, to: string) => {
	const changed = text.replace(from, to)
	if (changed === text) throw new Error(`nothing to replace: ${String(from)}`)
	return changed
}

test("Chromium's offer: constrained baseline in packetization mode 1, by the credentials of its transport", t => {
	const offer = readOffer(chromiumOffer)
	t.is(offer.mid, '1')
	t.is(offer.payloadType, 108)
	t.is(offer.fmtp, 'level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f')
	t.deepEqual(offer.ice, {ufrag: 'NJxI', password: 'SW1kF8He+TH2opeElpCWzJXA'})
	t.is(offer.setup, 'actpass')
	t.deepEqual(
		offer.sections.map(({kind}) => kind),
		['audio', 'video']
	)
	t.is(offer.playoutDelayId, 5)
})

test('the library gets the video section alone, without candidates and without what it need not know', t => {
	const text = engineOffer(readOffer(chromiumOffer))
	t.notRegex(text, /candidate|audio|extmap|rtx|VP8/)
	t.regex(text, /m=video 9 UDP\/TLS\/RTP\/SAVPF 108\r\n/)
	t.regex(text, /a=ice-ufrag:NJxI\r\n/)
})

for (const [name, change, code] of [
	['nothing', () => '', 'bad_request'],
	['no SDP', () => '{"sdp":"v=0"}', 'bad_request'],
	['a line that is none', (offer: string) => `${offer}hello\r\n`, 'bad_request'],
	['a control character', (offer: string) => `${offer}a=x\u0000y\r\n`, 'bad_request'],
	['another version', (offer: string) => pick(offer, 'v=0', 'v=1'), 'bad_request'],
	['no video', (offer: string) => offer.slice(0, offer.indexOf('m=video')), 'bad_request'],
	['no media at all', (offer: string) => offer.slice(0, offer.indexOf('m=audio')), 'bad_request'],
	[
		'a video that is taken back',
		(offer: string) => pick(offer, 'm=video 9', 'm=video 0'),
		'bad_request'
	],
	[
		'two videos, both sendonly',
		(offer: string) =>
			pick(
				offer + pick(offer.slice(offer.indexOf('m=video')), 'a=mid:1', 'a=mid:2'),
				'a=recvonly',
				'a=inactive'
			).replaceAll('a=recvonly', 'a=sendonly'),
		'bad_request'
	],
	['the same mid twice', (offer: string) => pick(offer, 'a=mid:1', 'a=mid:0'), 'bad_request'],
	[
		'ten media sections',
		(offer: string) =>
			offer +
			Array.from({length: 8}, (_, index) =>
				pick(
					offer.slice(offer.indexOf('m=audio'), offer.indexOf('m=video')),
					'a=mid:0',
					`a=mid:x${index}`
				)
			).join(''),
		'bad_request'
	],
	['sendonly', (offer: string) => offer.replaceAll('a=recvonly', 'a=sendonly'), 'bad_request'],
	[
		'no DTLS',
		(offer: string) => pick(offer, 'm=video 9 UDP/TLS/RTP/SAVPF', 'm=video 9 RTP/AVP'),
		'bad_request'
	],
	[
		'no fingerprint',
		(offer: string) => offer.replaceAll(/a=fingerprint.*\r\n/g, ''),
		'bad_request'
	],
	[
		'a hostile fingerprint',
		(offer: string) =>
			offer.replaceAll(/a=fingerprint.*/g, `a=fingerprint:sha-256 ${'AA:'.repeat(5000)}`),
		'bad_request'
	],
	[
		'a hostile ufrag',
		(offer: string) => offer.replaceAll(/a=ice-ufrag.*/g, 'a=ice-ufrag:%n%n%n'),
		'bad_request'
	],
	['no ICE password', (offer: string) => offer.replaceAll(/a=ice-pwd.*\r\n/g, ''), 'bad_request'],
	['no rtcp-mux', (offer: string) => offer.replaceAll(/a=rtcp-mux.*\r\n/g, ''), 'bad_request'],
	['too many lines', (offer: string) => offer + 'a=x\r\n'.repeat(3000), 'bad_request'],
	['no H.264', (offer: string) => offer.replaceAll('H264/90000', 'H266/90000'), 'not_acceptable'],
	[
		'packetization mode 0 only',
		(offer: string) => offer.replaceAll('packetization-mode=1', 'packetization-mode=0'),
		'not_acceptable'
	],
	[
		'a payload type that is not offered',
		(offer: string) =>
			pick(offer, ' 108 ', ' ').replaceAll(/a=fmtp:(?!108)\d+ .*packetization-mode=1.*\r\n/g, ''),
		'not_acceptable'
	]
] as [string, (offer: string) => string, string][]) {
	test(`refused: ${name}`, t => {
		const error = t.throws(() => readOffer(change(chromiumOffer)), {instanceOf: SluiceError})
		t.is(error.code, code as typeof error.code)
		t.true(error.detail.length < 200)
	})
}

test('an offer that is cut off anywhere is read, or refused with a SluiceError', t => {
	let refused = 0
	for (let length = 0; length < chromiumOffer.length; length += 7) {
		try {
			readOffer(chromiumOffer.slice(0, length))
		} catch (error) {
			t.true(error instanceof SluiceError, `${length}: ${String(error)}`)
			refused++
		}
	}
	t.true(refused > 10)
})

test('an offer of line breaks is refused', t => {
	const error = t.throws(() => readOffer(`${'\n'.repeat(65_000)}x`), {instanceOf: SluiceError})
	t.is(error.code, 'bad_request')
})

test('bytes at random places change nothing of that', t => {
	let seed = 1
	const random = (below: number) => {
		seed = (seed * 48_271) % 2_147_483_647
		return seed % below
	}
	for (let round = 0; round < 2000; round++) {
		const at = random(chromiumOffer.length)
		const text =
			chromiumOffer.slice(0, at) +
			String.fromCharCode(random(256)) +
			chromiumOffer.slice(at + random(20))
		try {
			t.notRegex(engineOffer(readOffer(text)), /[^\r\n\u0020-\u007E]/)
		} catch (error) {
			t.true(error instanceof SluiceError, String(error))
		}
	}
})

test('fragments of trickle ICE', t => {
	const candidate =
		'candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1'
	const fragment = readFragment(
		`a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=${candidate}\r\na=end-of-candidates\r\n`
	)
	t.deepEqual(fragment, {
		ice: {ufrag: 'EsAw', password: 'P2uYro0UCOQ4zxjKXaWCBui1'},
		candidates: [candidate]
	})
	t.deepEqual(readFragment('a=end-of-candidates'), {ice: undefined, candidates: []})
	for (const text of [
		'',
		'hello',
		'a=mid:0',
		'a=ice-ufrag:EsAw',
		'a=candidate:1 1 udp 1 x;rm 1 typ host',
		`a=${candidate}\n`.repeat(33)
	])
		t.throws(() => readFragment(text), {instanceOf: SluiceError}, text.slice(0, 40))
})

test('a candidate of our own is one that browsers take', t => {
	t.is(
		hostCandidate('203.0.113.5', 8555, 0),
		'candidate:h0 1 UDP 2114185471 203.0.113.5 8555 typ host'
	)
})

test('PLI and FIR are found in compound RTCP, and nothing else is', t => {
	const report = [0x81, 201, 0, 7, ...Array.from({length: 28}, () => 0)]
	const pli = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]
	const fir = [0x84, 206, 0, 4, ...Array.from({length: 16}, () => 0)]
	const remb = [0x8f, 206, 0, 4, ...Array.from({length: 16}, () => 0)]
	const asks = (...bytes: number[]) => asksForKeyFrame(Uint8Array.from(bytes))
	t.true(asks(...pli))
	t.true(asks(...report, ...pli))
	t.true(asks(...report, ...fir))
	t.false(asks(...report, ...remb))
	t.false(asks())
	t.false(asks(0x81, 206))
	t.false(asks(0x01, 206, 0, 2))
	t.false(asks(0x81, 201, 0xff, 0xff, ...pli))
})

test('NACK: the packets that are asked for again are counted, whatever the bytes', t => {
	const nack = (...entries: number[]) => [
		0x81,
		205,
		0,
		2 + entries.length / 4,
		0,
		0,
		0,
		1,
		0,
		0,
		0,
		2,
		...entries
	]
	const asked = (...bytes: number[]) => packetsAskedFor(Uint8Array.from(bytes))
	t.is(asked(...nack(0, 7, 0, 0)), 1)
	t.is(asked(...nack(0, 7, 0, 0b101)), 3)
	t.is(asked(...nack(0, 7, 0xff, 0xff, 0, 99, 0, 1), ...nack(0, 7, 0, 0)), 20)
	t.is(asked(0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2), 0, 'PLI')
	t.is(
		asked(0x81, 205, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 2, 0, 7, 0xff, 0xff, 0),
		17,
		'a length behind the end'
	)
	t.is(asked(0x81, 205), 0)
})

test('a budget is used up at once, and comes back at its rate', t => {
	const budget = new Budget(100, 10)
	t.true(budget.take(60))
	t.true(budget.take(40))
	t.false(budget.take(1))
})
