import {existsSync, readFileSync} from 'node:fs'
import {appendFile, mkdtemp} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import path from 'node:path'
import type {ExecutionContext} from 'ava'
import {pino} from 'pino'
import {CameraMemory} from '../../dist/cameras/camera-memory.js'
import {parseCameraSource} from '../../dist/cameras/camera-address.js'
import type {SluiceError} from '../../dist/base/errors.js'
import type {PlaybackContext} from '../../dist/streams/playback.js'
import type {Frame, Subscriber} from '../../dist/streams/frame.js'
import type {Stream} from '../../dist/streams/stream.js'
import type {StreamRequest} from '../../dist/streams/stream-request.js'
import {Streams} from '../../dist/streams/streams.js'
import {WorkerPool} from '../../dist/pipeline/worker-pool.js'
import type {Line} from './processes.js'
import {until} from './viewer.js'

// Streams by themselves, whose workers follow a script instead of a camera: see test/support/workers/scripted.mjs.

/** What one worker does. */
export interface Attempt {
	/** A letter for each frame, K for a key frame, … for key frames without end; at | it waits for go(). */
	frames?: string
	/** Of each frame. */
	bytes?: number
	codec?: string | string[]
	/** What happens behind the frames; otherwise it is silent. */
	end?: 'eos' | 'refused' | 'unauthorized' | 'broken' | 'crash'
	/** Only SIGKILL ends it. */
	deaf?: boolean
}

export interface Script {
	request: StreamRequest
	/** What its workers have noted. */
	notes: () => Line[]
	/** Lets the worker that follows this attempt pass its next |, if it has come there or not. */
	go: (attempt: number) => Promise<void>
}

/** A request whose first worker follows the first of the attempts, and so on. */
export async function script(
	attempts: Attempt[],
	facts: Partial<StreamRequest> = {}
): Promise<Script> {
	const file = path.join(await mkdtemp(path.join(tmpdir(), 'sluice-')), 'notes')
	const launch = JSON.stringify({file, attempts})
	const source = parseCameraSource('rtsp://127.0.0.1:1/')
	const plain = {template: 'jpeg', launch, rank: 0, codecs: undefined}
	return {
		request: {source, plain, variants: [], images: true, adaptive: [], key: launch, ...facts},
		notes: () => {
			if (!existsSync(file)) return []
			return readFileSync(file, 'utf8')
				.trim()
				.split('\n')
				.map(line => JSON.parse(line) as Line)
		},
		go: async attempt => appendFile(`${file}.${attempt}`, 'x')
	}
}

/** The script's request with better variants, the first of them the best; each takes one codec. */
export function withVariants(
	plain: Script,
	variants: {template: string; script: Script; codec: string}[]
): Script {
	const choices = variants.map(({template, script: {request}, codec}, index) => ({
		template,
		launch: request.plain.launch,
		rank: 200 - index,
		codecs: [codec]
	}))
	return {...plain, request: {...plain.request, variants: choices}}
}

interface Limits {
	share?: boolean
	lingerMs?: number
	retryForMs?: number
	openTimeoutMs?: number
	maxPipelines?: number
	/** The product's own hook, called each time that a lost camera is to be tried again. */
	onRetry?: () => void
}

export interface ScriptedStreams {
	streams: Streams
	pool: WorkerPool
	/** May be changed: whoever is attached then has the new open timeout. */
	context: PlaybackContext
	/** The log. */
	lines: Line[]
	logged: (msg: string) => Line[]
	/** Resolves with the log line of this message, the first or another one, as soon as it is written. */
	line: (msg: string, number?: number) => Promise<Line>
	attach: (script: Script, watcher: Subscriber) => Stream
	/** The templates that did not start. */
	passedOver: string[]
}

export function startStreams(t: ExecutionContext, limits: Limits = {}): ScriptedStreams {
	const {
		share = false,
		lingerMs = 0,
		retryForMs = 20_000,
		openTimeoutMs = 30_000,
		maxPipelines = 8,
		onRetry
	} = limits
	const lines: Line[] = []
	const waiting = new Set<() => void>()
	const write = (text: string) => {
		lines.push(JSON.parse(text) as Line)
		for (const check of waiting) check()
	}
	const log = pino({level: 'debug'}, {write})
	const pool = new WorkerPool({path: 'test/support/workers/scripted.mjs', maxPipelines, log})
	const passedOver: string[] = []
	const onVariantFailed = (template: string) => {
		passedOver.push(template)
	}
	// A script that waits for its test is as silent as a camera that is lost.
	const frameTimeoutMs = 60_000
	const context: PlaybackContext = {
		pool,
		codecs: new CameraMemory(),
		ranges: new CameraMemory(),
		onVariantFailed,
		openTimeoutMs,
		frameTimeoutMs
	}
	const streams = new Streams({context, share, lingerMs, retryForMs, onRetry, log})
	t.teardown(async () => {
		await streams.close()
		await pool.close()
	})
	const logged = (msg: string) => lines.filter(line => line['msg'] === msg)
	const line = async (msg: string, number = 1) =>
		new Promise<Line>((resolve, reject) => {
			const timer = setTimeout(() => {
				reject(new Error(`no such line: ${msg}, ${number}`))
			}, 60_000)
			const check = () => {
				const found = logged(msg)[number - 1]
				if (!found) return
				clearTimeout(timer)
				waiting.delete(check)
				resolve(found)
			}
			waiting.add(check)
			check()
		})
	const attach = ({request}: Script, watcher: Subscriber) => streams.attach(request, watcher, log)
	return {streams, pool, context, lines, logged, line, attach, passedOver}
}

/** A subscriber that remembers. */
export class Watcher implements Subscriber {
	frames: Frame[] = []
	failures: SluiceError[] = []

	onFrame(frame: Frame): void {
		this.frames.push(frame)
	}

	onFailure(error: SluiceError): void {
		this.failures.push(error)
	}

	/** Which frames they were: "1.0" is the first of the second worker. */
	get names(): string[] {
		return this.frames.map(nameOf)
	}

	async got(count: number): Promise<void> {
		await until(() => this.frames.length >= count, 60_000, `${count} frames`)
	}

	async failed(): Promise<SluiceError> {
		await until(() => this.failures.length > 0, 60_000, 'the failure')
		const [error] = this.failures
		if (!error) throw new Error('no failure')
		return error
	}
}

export function nameOf({data}: Frame): string {
	const {attempt, index} = JSON.parse(Buffer.from(data).toString()) as {
		attempt: number
		index: number
	}
	return `${attempt}.${index}`
}
