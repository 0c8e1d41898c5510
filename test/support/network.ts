import {mkdtemp, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import path from 'node:path'
import process from 'node:process'
import type {ExecutionContext} from 'ava'
import type {Browser} from 'playwright-core'
import {chromiumPath, launchBrowser} from './browser.js'
import {type Program, startProgram} from './processes.js'

/** A network in which nothing listens yet, so that every port is free, the documents' too. */
export interface Network {
	/** The command line that runs a program in it. */
	inside: (command: string, ...args: string[]) => [command: string, args: string[]]
	/** Starts one there, and ends it with the test. */
	start: (command: string, args: string[], options?: Parameters<typeof startProgram>[3]) => Program
}

/** WebRTC wants an address beside loopback. */
const setUp =
	'ip link set lo up && ip link add near type veth peer name far && ip addr add 10.99.0.1/24 dev near && ip link set near up && ip link set far up'
const ready = 'echo \'{"event":"ready"}\' && exec cat'

/**
 * Makes a network of the test's own. It needs root, or user namespaces; where this machine has neither, the test is told so
 * and gets nothing.
 *
 * @param mounts a shell's commands that change what is mounted, for the programs in this network only
 */
export async function ownNetwork(
	t: ExecutionContext,
	mounts?: string
): Promise<Network | undefined> {
	const root = process.getuid?.() === 0
	const flags = [
		...(root ? [] : ['--map-root-user']),
		'--net',
		...(mounts === undefined ? [] : ['--mount'])
	]
	const holder = startProgram(t, 'unshare', [
		...flags,
		'sh',
		'-ec',
		[setUp, mounts ?? ':', ready].join('\n')
	])
	try {
		await holder.line(line => line['event'] === 'ready')
	} catch (error) {
		const {message} = error as Error
		t.log(`not run: this machine makes no namespaces of its own (${message})`)
		t.regex(message, /unshare: |not permitted|mount: /)
		return undefined
	}
	const enter = [
		`--target=${holder.pid}`,
		...(root ? [] : ['--user', '--preserve-credentials']),
		'--net',
		...(mounts === undefined ? [] : ['--mount'])
	]
	// What is mounted over this directory is found by its path alone.
	const here = mounts === undefined ? [] : ['sh', '-c', 'cd "$0" && exec "$@"', process.cwd()]
	const inside: Network['inside'] = (command, ...args) => [
		'nsenter',
		[...enter, ...here, command, ...args]
	]
	return {
		inside,
		start: (command, args, options) => startProgram(t, ...inside(command, ...args), options)
	}
}

/** As a shell reads it back. */
const quoted = (word: string) => `'${word.replaceAll("'", "'\\''")}'`

/** A browser in that network; it is closed with the test. */
export async function launchBrowserIn(t: ExecutionContext, {inside}: Network): Promise<Browser> {
	const program = path.join(await mkdtemp(path.join(tmpdir(), 'sluice-network-')), 'chromium')
	const [command, args] = inside(chromiumPath)
	await writeFile(program, `#!/bin/sh\nexec ${[command, ...args].map(quoted).join(' ')} "$@"\n`, {
		mode: 0o700
	})
	const browser = await launchBrowser(['--autoplay-policy=no-user-gesture-required'], program)
	t.teardown(async () => browser.close())
	return browser
}
