import {copyFile, mkdtemp} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import path from 'node:path'
import type {ExecutionContext} from 'ava'
import {type Camera, type Line, type Program, type Sluice, startSluice} from './processes.js'

/** Without variants: no checks of theirs among the workers, and no better one that follows the first. */
export async function plainTemplates(): Promise<string> {
	const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
	for (const name of ['jpeg.gst', 'h264.gst'])
		await copyFile(path.join('pipelines', name), path.join(directory, name))
	return directory
}

export async function startPlainSluice(
	t: ExecutionContext,
	flags: string[],
	env: NodeJS.ProcessEnv = {}
): Promise<Sluice> {
	// Several pipelines may start at a time, on a machine that has other tests to run.
	return startSluice(
		t,
		['--pipelines', await plainTemplates(), '--open-timeout', '60', ...flags],
		env
	)
}

/** How often a camera told of this event. */
export const count = ({lines}: Camera, event: string): number =>
	lines.filter(line => line['event'] === event).length

/** The lines of a server's log with this message. */
export const messages = ({lines}: Sluice, msg: string): Line[] =>
	lines.filter(line => line['msg'] === msg)

/** Sessions that the camera plays. It prints nothing for a client that never asked it to play. */
export const sessions = (camera: Camera): number =>
	count(camera, 'connected') - count(camera, 'closed')

export async function kill({child, exit}: Program): Promise<void> {
	child.kill('SIGKILL')
	await exit
}
