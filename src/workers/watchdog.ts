import {type ChildProcess, spawn} from 'node:child_process'
import {Socket} from 'node:net'
import process from 'node:process'
import type {Writable} from 'node:stream'

/** For how long a worker may end by itself when the server is gone: it stops its pipeline, so that the camera hears of it. */
const graceSeconds = 1

/**
 * Reads "+ 123" and "- 123" until its input ends, which it does with the server, however that ends. Then it kills what is
 * left, unless another program has that number by now. Signals to the whole group, a Ctrl-C say, are the server's affair.
 */
const script = `
trap '' HUP INT TERM
left=' '
while read -r change pid; do
	case $change in
		+) left="$left$pid " ;;
		-) left="\${left%% $pid *} \${left#* $pid }" ;;
	esac
done
[ "$left" = ' ' ] && exit
sleep ${graceSeconds}
for pid in $left; do
	grep -qs worker "/proc/$pid/cmdline" && kill -KILL "$pid"
done`

/**
 * Watches over the workers from outside: kills those that do not end when the server is killed outright. A worker notices
 * that by itself, unless its thread hangs in GStreamer. A thread for it in each worker would cost 9 MB; this is one small
 * shell for all of them, started with the first.
 */
export class Watchdog {
	#pids = new Set<number>()
	#shell: ChildProcess | undefined

	watch(pid: number): void {
		this.#pids.add(pid)
		if (this.#shell) this.#tell(`+ ${pid}`)
		else this.#start()
	}

	/** It has ended: its number may be another process's from now on. */
	forget(pid: number): void {
		if (this.#pids.delete(pid)) this.#tell(`- ${pid}`)
	}

	#start(): void {
		// Where there is no shell, workers are as they were without it. One that was killed is started again with the next worker.
		let shell: ChildProcess
		try {
			// Its name, sluice-watchdog, is for whoever lists processes. It needs no secret that this process's environment holds.
			shell = spawn('/bin/sh', ['-c', script, 'sluice-watchdog'], {
				stdio: ['pipe', 'ignore', 'ignore'],
				cwd: '/',
				env: {PATH: process.env['PATH'] ?? '/usr/bin:/bin'}
			})
		} catch {
			return
		}
		this.#shell = shell
		const gone = () => {
			if (this.#shell === shell) this.#shell = undefined
		}
		shell.on('error', gone).on('exit', gone)
		// It ends with this process, and does not keep it.
		shell.unref()
		if (shell.stdin) unref(shell.stdin.on('error', gone))
		for (const pid of this.#pids) this.#tell(`+ ${pid}`)
	}

	#tell(line: string): void {
		this.#shell?.stdin?.write(`${line}\n`)
	}
}

/** A child's pipe is a socket, which its type does not say. */
function unref(pipe: Writable): void {
	if (pipe instanceof Socket) pipe.unref()
}
