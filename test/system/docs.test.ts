import {once} from 'node:events'
import {spawnSync} from 'node:child_process'
import {readFileSync} from 'node:fs'
import process from 'node:process'
import test, {type ExecutionContext} from 'ava'
import {allFences, commandsOf} from '../support/fences.js'
import {type Network, ownNetwork} from '../support/network.js'
import type {Program} from '../support/processes.js'
import {until} from '../support/viewer.js'

/** What the commands write here, or into the temporary directory, stays in memory, and is seen by them alone. */
const overlays = `
	mount -t tmpfs tmpfs /mnt
	for directory in /tmp "$PWD"; do
		layer=$(mktemp -d -p /mnt) && mkdir $layer/upper $layer/work
		mount -t overlay overlay -o lowerdir="$directory",upperdir=$layer/upper,workdir=$layer/work "$directory"
		cd "$directory"
	done
`
/** Not everybody has them, and the project does not need them. */
const extras = ['curl', 'jq', 'ffmpeg', 'vlc']
/** `npm start` compiles first. */
const commandTimeoutMs = 300_000

const missing = (command: string) =>
	extras.filter(
		name => new RegExp(`(^|\\s)${name}\\s`).test(command) && spawnSync('which', [name]).status !== 0
	)

/** Runs commands one after the other. One that stays, a camera or a server, is left to itself once it is ready. */
class Terminals {
	#t: ExecutionContext
	#network: Network
	/** By their ports. */
	#staying = new Map<string, Program>()

	constructor(t: ExecutionContext, network: Network) {
		this.#t = t
		this.#network = network
		t.teardown(async () =>
			Promise.all([...this.#staying.values()].map(async program => end(program)))
		)
	}

	/** Resolves with what it printed, when it has ended well or is ready. */
	async run(command: string, at: string): Promise<string[]> {
		const lacking = missing(command)
		if (lacking.length > 0) {
			this.#t.log(`not run, for ${lacking.join(', ')} is not here: ${at}: ${command}`)
			return []
		}
		const [, port = '8000'] = /--port (\d+)/.exec(command) ?? []
		const stays = / scripts\/camera\.py |(^| )npm start|main\.js(?! check)/.test(command)
		const before = this.#staying.get(port)
		if (stays && before) await end(before)
		// A session of its own, for a command may be several processes.
		const program = this.#network.start('setsid', ['bash', '-c', command], {stream: 'stderr'})
		if (stays) this.#staying.set(port, program)
		let code: number | null | undefined
		void program.exit.then(exit => {
			code = exit.code
		})
		const ready = () =>
			program.lines.some(line => line['msg'] === 'listening') ||
			program.text.some(line => /"event": ?"ready"/.test(line))
		await until(() => code !== undefined || ready(), commandTimeoutMs, `${at}: ${command}`)
		const told = () =>
			`${at}: ${command}\n${program.text.join('\n')}\n${JSON.stringify(program.lines)}`
		if (stays) {
			this.#t.true(ready(), told())
		} else {
			await closed(program)
			this.#t.is(code, 0, told())
		}
		return program.text
	}
}

/** Until nobody can write to its output any more, so until all of its processes have ended. */
async function closed({child}: Program): Promise<void> {
	if (!child.stdout?.closed || !child.stderr?.closed) await once(child, 'close')
}

async function end(program: Program): Promise<void> {
	try {
		process.kill(-program.pid, 'SIGTERM')
	} catch {
		return
	}
	await closed(program)
}

const shape = (line: string) => line.replace(/\d+(?:\.\d+)?/g, 'N')

const files = [
	...new Set(
		allFences()
			.filter(({language, tag}) => tag === 'run' && ['sh', 'console'].includes(language))
			.map(({file}) => file)
	)
]

for (const file of files) {
	test.serial(`the commands of ${file} do what it says`, async t => {
		t.timeout(900_000)
		const network = await ownNetwork(t, overlays)
		if (!network) return
		const terminals = new Terminals(t, network)
		await terminals.run(
			'sleep infinity | /usr/bin/python3 scripts/camera.py --port 8554',
			'the camera of npm run demo'
		)
		for (const fence of allFences().filter(candidate => candidate.file === file)) {
			// The document says under which name to save it.
			if (fence.language === 'yaml')
				await terminals.run(`cat >sluice.yaml <<'END'\n${fence.text}\nEND`, fence.at)
			if (fence.tag !== 'run' || !['sh', 'console'].includes(fence.language)) continue
			for (const {command, output} of commandsOf(fence)) {
				const told = await terminals.run(command, fence.at)
				if (output.length > 0) t.deepEqual(told.map(shape), output.map(shape), fence.at)
			}
		}
		if (file !== 'README.md') return
		await terminals.run('node dist/cli/main.js', 'a server with no option')
		for (const command of ofTable(readFileSync(file, 'utf8')))
			await terminals.run(command, 'README.md, what plays /stream.mjpeg')
	})
}

/** The commands in the table of programs that play pictures over HTTP. GStreamer's needs a screen, and would not end. */
function ofTable(readme: string): string[] {
	const rows = [...readme.matchAll(/^\| (?:ffmpeg|VLC|GStreamer|curl)[^|]*\| `([^`]+)` \|$/gm)].map(
		([, command = '']) => command
	)
	return rows
		.filter(command => !command.startsWith('vlc'))
		.map(command => command.replace('autovideosink', 'fakesink num-buffers=10'))
}

test('the table of programs is there', t => {
	t.deepEqual(
		ofTable(readFileSync('README.md', 'utf8')).map(command => command.split(' ', 1)[0]),
		['ffmpeg', 'gst-launch-1.0', 'curl']
	)
})
