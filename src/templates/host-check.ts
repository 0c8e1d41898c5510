import {SluiceError, wordsOf} from '../base/errors.js'
import {
	type ElementText,
	elementsOf,
	type Finding,
	inOrder,
	locate,
	nameOf,
	type Position,
	unfinishedQuotes
} from '../pipeline/launch-text.js'
import {fillWithDefaults, launchFault, type Template} from './template.js'

import type {Built, Examined, PipelineWorker, SinkSettings} from '../pipeline/messages.js'

/** A check that takes longer has found a plug-in that hangs. */
const checkTimeoutMs = 10_000
/** Of one template. It has some forty elements and properties; a text of 64 KB may have thousands. */
const maxExaminations = 300
/** Each pipeline that is built costs the worker two descriptors, for ever; one that has built so many is replaced. With another template's they stay below 1024. */
const maxBuilt = 200

/** As GStreamer's parser says that it has none. */
const missingPattern = /^no element "([^"]+)"/

/** Whether this host can run a template, and if not, why. */
export interface HostCheck {
	/** Elements that this GStreamer does not have, each once. */
	missing: (Finding & {element: string})[]
	/** What keeps the template from running on any host, in the parser's own words where they are its. */
	faults: Finding[]
	/** What lets it run, and not as it should. */
	warnings: Finding[]
}

/**
 * Lets GStreamer build templates with their defaults, in a worker, for a plug-in may crash. Where it refuses, it is asked
 * about each element and each property by itself, for its parser tells its first complaint only.
 *
 * One template after the other: they share a worker, whose start costs more than all that it answers, until it crashes,
 * hangs or has built enough.
 */
export class HostChecker {
	#spawn: () => PipelineWorker
	/** The one that is asked. */
	#worker: PipelineWorker | undefined
	/** Every one that may still have a process. */
	#workers = new Set<PipelineWorker>()
	#built = 0
	#closed = false

	/** @param spawn starts a worker; the checker ends it */
	constructor(spawn: () => PipelineWorker) {
		this.#spawn = spawn
	}

	/**
	 * @param sound whether the header is; the whole is not built where it is not, for values may be missing
	 * @throws SluiceError `shutting_down`, and `pipeline_failed` where no worker could be started, which says nothing of the template
	 */
	async check(template: Template, sound = true): Promise<HostCheck> {
		if (this.#closed) throw new SluiceError('shutting_down', 'the server is shutting down')
		const worker = this.#take()
		try {
			await worker.ready
		} catch (error) {
			await this.#drop(worker)
			throw new SluiceError('pipeline_failed', wordsOf(error))
		}
		const examiner = new Examiner(worker)
		const check = new Check(template, examiner)
		try {
			await check.run(sound)
		} catch (error) {
			// The worker crashed, or hangs.
			check.faults.push({...check.at, message: wordsOf(error)})
			await this.#drop(worker)
		} finally {
			examiner.close()
			this.#built += examiner.built
		}
		if (this.#built >= maxBuilt) await this.#drop(worker)
		const {missing, faults, warnings} = check
		return {missing: inOrder(missing), faults: inOrder(faults), warnings}
	}

	async close(): Promise<void> {
		this.#closed = true
		await Promise.all([...this.#workers].map(async worker => worker.close()))
	}

	#take(): PipelineWorker {
		if (this.#worker) return this.#worker
		this.#built = 0
		const worker = this.#spawn()
		this.#worker = worker
		this.#workers.add(worker)
		void worker.exited.then(() => {
			this.#workers.delete(worker)
			if (this.#worker === worker) this.#worker = undefined
		})
		return worker
	}

	async #drop(worker: PipelineWorker): Promise<void> {
		if (this.#worker === worker) this.#worker = undefined
		await worker.close()
	}
}

class Check implements HostCheck {
	missing: HostCheck['missing'] = []
	faults: Finding[] = []
	warnings: Finding[] = []
	/** What is being looked at. */
	at: Position
	#template: Template
	#examiner: Examiner
	#elements: ElementText[]

	constructor(template: Template, examiner: Examiner) {
		this.#template = template
		this.#examiner = examiner
		this.#elements = elementsOf(template.launch)
		this.at = locate(template.launch, '')
	}

	/** @throws Error where the worker crashed, or hangs */
	async run(sound: boolean): Promise<void> {
		const {launch} = this.#template
		const filled = sound ? fillWithDefaults(this.#template, launch) : undefined
		const whole = filled === undefined ? undefined : await this.#examiner.examine(filled)
		const built = whole && !('error' in whole) ? whole : undefined
		this.faults.push(...unfinishedQuotes(launch))
		if (!built) await this.#examineParts()
		this.#checkNames(built)
		await this.#checkAdaptive()
		// What is left is told of the whole only: a syntax error, elements that cannot be linked, and one that plays in the place of the sink.
		if (whole && 'error' in whole && this.missing.length === 0 && this.faults.length === 0) {
			const finding = {...locate(launch, whole.error), message: whole.error}
			const element = missingPattern.exec(whole.error)?.[1]
			if (element === undefined) this.faults.push(finding)
			else this.missing.push({...finding, element})
		}
		await this.#checkSink(built?.sink)
	}

	async #examineParts(): Promise<void> {
		for (const element of this.#elements) {
			const {name, properties} = element
			if (!(await this.#exists(element))) continue
			for (const property of properties) {
				const text = fillWithDefaults(this.#template, property.text)
				// Its placeholder was told already.
				if (text !== undefined) await this.#examine(`${name} ${text}`, property)
			}
		}
	}

	async #exists(element: ElementText): Promise<boolean> {
		const {name, line, column} = element
		if (this.missing.some(known => known.element === name)) return false
		this.at = element
		const examined = await this.#examiner.examine(alone(name))
		if (!('error' in examined)) return true
		if (missingPattern.test(examined.error))
			this.missing.push({element: name, line, column, message: examined.error})
		else this.faults.push({line, column, message: examined.error})
		return false
	}

	async #examine(part: string, {line, column}: Position): Promise<void> {
		this.at = {line, column}
		const examined = await this.#examiner.examine(alone(part))
		if ('error' in examined) this.faults.push({line, column, message: examined.error})
	}

	/** `src` and `sink` must be there, once each. Where GStreamer has built the whole, it knows; else the text tells. */
	#checkNames(built: Built | undefined): void {
		const named = (name: string) => this.#elements.filter(element => nameOf(element) === name)
		const appsinks = this.#elements.filter(({name}) => name === 'appsink')
		const start = this.#elements[0] ?? this.at
		const tell = ({line, column}: Position, message: string) => {
			this.faults.push({line, column, message})
		}
		const [sources, sinks] = [named('src'), named('sink')]
		if (built ? !built.src : sources.length === 0) tell(start, 'no element is named "src"')
		if (built ? !built.sink : sinks[0]?.name !== 'appsink')
			tell(sinks[0] ?? appsinks[0] ?? start, 'no appsink is named "sink"')
		for (const [name, elements] of [
			['src', sources],
			['sink', sinks]
		] as const) {
			for (const extra of elements.slice(1)) tell(extra, `a second element is named "${name}"`)
		}
		if (sinks.length === 0) return
		for (const other of appsinks.filter(element => nameOf(element) !== 'sink'))
			tell(
				other,
				'a second appsink, from which nobody takes anything: frames are taken from the one that is named "sink"'
			)
	}

	/** What may be lowered must be there to be set. */
	async #checkAdaptive(): Promise<void> {
		const {adaptive, adaptiveAt} = this.#template
		for (const [index, {element, property, lowest}] of adaptive.entries()) {
			const found = this.#elements.find(candidate => nameOf(candidate) === element)
			if (found && !this.missing.some(known => known.element === found.name))
				await this.#examine(`${found.name} ${property}=${lowest}`, adaptiveAt[index] ?? found)
		}
	}

	/** @param known of the whole; where that was not built, the sink is built without it */
	async #checkSink(known: SinkSettings | undefined): Promise<void> {
		const sink = this.#elements.find(
			element => element.name === 'appsink' && nameOf(element) === 'sink'
		)
		if (!sink) return
		const settings = known ?? (await this.#settingsOf(sink))
		if (!settings) return
		const {line, column} = sink
		const image = this.#template.output.startsWith('image/')
		if (image && !(settings.drop && settings.maxBuffers === 1))
			this.warnings.push({
				line,
				column,
				message:
					'images may queue in this sink, and viewers would see the past: it needs max-buffers=1 drop=true'
			})
		if (!image && settings.drop)
			this.warnings.push({
				line,
				column,
				message: 'this sink may drop coded video, which tears the pictures: it needs drop=false'
			})
	}

	async #settingsOf({name, properties}: ElementText): Promise<SinkSettings | undefined> {
		const refused = ({line, column}: Position) =>
			this.faults.some(fault => fault.line === line && fault.column === column)
		const texts = properties.flatMap(property =>
			refused(property) ? [] : (fillWithDefaults(this.#template, property.text) ?? [])
		)
		const examined = await this.#examiner.examine(alone([name, ...texts].join(' ')))
		return 'error' in examined ? undefined : examined.sink
	}
}

/** The binding looks into bins only, and a single element is none: beside another it is in a pipeline. */
function alone(part: string): string {
	return `fakesrc ${part}`
}

/** Asks a worker about one launch text after the other. */
class Examiner {
	/** Pipelines. */
	built = 0
	#asked = 0
	#worker: PipelineWorker
	/** Rejects when the worker crashed, or took too long. */
	#failure: Promise<never>
	#timer: NodeJS.Timeout | undefined

	/** @param worker one that is ready */
	constructor(worker: PipelineWorker) {
		this.#worker = worker
		this.#failure = new Promise((_, reject) => {
			this.#timer = setTimeout(() => {
				reject(new Error(`GStreamer took longer than ${checkTimeoutMs / 1000} s`))
			}, checkTimeoutMs)
			void worker.exited.then(({code, signal, reason}) => {
				reject(
					new Error(reason ?? `GStreamer crashed (${signal ?? `exit code ${code ?? 'none'}`})`)
				)
			})
		})
		this.#failure.catch(() => undefined)
	}

	/** @throws Error where the worker crashed, or hangs */
	async examine(launch: string): Promise<Examined> {
		const fault = launchFault(launch)
		if (fault !== undefined) return {error: fault}
		// Nothing more is found out, and nothing wrong is told.
		if (this.#asked++ >= maxExaminations) return {src: false}
		const answer = new Promise<Examined>(resolve => {
			this.#worker.onMessage = message => {
				if (message.type === 'examined') resolve(message.examined)
			}
			this.#worker.send({type: 'examine', launch})
		})
		const examined = await Promise.race([this.#failure, answer])
		// A template that plays is built with its sink, with what takes the sink's place, and the sink by itself.
		if (!('error' in examined)) this.built += examined.src && examined.sink ? 3 : 1
		return examined
	}

	close(): void {
		clearTimeout(this.#timer)
	}
}
