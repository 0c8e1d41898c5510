import {type CameraSource, noCamera, parseCameraSource} from './camera-source.js'
import {SluiceError} from './errors.js'
import {fillTemplate, reservedParameters, type Template} from './template.js'

const defaultTemplate = 'jpeg'

/** What a viewer asks for: a camera, through a template filled with parameters. */
export interface StreamRequest {
	source: CameraSource
	/** The template that was asked for. */
	plain: Choice
	/** Where a family was asked for: its other variants that this host can run and that take the same parameters, the best first. */
	variants: Choice[]
	/** Whether frames are images, each complete in itself; else they are coded video. */
	images: boolean
	/** Equal for requests that one stream can serve: the same camera, credentials, template and parameters. */
	key: string
}

/** A template, filled: ready for GStreamer. */
export interface Choice {
	template: string
	launch: string
	rank: number
	/** The camera codecs that it takes; undefined where it takes any. */
	codecs: readonly string[] | undefined
}

export interface TemplateSource {
	/** @throws SluiceError `bad_request`, `not_found`, `template_invalid` */
	get: (name: string) => Promise<Template>
	/** The variants of a family, beside its plain one, that this host can run, the best first. */
	variants: (family: string) => Template[]
}

/** A query as Koa parses it. */
export type Query = Readonly<Record<string, string | readonly string[] | undefined>>

/**
 * Reads a viewer's query: `rtsp_url`, `pipeline`, and the template's own parameters.
 * @throws SluiceError `bad_request`, `not_found`, `template_invalid`
 */
export async function readStreamRequest(query: Query, templates: TemplateSource): Promise<StreamRequest> {
	const values = singleValues(query)
	const pipeline = values.get('pipeline') ?? defaultTemplate
	const url = values.get('rtsp_url') ?? ''
	// A bad URL is told before the template is looked for.
	const given = url === '' ? undefined : parseCameraSource(url)
	const template = await templates.get(pipeline)
	if (template.camera && !given) throw new SluiceError('bad_request', 'rtsp_url is missing: /ws/stream?rtsp_url=rtsp%3A%2F%2F…')
	const source = given ?? noCamera
	const own = new Map([...values].filter(([name]) => name !== 'rtsp_url' && name !== 'pipeline'))
	for (const name of own.keys()) {
		if (reservedParameters.includes(name)) throw new SluiceError('bad_request', `${name} is not supported here`)
	}
	chooseTransport(own, source, template)
	const plain = choice(template, own)
	const {location, user, password} = source
	return {
		source,
		plain,
		variants: templates.variants(template.name).flatMap(variant => takes(variant, own) ? choice(variant, own) : []),
		images: template.output.startsWith('image/'),
		// The launch text tells one version of a template from the next.
		key: JSON.stringify([location, user, password, template.name, plain.launch])
	}
}

function choice(template: Template, values: ReadonlyMap<string, string>): Choice {
	const {name, rank, codecs} = template
	return {template: name, launch: fillTemplate(template, values), rank, codecs}
}

/** A variant may have fewer parameters, or narrower ones: then it is none for this viewer. */
function takes(template: Template, values: ReadonlyMap<string, string>): boolean {
	try {
		fillTemplate(template, values)
		return true
	} catch {
		return false
	}
}

function singleValues(query: Query): Map<string, string> {
	const values = new Map<string, string>()
	for (const [name, value] of Object.entries(query)) {
		if (typeof value === 'string') values.set(name, value)
		else if (value !== undefined) throw new SluiceError('bad_request', `${JSON.stringify(name.slice(0, 64))} is given ${value.length} times; give it once`)
	}
	return values
}

/** rtspsrc refuses `rtspu://` with `protocols=tcp`: where the URL chooses the transport, so it is. */
function chooseTransport(values: Map<string, string>, {transport}: CameraSource, {parameters}: Template): void {
	if (!transport || !parameters.some(({name}) => name === 'transport')) return
	const given = values.get('transport')
	if (given !== undefined && given !== transport) throw new SluiceError('bad_request', `transport=${given.slice(0, 64)} contradicts the scheme of rtsp_url, which asks for ${transport}`)
	values.set('transport', transport)
}

/**
 * A whole number of the query; undefined where it is not given.
 * @throws SluiceError `bad_request`
 */
export function readNumber(name: string, text: string | readonly string[] | undefined, low: number, high: number): number | undefined {
	if (text === undefined) return undefined
	if (typeof text === 'string' && /^\d{1,10}$/.test(text) && Number(text) >= low && Number(text) <= high) return Number(text)
	throw new SluiceError('bad_request', `${name} must be a whole number from ${low} to ${high}`)
}
