import {readFileSync, statSync} from 'node:fs'
import {type CameraSource, namedSource, parseCameraSource} from '../cameras/camera-address.js'
import type {CameraEntry, ConfigFile} from './config-file.js'
import {asSluiceError, SluiceError} from '../base/errors.js'
import {
	defaultTemplate,
	expectation,
	maxTemplateBytes,
	parseTemplate,
	readValue,
	type Template,
	templateFile
} from '../templates/template.js'

/** A camera of the configuration. Viewers know its name, and learn nothing else of it. */
export interface Camera {
	readonly name: string
	readonly source: CameraSource
	/** The template of viewers who name none. */
	readonly pipeline: string
	/** Given to every viewer. */
	readonly parameters: ReadonlyMap<string, string>
}

/** Which cameras viewers may ask for. */
export interface CameraChoice {
	readonly cameras: readonly Camera[]
	/** Whether they may name any address, by `rtsp_url`. */
	readonly allowRtspUrl: boolean
}

/**
 * What a query asks for: a camera of the configuration by `camera`, or any by `rtsp_url`; undefined where it names none.
 * @throws SluiceError `bad_request`, `forbidden`, `not_found`; no text of it says more of a named camera than its name
 */
export function chooseCamera(
	query: ReadonlyMap<string, string>,
	{cameras, allowRtspUrl}: CameraChoice
): Camera | undefined {
	const [name = '', url = ''] = [query.get('camera'), query.get('rtsp_url')]
	if (url !== '' && name !== '')
		throw new SluiceError(
			'bad_request',
			'rtsp_url and camera contradict each other; give one of them'
		)
	if (url !== '') {
		if (!allowRtspUrl)
			throw new SluiceError(
				'forbidden',
				'this server takes no rtsp_url; ask for one of its cameras by ?camera=…'
			)
		return {
			name: '',
			source: parseCameraSource(url),
			pipeline: defaultTemplate,
			parameters: new Map()
		}
	}
	if (name === '') return undefined
	const camera = cameras.find(known => known.name === name)
	if (!camera)
		throw new SluiceError('not_found', `no camera is named ${JSON.stringify(name.slice(0, 64))}`)
	return camera
}

/**
 * Adds a camera's own parameters to a viewer's. Of another template than the camera's own, those that it takes.
 * @throws SluiceError `bad_request` where the viewer's contradict; it names no value of the camera's
 */
export function fixParameters(
	values: Map<string, string>,
	{parameters}: Camera,
	template: Template
): void {
	for (const [name, value] of parameters) {
		const parameter = template.parameters.find(known => known.name === name)
		if (!parameter || readValue(parameter, value) === undefined) continue
		const given = values.get(name)
		if (given !== undefined && given !== value)
			throw new SluiceError('bad_request', `${name} is set by the server for this camera`)
		values.set(name, value)
	}
}

/** Reads an entry of the file; undefined where something is wrong with it, which the file is told. */
export function readCameraEntry(
	entry: CameraEntry,
	pipelinesDir: string | undefined,
	file: ConfigFile
): Camera | undefined {
	const {name, url, pipeline, parameters} = entry
	const source = url && readSource(name, url, file)
	const chosen = pipeline?.text ?? defaultTemplate
	const template =
		pipelinesDir === undefined ? undefined : readTemplate(entry, pipelinesDir, chosen, file)
	const values = new Map<string, string>()
	for (const [parameter, setting] of parameters) {
		if (!setting) continue
		values.set(parameter, setting.text)
		const declared = template?.parameters.find(known => known.name === parameter)
		if (!template) continue
		if (!declared)
			file.refuse(
				setting,
				`${setting.key} is unknown; the template ${chosen} has ${template.parameters.map(known => known.name).join(', ') || 'no parameters'}`
			)
		else if (readValue(declared, setting.text) === undefined)
			file.refuseValue(setting, expectation(declared))
	}
	const transport = parameters.get('transport')
	if (source?.transport && transport && transport.text !== source.transport)
		file.refuse(transport, `${transport.key} contradicts the scheme of the camera's url`)
	if (!source) return undefined
	return Object.freeze({name, source, pipeline: chosen, parameters: values})
}

function readSource(
	name: string,
	url: {key: string; line: number; text: string},
	file: ConfigFile
): CameraSource | undefined {
	let source: CameraSource
	try {
		source = parseCameraSource(url.text)
	} catch (error) {
		file.refuse(url, asSluiceError(error).detail.replace('rtsp_url', url.key))
		return undefined
	}
	return namedSource(name, source)
}

/** The template as it is now; undefined where it is missing, which the file is told, or broken, which the server logs by itself. */
function readTemplate(
	{pipeline, key, line}: CameraEntry,
	directory: string,
	name: string,
	file: ConfigFile
): Template | undefined {
	try {
		const path = templateFile(directory, name)
		const stat = statSync(path, {throwIfNoEntry: false})
		if (!stat) {
			if (pipeline) file.refuseValue(pipeline, `a template of ${directory}`)
			else
				file.refuse(
					{line},
					`${key}.pipeline is missing, and ${directory} has no ${defaultTemplate}.gst`
				)
			return undefined
		}
		return stat.isFile() && stat.size <= maxTemplateBytes
			? parseTemplate(name, readFileSync(path, 'utf8'))
			: undefined
	} catch (error) {
		if (asSluiceError(error).code === 'bad_request' && pipeline)
			file.refuseValue(pipeline, 'the name of a template')
		return undefined
	}
}
