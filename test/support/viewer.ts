import {setTimeout as delay} from 'node:timers/promises'
import type {ExecutionContext} from 'ava'
import {type ClientOptions, WebSocket} from 'ws'
import {childrenOf, type Sluice} from './processes.js'

/** What a viewer of the tests' own has received so far. */
export interface TestViewer {
	socket: WebSocket
	frames: Buffer[]
	texts: string[]
	/** Resolves when `count` frames have come in all; rejects when the connection closes first, or nothing comes for `timeoutMs`. */
	received: (count: number, timeoutMs?: number) => Promise<void>
	/** Resolves with the close code, its reason, and the error message that came before it, if any. */
	closed: Promise<{
		code: number
		reason: string
		error: Record<string, string> | undefined
		afterMs: number
	}>
}

/** Opens a WebSocket as a plain client does, and closes it with the test. `keep` bounds how many frames are kept; the rest is for `ws`. */
export function view(
	t: ExecutionContext,
	url: string,
	{keep = 1000, ...options}: {keep?: number} & ClientOptions = {}
): TestViewer {
	const openedMs = performance.now()
	const socket = new WebSocket(url, options)
	t.teardown(() => {
		socket.terminate()
	})
	const frames: Buffer[] = []
	const texts: string[] = []
	let count = 0
	socket.on('message', (data, isBinary) => {
		if (!isBinary) texts.push((data as Buffer).toString())
		else if (++count <= keep) frames.push(data as Buffer)
	})
	// Every error is followed by close, which says more.
	socket.on('error', () => undefined)
	const closed: TestViewer['closed'] = new Promise(resolve => {
		socket.once('close', (code, reason) => {
			const text = texts.at(-1)
			resolve({
				code,
				reason: String(reason),
				error: text === undefined ? undefined : (JSON.parse(text) as Record<string, string>),
				afterMs: performance.now() - openedMs
			})
		})
	})
	const received = async (wanted: number, timeoutMs = 60_000) =>
		new Promise<void>((resolve, reject) => {
			const settle = (act: () => void) => {
				clearTimeout(timer)
				socket.off('message', check)
				act()
			}
			const fail = (why: string) => {
				settle(() => {
					reject(new Error(`${count} of ${wanted} frames: ${why}`))
				})
			}
			const timer = setTimeout(() => {
				fail(`nothing for ${timeoutMs} ms`)
			}, timeoutMs)
			const check = () => {
				timer.refresh()
				if (count >= wanted) settle(resolve)
			}
			socket.on('message', check)
			check()
			void closed.then(end => {
				fail(`closed: ${JSON.stringify(end)}`)
			})
		})
	return {socket, frames, texts, received, closed}
}

/** Polls for what no event tells, a process that ended say. */
export async function until(
	condition: () => boolean | Promise<boolean>,
	timeoutMs: number,
	what: string
): Promise<void> {
	const deadline = performance.now() + timeoutMs
	while (!(await condition())) {
		if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`)
		await delay(20)
	}
}

/**
 * Waits until no pipeline runs and the spare worker is there, with all that the server keeps open for it.
 * To count the children does not do: where one is left, it may be the last pipeline's, whose descriptors the server has closed already.
 */
export async function onlySpare({http, pid}: Sluice, timeoutMs: number): Promise<void> {
	await until(
		async () => {
			if (childrenOf(pid).length !== 1) return false
			// A connection that is kept would be one descriptor more.
			const text = await (await fetch(`${http}/metrics`, {headers: {connection: 'close'}})).text()
			return (
				text.includes('sluice_workers{state="running"} 0\n') &&
				text.includes('sluice_workers{state="spare"} 1\n')
			)
		},
		timeoutMs,
		'only the spare worker is left'
	)
}
