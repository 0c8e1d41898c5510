/** Viewers at the end of long, lossy and narrow links. */
import {setTimeout as pause} from 'node:timers/promises'
import {linkHost, startLink, whyNoLink} from '../link.mjs'
import {agesOf, rateOf} from '../sight.mjs'
import {chosenOf, withCamera, withServer} from '../serving.mjs'
import {nowMs, percentile} from '../statistics.mjs'
import {number, table} from '../table.mjs'
import {startViewers} from '../watch.mjs'

const LINKS = [
	{title: '20 ms', terms: {roundTripMs: 20}},
	{title: '80 ms', terms: {roundTripMs: 80}},
	{title: '200 ms', terms: {roundTripMs: 200}},
	{title: '20 ms, 1 % loss', terms: {roundTripMs: 20, lossPercent: 1}},
	{title: '80 ms, 1 % loss', terms: {roundTripMs: 80, lossPercent: 1}},
	{title: '20 ms, 2 MB/s', terms: {roundTripMs: 20, bytesPerSecond: 2e6}}
]
/** Until then TCP finds out how fast the link is. */
const SETTLE_SECONDS = 3

export const links = {
	id: 'links',
	title: 'Long, lossy and narrow links',
	about:
		"Server and viewer in networks of their own, between which a program carries IP packets ([link.py](../link.py)): it delays them by half of the round trip that is named, throws 1 % of them away in each direction where that is named, and carries 25 MB/s where no rate is named, with a queue of 100 ms. TCP at both ends is the kernel's. (The kernel's own `netem` does the same, where it is there; this does not need it, so that every machine measures alike.) The age is that of each picture when it is whole; a picture of 170 kB takes 7 ms on this link beside half the round trip.",

	/** @param {import('../serving.mjs').Run} run */
	async measure(run) {
		const seconds = run.settings.quick ? 3 : 7
		const impossible = await whyNoLink()
		if (impossible !== undefined) return {seconds, impossible, results: []}
		const results = []
		for (const {title, terms} of run.settings.quick
			? LINKS.filter((_, index) => index % 2 === 0)
			: LINKS) {
			for (const contender of chosenOf(run, 'sluice', ...(run.settings.quick ? [] : ['opencv']))) {
				run.say(`${title}: ${contender.title}`)
				results.push({
					link: title,
					terms,
					contender: contender.id,
					title: contender.title,
					...(await measureLink(run, contender, terms, seconds))
				})
			}
		}
		return {seconds, results}
	},

	tables({impossible, results}) {
		if (impossible !== undefined)
			return [
				`Not measured, for no link could be made here (it takes root and /dev/net/tun): ${impossible}`
			]
		return [
			table(
				[
					'link',
					'',
					'age, median, ms',
					'p95, ms',
					'most, ms',
					'last, ms',
					'frames a second',
					'first frame, ms'
				],
				results.map(({link, title, age, fps, firstFrameMs}) => [
					link,
					title,
					number(age.p50),
					number(age.p95),
					number(age.max),
					number(age.last),
					number(fps, 1),
					number(firstFrameMs)
				])
			)
		]
	},

	targets() {
		return []
	}
}

async function measureLink(run, contender, terms, seconds) {
	const link = await startLink(terms)
	try {
		return await withCamera({within: link.server}, camera =>
			withServer(contender, run, {host: linkHost, within: link.server}, async server => {
				const viewers = await startViewers(server.url(camera.url), {
					directory: run.directory,
					within: link.viewer
				})
				await pause(SETTLE_SECONDS * 1000)
				const window = {fromMs: nowMs(), toMs: nowMs() + seconds * 1000}
				await pause(seconds * 1000)
				const [seen] = await viewers.result()
				const ages = agesOf(seen, window.fromMs)
					.filter(({atMs}) => atMs >= 0 && atMs < seconds * 1000)
					.map(({ageMs}) => ageMs)
				return {
					age: {
						p50: percentile(ages, 0.5),
						p95: percentile(ages, 0.95),
						max: percentile(ages, 1),
						last: ages.at(-1)
					},
					fps: rateOf(seen.frames, window),
					firstFrameMs: viewers.firstFrameMs[0]
				}
			})
		)
	} finally {
		await link.stop()
	}
}
