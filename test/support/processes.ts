import {type ChildProcess, spawn, type StdioOptions} from 'node:child_process'
import {once} from 'node:events'
import {readdirSync, readFileSync} from 'node:fs'
import {cp, mkdtemp, readFile, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import path from 'node:path'
import process from 'node:process'
import readline from 'node:readline'
import type {ExecutionContext} from 'ava'

/** A JSON object that a program printed on a line of its own. */
export type Line = Record<string, unknown>

/** A program of the tests' own, and the JSON lines that it printed so far. */
export interface Program {
	child: ChildProcess
	pid: number
	lines: Line[]
	/** Resolves with the first line, printed already or not, that `matches`; rejects after `timeoutMs` or when the program ends. */
	line: (matches: (line: Line) => boolean, timeoutMs?: number) => Promise<Line>
	/** What it wrote that was not JSON. */
	text: string[]
	exit: Promise<{code: number | null; signal: NodeJS.Signals | null}>
}

/** Starts a program whose `stream` is made of JSON lines, and ends it with the test. */
export function startProgram(
	t: ExecutionContext,
	command: string,
	args: string[],
	{stream = 'stdout', env = {}}: {stream?: 'stdout' | 'stderr'; env?: NodeJS.ProcessEnv} = {}
): Program {
	const stdio: StdioOptions = ['pipe', 'pipe', 'pipe']
	const child = spawn(command, args, {stdio, env: {...process.env, ...env}})
	const exit = once(child, 'exit').then(([code, signal]) => ({
		code: code as number | null,
		signal: signal as NodeJS.Signals | null
	}))
	t.teardown(async () => {
		child.kill('SIGKILL')
		await exit
	})
	const lines: Line[] = []
	const text: string[] = []
	const waiting = new Set<() => void>()
	const wake = () => {
		for (const check of waiting) check()
	}
	for (const name of ['stdout', 'stderr'] as const) {
		readline.createInterface({input: child[name] as NodeJS.ReadableStream}).on('line', line => {
			if (name === stream && line.startsWith('{')) lines.push(JSON.parse(line) as Line)
			else text.push(line)
			wake()
		})
	}
	const line: Program['line'] = async (matches, timeoutMs = 60_000) =>
		new Promise((resolve, reject) => {
			const settle = (act: () => void) => {
				clearTimeout(timer)
				waiting.delete(check)
				act()
			}
			const fail = (why: string) => {
				settle(() => {
					reject(
						new Error(
							`${command} ${why} before the expected line; it printed ${JSON.stringify(lines.slice(-20))} ${text.slice(-20).join('\n')}`
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
				fail(`went ${timeoutMs} ms`)
			}, timeoutMs)
			waiting.add(check)
			// The pipes may still hold lines when the process has ended.
			child.once('close', () => {
				setImmediate(() => {
					check()
					if (waiting.has(check)) fail('ended')
				})
			})
			check()
		})
	return {child, pid: child.pid ?? -1, lines, line, text, exit}
}

export interface Camera extends Program {
	port: number
	/** The URL of a mount of scripts/camera.py: `/h264`, `/h265`, `/mjpeg`, `/secret`, … */
	url: (path: string, credentials?: string) => string
}

/** Starts a real RTSP camera on a free port of 127.0.0.1; see scripts/camera.py for its flags and mounts. */
export async function startCamera(t: ExecutionContext, flags: string[] = []): Promise<Camera> {
	const program = startProgram(t, '/usr/bin/python3', [
		'scripts/camera.py',
		'--port',
		'0',
		...flags
	])
	const ready = await program.line(line => line['event'] === 'ready')
	const port = Number(ready['port'])
	return {
		...program,
		port,
		url: (path, credentials) =>
			`rtsp://${credentials === undefined ? '' : `${credentials}@`}127.0.0.1:${port}${path}`
	}
}

export interface Sluice extends Program {
	port: number
	/** `http://127.0.0.1:<port>` */
	http: string
	/** The address of `/ws/stream` with this query. */
	stream: (query: Record<string, string>) => string
}

/**
 * Starts the real server, `dist/cli/main.js`, on free ports of 127.0.0.1, TCP and UDP, or on those that `flags` name. Its `lines` are
 * its log. It waits for a first picture for a minute, because a slow machine may need longer than the usual ten seconds.
 */
export async function startSluice(
	t: ExecutionContext,
	flags: string[] = [],
	env: NodeJS.ProcessEnv = {}
): Promise<Sluice> {
	const program = startProgram(
		t,
		process.execPath,
		['dist/cli/main.js', '--host', '127.0.0.1', '--port', '0', '--webrtc-port', '0', ...flags],
		{stream: 'stderr', env: {SLUICE_OPEN_TIMEOUT: '60', ...env}}
	)
	const listening = await program.line(line => line['msg'] === 'listening')
	const port = Number(listening['port'])
	return {
		...program,
		port,
		http: `http://127.0.0.1:${port}`,
		stream: query => `ws://127.0.0.1:${port}/ws/stream?${new URLSearchParams(query).toString()}`
	}
}

/** Flags of a server with the usual templates that waits for a silent camera longer than any test does; GStreamer itself would give up after 5 s. */
export async function patient(): Promise<string[]> {
	const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
	await cp('pipelines', directory, {recursive: true})
	const template = await readFile('pipelines/jpeg.gst', 'utf8')
	await writeFile(
		path.join(directory, 'jpeg.gst'),
		template.replace('tcp-timeout=5000000', 'tcp-timeout=300000000')
	)
	return ['--open-timeout', '300', '--pipelines', directory]
}

/** The process ids of the workers of a server: of its children, but for the one that watches over them. */
export function childrenOf(pid: number): number[] {
	return allChildrenOf(pid).filter(child => !isWatchdog(child))
}

/** The process that kills what a server leaves behind; undefined before its first worker. */
export function watchdogOf(pid: number): number | undefined {
	return allChildrenOf(pid).find(isWatchdog)
}

export function isWatchdog(pid: number): boolean {
	try {
		return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('sluice-watchdog')
	} catch {
		return false
	}
}

function allChildrenOf(pid: number): number[] {
	return readdirSync('/proc')
		.filter(name => /^\d+$/.test(name))
		.map(Number)
		.filter(candidate => {
			try {
				// The parent is the second field behind the name, which may itself hold spaces and parentheses.
				return (
					Number(
						readFileSync(`/proc/${candidate}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[1]
					) === pid
				)
			} catch {
				return false
			}
		})
}

/** Whether a process has ended. One whose parent has died first may stay in the table until init looks after it. */
export function ended(pid: number): boolean {
	try {
		return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.startsWith('Z') ?? false
	} catch {
		return true
	}
}
