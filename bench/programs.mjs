/** The programs that a run starts: their lines, and their certain end. */
import {spawn} from 'node:child_process'
import {once} from 'node:events'
import readline from 'node:readline'
import {setImmediate} from 'node:timers'
import {setTimeout as pause} from 'node:timers/promises'

/** Enough of a program's output to wait for a line and to explain a failure; a log may be endless. */
const MAX_LINES = 500

const running = new Set()

/**
 * Starts a program in a process group of its own, so that whatever it starts ends with it, and Ctrl-C
 * in a terminal reaches only us. The kernel kills it when we die, whatever we die of.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {{json?: 'stdout' | 'stderr', binary?: boolean, within?: number, onLine?: (line: object) => void}} [options] `json`: where it prints JSON lines; `binary`: standard output holds no lines, and whoever asked for it reads it; `within`: it is in the network of this process
 */
export function startProgram(
	command,
	args,
	{json = 'stdout', binary = false, within, onLine = () => {}} = {}
) {
	const network = within === undefined ? [] : ['nsenter', `--net=/proc/${within}/ns/net`, '--']
	const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...network, command, ...args], {
		stdio: ['pipe', 'pipe', 'pipe'],
		detached: true
	})
	running.add(child)
	const exit = once(child, 'exit').finally(() => running.delete(child))
	// A program that ends while we write to it is reported by its end, not by the broken pipe.
	child.stdin.on('error', () => {})
	const lines = []
	const text = []
	const waiting = new Set()
	for (const name of binary ? ['stderr'] : ['stdout', 'stderr']) {
		readline.createInterface({input: child[name]}).on('line', line => {
			const kept = name === json && line.startsWith('{') ? lines : text
			kept.push(kept === lines ? JSON.parse(line) : line)
			if (kept.length > MAX_LINES) kept.shift()
			if (kept === lines) onLine(lines.at(-1))
			for (const check of waiting) check()
		})
	}

	/** Resolves with the first JSON line kept that `matches`, printed already or not. */
	const line = async (matches, timeoutMs = 20_000) =>
		new Promise((resolve, reject) => {
			const settle = act => {
				clearTimeout(timer)
				waiting.delete(check)
				act()
			}
			const fail = why => {
				if (waiting.has(check))
					settle(() => {
						reject(
							new Error(
								`${command} ${args.join(' ')} ${why}; it printed ${JSON.stringify(lines.slice(-5))} ${text.slice(-20).join('\n')}`
							)
						)
					})
			}
			const check = () => {
				const found = lines.find(candidate => matches(candidate))
				if (found)
					settle(() => {
						resolve(found)
					})
			}
			const timer = setTimeout(() => {
				fail(`printed no such line within ${timeoutMs} ms`)
			}, timeoutMs)
			waiting.add(check)
			child.once('error', error => {
				fail(error.message)
			})
			// Readline gives the last lines after the pipe has closed.
			child.once('close', () =>
				setImmediate(() => {
					if (waiting.has(check)) check()
					fail('ended too early')
				})
			)
			check()
		})

	/** Ends it: `signal` first, SIGKILL for all its group when it has not ended in time. */
	const stop = async (signal = 'SIGTERM', timeoutMs = 5000) => {
		if (running.has(child)) {
			signalTo(child.pid, signal)
			await Promise.race([exit, pause(timeoutMs, undefined, {ref: false})])
		}
		signalTo(-child.pid, 'SIGKILL')
		await exit
	}

	return {child, pid: child.pid, lines, text, line, exit, stop, ended: () => !running.has(child)}
}

/** Kills every program that still runs, and all that those started. */
export function killPrograms() {
	for (const child of running) signalTo(-child.pid, 'SIGKILL')
}

function signalTo(pid, signal) {
	try {
		process.kill(pid, signal)
	} catch (error) {
		// Gone already is what we want.
		if (error.code !== 'ESRCH') throw error
	}
}
