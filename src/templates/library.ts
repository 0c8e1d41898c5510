import {type FSWatcher, watch} from 'node:fs'
import {stat} from 'node:fs/promises'
import {setTimeout as delay} from 'node:timers/promises'
import {CameraMemory, rememberMs} from '../cameras/camera-memory.js'
import type {CameraSource} from '../cameras/camera-address.js'
import {asSluiceError, SluiceError} from '../base/errors.js'
import {type HostCheck, HostChecker} from './host-check.js'
import {inOrder} from '../pipeline/launch-text.js'
import type {Logger} from '../base/log.js'
import {
	findingText,
	isVariant,
	listTemplates,
	parseTemplate,
	readText,
	type Template,
	templateFile
} from './template.js'
import type {PipelineWorker} from '../pipeline/messages.js'

/** Editors write a file in several steps; this long after the last of them it is looked at. */
const settleMs = 200
/** How long a viewer waits for what is found out of variants. It takes a second after the start, where there is no plug-in that hangs. */
const longestWaitMs = 3000

/** A template as `GET /pipelines` describes it. */
export interface TemplateDescription extends Omit<
	Template,
	'declaresOutput' | 'launch' | 'adaptiveAt'
> {
	/** Whether this host can run it. */
	available: boolean
	/** Why not: `no element "vah264dec"`. */
	unavailable?: string
	/** What is wrong with the file: `jpeg.gst:12:3: …`. Where a good version was read before, that one still serves. */
	error?: string
	/** Why it did not start when it was last chosen for its family; it is not chosen again for a while. */
	failed?: string
}

interface LibraryCheck extends HostCheck {
	/** Why nothing could be found out. */
	unknown?: string
}

interface Entry {
	/** Changes with the file. */
	stamp: string
	/** The last version that could be read, and, where it replaced another, that GStreamer could build. */
	good: Template | undefined
	problem: SluiceError | undefined
	check: Promise<LibraryCheck> | undefined
	/** The result of `check`, once it is there. */
	available: boolean | undefined
	/** For which cameras it did not start, and why. */
	failed: CameraMemory
	/** Of the camera that was the last. */
	lastFailure: {detail: string; untilMs: number} | undefined
}

/**
 * The templates of a folder, read again whenever their files change. A broken edit keeps the last good version serving.
 */
export class TemplateLibrary {
	#directory: string
	#spawn: () => PipelineWorker
	#log: Logger
	#entries = new Map<string, Entry>()
	#refreshing = new Map<string, Promise<Entry>>()
	#watcher: FSWatcher | undefined
	/** Of the folder when its list was last read. */
	#folder: string | undefined
	#looking: Promise<void> | undefined
	#settling: NodeJS.Timeout | undefined
	#checkers = new Set<HostChecker>()
	/** The check of the variants, which runs, or has ended. It never fails. */
	#checking: Promise<void> | undefined
	#closed = false

	/** @param spawn starts a worker for checks; the library ends it */
	constructor(directory: string, spawn: () => PipelineWorker, log: Logger) {
		this.#directory = directory
		this.#spawn = spawn
		this.#log = log
	}

	/**
	 * The variants of a family that this host can run, the best first. Whether it can is found out once, in the background.
	 * That is waited for, for a while: who comes right behind the server's start would have the plain variant for good.
	 */
	async variants(family: string, source: CameraSource): Promise<Template[]> {
		await this.#lookAtFolder()
		const undecided = [...this.#entries].some(
			([name, {available, good}]) => isVariant(name, family) && available === undefined && good
		)
		if (undecided && this.#checking)
			await Promise.race([this.#checking, delay(longestWaitMs, undefined, {ref: false})])
		const entries = [...this.#entries.entries()].filter(
			([name, {available, failed}]) =>
				isVariant(name, family) && available === true && failed.recall(source) === undefined
		)
		return entries.flatMap(([, {good}]) => good ?? []).sort((a, b) => b.rank - a.rank)
	}

	/** A folder that was replaced by another one is not watched any more. */
	async #lookAtFolder(): Promise<void> {
		this.#looking ??= (async () => {
			if ((await stampOf(this.#directory)) === this.#folder || this.#closed) return
			this.#watchFolder()
			await this.#refreshAll()
		})().finally(() => {
			this.#looking = undefined
		})
		await this.#looking
	}

	/** Passes a variant over for a while, for it did not start. Whether the host or the camera is to blame nobody knows, so that counts for this camera alone. */
	markFailed(name: string, source: CameraSource, detail: string): void {
		const entry = this.#entries.get(name)
		if (!entry) return
		// Many viewers may find out at the same time; one line in the log is enough.
		if (entry.failed.recall(source) === undefined)
			this.#log.warn(
				{template: name, camera: source.label, detail, minutes: rememberMs / 60_000},
				'variant failed to start, passed over'
			)
		entry.failed.learn(source, detail)
		entry.lastFailure = {detail, untilMs: performance.now() + rememberMs}
	}

	/** Reads every template, and from now on says in the log when one changes, breaks, comes or goes. */
	async watch(): Promise<void> {
		await this.#refreshAll()
		if (this.#entries.size === 0)
			this.#log.warn({directory: this.#directory}, 'no templates: the folder has no file *.gst')
		this.#watchFolder()
	}

	#watchFolder(): void {
		this.#watcher?.close()
		try {
			this.#watcher = watch(this.#directory, {persistent: false}, () => {
				clearTimeout(this.#settling)
				this.#settling = setTimeout(() => {
					void this.#refreshAll()
				}, settleMs)
			})
			this.#watcher.on('error', error => {
				this.#log.warn({reason: error.message}, 'templates are not watched')
			})
		} catch (error) {
			// Each connection looks at its file anyway; only the log hears later of an edit.
			this.#log.warn({reason: String(error)}, 'templates are not watched')
		}
	}

	/**
	 * The newest good version of a template.
	 * @throws SluiceError `bad_request`, `not_found`, `template_invalid`
	 */
	async get(name: string): Promise<Template> {
		const {good, problem} = await this.#refresh(name)
		if (good) return good
		throw problem ?? new SluiceError('not_found', `no template is named ${name}`)
	}

	/** Every template, whether it can run here or not. One that is broken does not hide the others. */
	async describe(): Promise<TemplateDescription[]> {
		const names = await listTemplates(this.#directory)
		const descriptions: TemplateDescription[] = []
		await this.#withChecker(async checker => {
			for (const name of names) {
				try {
					descriptions.push(await this.#describe(name, checker))
				} catch (error) {
					// Removed just now, or hostile in a way of its own.
					this.#log.warn(
						{template: name, detail: asSluiceError(error).detail},
						'template not described'
					)
				}
			}
		})
		return descriptions
	}

	async close(): Promise<void> {
		this.#closed = true
		this.#watcher?.close()
		clearTimeout(this.#settling)
		await Promise.all([...this.#checkers].map(async checker => checker.close()))
	}

	async #describe(name: string, checker: HostChecker): Promise<TemplateDescription> {
		const entry = await this.#refresh(name)
		const problem = entry.problem && {error: entry.problem.detail}
		if (!entry.good)
			return {
				name,
				title: name,
				description: '',
				needs: '',
				tested: '',
				output: '',
				codecs: undefined,
				rank: 0,
				camera: true,
				parameters: [],
				adaptive: [],
				available: false,
				...problem
			}
		const {title, description, needs, tested, output, codecs, rank, camera, parameters, adaptive} =
			entry.good
		const {
			missing,
			faults: [fault],
			unknown
		} = await this.#checked(entry, entry.good, checker)
		const unavailable =
			missing.length > 0 ? missing.map(({message}) => message).join(', ') : unknown
		// A version that was refused is told before a good one's lack.
		const error = problem ?? (fault && {error: findingText(name, fault)})
		return {
			name,
			title,
			description,
			needs,
			tested,
			output,
			codecs,
			rank,
			camera,
			parameters,
			adaptive,
			available: unavailable === undefined && !fault,
			...(unavailable !== undefined && {unavailable}),
			...((entry.lastFailure?.untilMs ?? 0) > performance.now() && {
				failed: entry.lastFailure?.detail ?? ''
			}),
			...error
		}
	}

	async #refreshAll(): Promise<void> {
		try {
			this.#folder = await stampOf(this.#directory)
			const names = await listTemplates(this.#directory)
			for (const name of new Set([...names, ...this.#entries.keys()]))
				await this.#refresh(name).catch(() => undefined)
			this.#checking = this.#checkVariants()
		} catch (error) {
			this.#log.warn({reason: String(error)}, 'templates cannot be listed')
		}
	}

	/** Finds out, one after the other, which variants can run here. */
	async #checkVariants(): Promise<void> {
		await this.#withChecker(async checker => {
			for (const [name, entry] of this.#entries) {
				const asked = [...this.#entries.keys()].some(family => isVariant(name, family))
				if (asked && entry.good && !this.#closed) await this.#checked(entry, entry.good, checker)
			}
		})
	}

	async #checked(entry: Entry, template: Template, checker: HostChecker): Promise<LibraryCheck> {
		// A worker that could not be started says nothing of the template.
		entry.check ??= checker.check(template).catch((error: unknown) => {
			entry.check = undefined
			return {missing: [], faults: [], warnings: [], unknown: asSluiceError(error).detail}
		})
		const check = await entry.check
		entry.available = isSound(check) && check.unknown === undefined
		return check
	}

	/** One look at a file at a time, however many connections ask for it. */
	async #refresh(name: string): Promise<Entry> {
		const running = this.#refreshing.get(name)
		if (running) return running
		const refresh = this.#readIfChanged(name).finally(() => this.#refreshing.delete(name))
		this.#refreshing.set(name, refresh)
		return refresh
	}

	async #readIfChanged(name: string): Promise<Entry> {
		const file = templateFile(this.#directory, name)
		const known = this.#entries.get(name)
		const stamp = await stampOf(file)
		if (stamp === undefined) {
			if (this.#entries.delete(name)) this.#log.info({template: name}, 'template removed')
			throw new SluiceError('not_found', `no template is named ${name}`)
		}
		if (known?.stamp === stamp) return known
		const entry = await this.#read(file, name, stamp, known)
		this.#entries.set(name, entry)
		if (entry.problem)
			this.#log.warn(
				{template: name, detail: entry.problem.detail, lastGoodServes: entry.good !== undefined},
				'template broken'
			)
		else if (known) this.#log.info({template: name}, 'template changed')
		return entry
	}

	async #read(file: string, name: string, stamp: string, known: Entry | undefined): Promise<Entry> {
		// One that cannot run here, or anywhere, is nothing to fall back to.
		const lastGood = known?.available === false ? undefined : known?.good
		// What was found out of the last good version holds on.
		const rest = {
			check: known?.check,
			available: known?.available,
			failed: known?.failed ?? new CameraMemory(),
			lastFailure: known?.lastFailure
		}
		try {
			const text = await readText(file, name)
			const template = parseTemplate(name, text)
			// Without an earlier version there is nothing to fall back to, and the viewer hears the parser's words.
			const anew = {
				stamp,
				good: template,
				problem: undefined,
				check: undefined,
				available: undefined,
				failed: new CameraMemory(),
				lastFailure: undefined
			}
			if (!lastGood) return anew
			const check = this.#withChecker(async checker => checker.check(template))
			const found = await check.catch(() => undefined)
			// No worker could be started: the next viewer has the file looked at again.
			if (!found) return {stamp: '', good: lastGood, problem: known?.problem, ...rest}
			const {missing, faults} = found
			const [first] = inOrder([...faults, ...missing])
			if (!first) return {...anew, check, available: true}
			// The last one may be no better, where it was never tried.
			const last =
				known?.available === undefined
					? await this.#withChecker(async checker => checker.check(lastGood)).catch(() => undefined)
					: undefined
			if (last && !isSound(last)) return anew
			return {
				stamp,
				good: lastGood,
				problem: new SluiceError('template_invalid', findingText(name, first)),
				...rest
			}
		} catch (error) {
			return {stamp, good: lastGood, problem: asSluiceError(error), ...rest}
		}
	}

	/** A checker has one worker for all that is checked meanwhile. */
	async #withChecker<T>(act: (checker: HostChecker) => Promise<T>): Promise<T> {
		const checker = new HostChecker(this.#spawn)
		this.#checkers.add(checker)
		try {
			return await act(checker)
		} finally {
			await checker.close()
			this.#checkers.delete(checker)
		}
	}
}

function isSound({missing, faults}: HostCheck): boolean {
	return missing.length === 0 && faults.length === 0
}

async function stampOf(file: string): Promise<string | undefined> {
	try {
		const {mtimeMs, ctimeMs, size, ino} = await stat(file)
		return `${mtimeMs} ${ctimeMs} ${size} ${ino}`
	} catch (error) {
		// Something that is there and cannot be looked at is told when it is read.
		return (error as NodeJS.ErrnoException).code === 'ENOENT' ? undefined : String(error)
	}
}
