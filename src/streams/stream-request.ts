import {type CameraSource, noCamera, parseCameraSource} from '../cameras/camera-address.js'
import {type DeclaredOutput, hasSameType} from '../pipeline/declared-output.js'
import {SluiceError} from '../base/errors.js'
import {
	type AdaptiveRule,
	defaultTemplate,
	fillTemplate,
	readValue,
	reservedParameters,
	type Template
} from '../templates/template.js'

/** A property of an element that may be lowered, and the viewer's own value of it, the greatest that it gets. */
export interface AdaptiveProperty extends AdaptiveRule {
	greatest: number
}

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

/** What a viewer asks for: a camera, through a template filled with parameters. */
export interface StreamRequest {
	source: CameraSource
	/** The template that was asked for. */
	plain: Choice
	/** Where a family was asked for: its other variants that this host can run and that take the same parameters, the best first. */
	variants: Choice[]
	/** Whether frames are images, each complete in itself; else they are coded video. */
	images: boolean
	/** What may be lowered for a slow link, where the viewer asks for that; else empty. */
	adaptive: AdaptiveProperty[]
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
	/** What its frames are held against; undefined where they are taken as they are. */
	declared?: DeclaredOutput
}

export interface TemplateSource {
	/** @throws SluiceError `bad_request`, `not_found`, `template_invalid` */
	get: (name: string) => Promise<Template>
	/** The variants of a family, beside its plain one, that this host can run and that did not fail for the camera, the best first. */
	variants: (family: string, source: CameraSource) => Promise<Template[]>
}

/** A query as Koa parses it. */
export type Query = Readonly<Record<string, string | readonly string[] | undefined>>

/** What a viewer named the camera by, as it was sent, for the contract's error text: a URL, or the name of a camera. */
export function cameraAsSent({rtsp_url: url, camera}: Query): string {
	return [url, camera].find(value => typeof value === 'string' && value !== '')?.toString() ?? ''
}

/**
 * Reads a viewer's query: `rtsp_url` or `camera`, `pipeline`, `adaptive`, and the template's own parameters.
 * @param whyNotAdaptive why `adaptive=on` is refused here; undefined where it is not
 * @throws SluiceError `bad_request`, `forbidden`, `not_found`, `template_invalid`
 */
export async function readStreamRequest(
	query: Query,
	templates: TemplateSource,
	cameras: CameraChoice,
	whyNotAdaptive?: string
): Promise<StreamRequest> {
	const values = singleValues(query)
	// A bad URL is told before the template is looked for.
	const camera = chooseCamera(values, cameras)
	const template = await templates.get(
		values.get('pipeline') ?? camera?.pipeline ?? defaultTemplate
	)
	if (template.camera && !camera)
		throw new SluiceError(
			'bad_request',
			cameras.allowRtspUrl
				? 'rtsp_url is missing: ?rtsp_url=rtsp%3A%2F%2F…, or ?camera=… for a named one'
				: 'camera is missing: ?camera=…'
		)
	const source = camera && template.camera ? camera.source : noCamera
	const own = new Map(
		[...values].filter(
			([name]) =>
				name !== 'rtsp_url' && name !== 'camera' && name !== 'pipeline' && name !== 'adaptive'
		)
	)
	for (const name of own.keys()) {
		if (reservedParameters.includes(name))
			throw new SluiceError('bad_request', `${name} is not supported here`)
	}
	checkEncoding(values.get('rtsp_url'), own, template)
	if (camera) fixParameters(own, camera, template)
	chooseTransport(own, source, template)
	const adaptive = readAdaptive(values.get('adaptive'), template, own, whyNotAdaptive)
	const plain = choice(template, own)
	const {name, location, user, password} = source
	const fits = (variant: Template) =>
		hasSameType(variant, template) &&
		takes(variant, own) &&
		(adaptive.length === 0 || lowersTheSame(variant, template))
	return {
		source,
		plain,
		variants: (await templates.variants(template.name, source)).flatMap(variant =>
			fits(variant) ? choice(variant, own) : []
		),
		images: template.output.startsWith('image/'),
		adaptive,
		// Who names a camera shares no stream with who sent its URL, and would be told that URL by its failures. The launch text tells one version of a template from the next.
		key: JSON.stringify([name, location, user, password, template.name, plain.launch])
	}
}

/** Of a camera's URL that was not encoded, what follows its first `&` arrives as parameters of ours. */
function checkEncoding(
	url: string | undefined,
	own: ReadonlyMap<string, string>,
	{name, parameters}: Template
): void {
	if (url?.includes('?') !== true) return
	const unknown = [...own.keys()].find(given =>
		parameters.every(parameter => parameter.name !== given)
	)
	if (unknown !== undefined)
		throw new SluiceError(
			'bad_request',
			`${JSON.stringify(unknown.slice(0, 64))} is no parameter of the template ${name}; if it is a part of rtsp_url, encode that: its & is %26`
		)
}

function choice(template: Template, values: ReadonlyMap<string, string>): Choice {
	const {name, rank, codecs, output, declaresOutput} = template
	return {
		template: name,
		launch: fillTemplate(template, values),
		rank,
		codecs,
		declared: {output, declaresOutput}
	}
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

/** The viewer's own values, or the defaults, are the greatest. */
function readAdaptive(
	given: string | undefined,
	template: Template,
	values: ReadonlyMap<string, string>,
	whyNot: string | undefined
): AdaptiveProperty[] {
	if (given === undefined || given === 'off') return []
	if (given !== 'on')
		throw new SluiceError(
			'bad_request',
			`adaptive must be on or off, not ${JSON.stringify(given.slice(0, 64))}`
		)
	if (whyNot !== undefined)
		throw new SluiceError('bad_request', `adaptive=on is not possible: ${whyNot}`)
	if (template.adaptive.length === 0)
		throw new SluiceError(
			'bad_request',
			`adaptive=on is not possible: the template ${template.name} has no @adaptive line, which would say what may be lowered`
		)
	return template.adaptive.map(rule => {
		const initial = template.parameters.find(({name}) => name === rule.parameter)?.default
		const greatest = Number(values.get(rule.parameter) ?? initial)
		return {...rule, greatest, lowest: Math.min(rule.lowest, greatest)}
	})
}

/** What was set on one variant must mean the same on the next. */
function lowersTheSame(variant: Template, template: Template): boolean {
	return JSON.stringify(variant.adaptive) === JSON.stringify(template.adaptive)
}

function singleValues(query: Query): Map<string, string> {
	const values = new Map<string, string>()
	for (const [name, value] of Object.entries(query)) {
		if (typeof value === 'string') values.set(name, value)
		else if (value !== undefined)
			throw new SluiceError(
				'bad_request',
				`${JSON.stringify(name.slice(0, 64))} is given ${value.length} times; give it once`
			)
	}
	return values
}

/** rtspsrc refuses `rtspu://` with `protocols=tcp`: where the URL chooses the transport, so it is. */
function chooseTransport(
	values: Map<string, string>,
	{transport, name}: CameraSource,
	{parameters}: Template
): void {
	if (!transport || !parameters.some(({name}) => name === 'transport')) return
	const given = values.get('transport')
	if (given !== undefined && given !== transport)
		throw new SluiceError(
			'bad_request',
			name !== undefined
				? 'transport is set by the server for this camera'
				: `transport=${given.slice(0, 64)} contradicts the scheme of rtsp_url, which asks for ${transport}`
		)
	values.set('transport', transport)
}

/**
 * A whole number of the query; undefined where it is not given.
 * @throws SluiceError `bad_request`
 */
export function readNumber(
	name: string,
	text: string | readonly string[] | undefined,
	low: number,
	high: number
): number | undefined {
	if (text === undefined) return undefined
	if (
		typeof text === 'string' &&
		/^\d{1,10}$/.test(text) &&
		Number(text) >= low &&
		Number(text) <= high
	)
		return Number(text)
	throw new SluiceError('bad_request', `${name} must be a whole number from ${low} to ${high}`)
}
