import {type CameraSource, parseCameraSource} from './camera-source.js'
import {SluiceError} from './errors.js'
import {fillTemplate, reservedParameters, type Template} from './template.js'

const defaultTemplate = 'jpeg'

/** What a viewer asks for: a camera, through a template filled with parameters. */
export interface StreamRequest {
	source: CameraSource
	/** The template's name. */
	template: string
	/** The launch text, ready for GStreamer. */
	launch: string
}

export interface TemplateSource {
	/** @throws SluiceError `bad_request`, `not_found`, `template_invalid` */
	get: (name: string) => Promise<Template>
}

/** A query as Koa parses it. */
export type Query = Readonly<Record<string, string | readonly string[] | undefined>>

/**
 * Reads a viewer's query: `rtsp_url`, `pipeline`, and the template's own parameters.
 * @throws SluiceError `bad_request`, `not_found`, `template_invalid`
 */
export async function readStreamRequest(query: Query, templates: TemplateSource): Promise<StreamRequest> {
	const values = singleValues(query)
	const source = parseCameraSource(required(values, 'rtsp_url'))
	const template = await templates.get(values.get('pipeline') ?? defaultTemplate)
	const own = new Map([...values].filter(([name]) => name !== 'rtsp_url' && name !== 'pipeline'))
	for (const name of own.keys()) {
		if (reservedParameters.includes(name)) throw new SluiceError('bad_request', `${name} is not supported by this server`)
	}
	chooseTransport(own, source, template.parameters.some(parameter => parameter.name === 'transport'))
	return {source, template: template.name, launch: fillTemplate(template, own)}
}

function singleValues(query: Query): Map<string, string> {
	const values = new Map<string, string>()
	for (const [name, value] of Object.entries(query)) {
		if (typeof value === 'string') values.set(name, value)
		else if (value !== undefined) throw new SluiceError('bad_request', `${JSON.stringify(name.slice(0, 64))} is given ${value.length} times; give it once`)
	}
	return values
}

function required(values: ReadonlyMap<string, string>, name: string): string {
	const value = values.get(name)
	if (value === undefined || value === '') throw new SluiceError('bad_request', `${name} is missing: /ws/stream?rtsp_url=rtsp%3A%2F%2F…`)
	return value
}

/** rtspsrc refuses `rtspu://` with `protocols=tcp`: where the URL chooses the transport, so it is. */
function chooseTransport(values: Map<string, string>, {transport}: CameraSource, declared: boolean): void {
	if (!transport || !declared) return
	const given = values.get('transport')
	if (given !== undefined && given !== transport) throw new SluiceError('bad_request', `transport=${given.slice(0, 64)} contradicts the scheme of rtsp_url, which asks for ${transport}`)
	values.set('transport', transport)
}
