import {readFileSync, statSync} from 'node:fs'
import type {Camera} from '../streams/stream-request.js'
import {type CameraSource, namedSource, parseCameraSource} from '../cameras/camera-address.js'
import type {CameraEntry, ConfigFile} from './config-file.js'
import {asSluiceError} from '../base/errors.js'
import {
	defaultTemplate,
	expectation,
	maxTemplateBytes,
	parseTemplate,
	readValue,
	type Template,
	templateFile
} from '../templates/template.js'

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
