/** What reads the bytes and texts of strangers: does its time grow with their length, or with its square? */
import {writeFileSync} from 'node:fs'
import path from 'node:path'
import {BFrameFinder} from '../../dist/media/b-frames.js'
import {parseCaps} from '../../dist/media/caps.js'
import {readCommand} from '../../dist/config/config.js'
import {isKeyFrame, withLengths} from '../../dist/media/nal-units.js'
import {readOffer} from '../../dist/webrtc/sdp.js'
import {withoutPassword} from '../../player/address.js'
import {iceServersIn} from '../../player/modes/webrtc.js'
import {number, table} from '../table.mjs'

const BATCH_MS = 20
const BATCHES = 5
const LONGER = 4
const MOST_GROWTH = 8

const refused = act => {
	try {
		act()
	} catch {
		// That it refuses such a text is what tests look at.
	}
}
/** Lists of ten aliases, each of the one before: as deep as `levels`, and of so many values if all were written out: 10 to the power of it. */
const aliases = levels =>
	Array.from(
		{length: levels},
		(_, level) =>
			`x${level}: &x${level} [${level === 0 ? '1' : Array.from({length: 10}, () => `*x${level - 1}`).join(', ')}]`
	).join('\n')

/** `make` makes the input of a size, and of four times that; `read` reads it. */
const CASES = [
	{title: 'isKeyFrame, zeros', size: 4e6, make: size => Buffer.alloc(size), read: isKeyFrame},
	{
		title: 'withLengths, start codes',
		size: 4e6,
		make: size => Buffer.alloc(size, Buffer.from([0, 0, 1, 0x41])),
		read: withLengths
	},
	{title: 'withLengths, zeros', size: 4e6, make: size => Buffer.alloc(size), read: withLengths},
	{
		title: 'BFrameFinder, slices',
		size: 3e6,
		make: size =>
			Buffer.concat([
				Buffer.from([0, 0, 1, 0x65, 0x88, 0x84]),
				Buffer.alloc(size, Buffer.from([0, 0, 1, 0x65, 0x10, 0xc0]))
			]),
		read: unit => {
			new BFrameFinder('H264').add(unit)
		}
	},
	...[',a=<', ',a="', ',a="\\', ',a={', ',a=[', ',a=(', ',', '"'].map(part => ({
		title: `parseCaps, \`${part}\``,
		size: 20_000,
		make: size => 'x' + part.repeat(size / part.length),
		read: parseCaps
	})),
	{
		title: 'readOffer, line breaks',
		size: 16_000,
		make: size => '\n'.repeat(size) + 'x',
		read: text => {
			refused(() => readOffer(text))
		}
	},
	{
		title: 'readCommand, aliases of aliases in a file',
		size: 2,
		make: (levels, directory) => {
			const file = path.join(directory, `aliases-${levels}.yaml`)
			writeFileSync(file, `${aliases(levels)}\nport: *x${levels - 1}\n`)
			return file
		},
		read: file => {
			refused(() => readCommand(['--config', file], {}))
		}
	},
	...['_', '_pass', 'a.'].map(part => ({
		title: `withoutPassword, \`${part}\``,
		size: 50_000,
		make: size => `rtsp://cam/${part.repeat(size / part.length)}:x`,
		read: withoutPassword
	})),
	{
		title: 'iceServersIn, `, <stun:`',
		size: 60_000,
		make: size => ', <stun:'.repeat(size / 8),
		read: iceServersIn
	}
]

export const parsers = {
	id: 'parsers',
	title: 'Parsers, of what strangers send',
	about: `Functions that read a stranger's bytes or texts, each with an input that is made to keep it busy, and with one ${LONGER} times as long: CPU time, the best of ${BATCHES} batches of at least ${BATCH_MS} ms. Where it grows with the length, it is ${LONGER} times as long too; with the square of the length, ${LONGER ** 2} times. What is refused at once, or read in its beginning only, takes less.`,

	/** @param {import('../serving.mjs').Run} run */
	measure({directory, say}) {
		return {
			results: CASES.map(({title, size, make, read}) => {
				say(title)
				const [once, longer] = [make(size, directory), make(LONGER * size, directory)]
				const [ms, longerMs] = best([() => read(once), () => read(longer)])
				return {title, size, ms, growth: longerMs / ms}
			})
		}
	},

	tables({results}) {
		return [
			table(
				[
					'function, input',
					'size',
					'CPU time, ms',
					`time for ${LONGER} times the size, as a multiple`
				],
				results.map(({title, size, ms, growth}) => [
					title,
					number(size),
					number(ms, 3),
					number(growth, 2)
				])
			)
		]
	},

	targets({results}) {
		return [
			{
				title: `parsers: time for ${LONGER} times the size, the most of all, as a multiple`,
				unit: '',
				atMost: MOST_GROWTH,
				value: Math.max(...results.map(({growth}) => growth)),
				digits: 2
			}
		]
	}
}

/** The least time of each in ms; they take turns, so that both meet the same machine. */
function best(acts) {
	const least = acts.map(() => Infinity)
	for (const act of acts) act()
	for (let batch = 0; batch < BATCHES; batch++) {
		for (const [index, act] of acts.entries()) {
			const before = process.cpuUsage()
			let calls = 0
			let tookMs = 0
			while (tookMs < BATCH_MS) {
				act()
				calls++
				const {user, system} = process.cpuUsage(before)
				tookMs = (user + system) / 1000
			}
			least[index] = Math.min(least[index], tookMs / calls)
		}
	}
	return least
}
