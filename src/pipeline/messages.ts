/** What the server and a pipeline worker say to each other, see workers/channel.ts; frames come on a pipe, see frame-reader.ts. */
import type {Worker} from '../workers/worker.js'
import {anyOf, count, messageReader, oneOf, optional, shape, text, truth} from '../base/shape.js'

/** A property of a named element, and what it is set to. */
export interface PropertyValue {
	element: string
	property: string
	value: number
}

export type ToWorker =
	/** Builds and plays one pipeline. Sent once, to a worker that said `ready`. */
	| {type: 'start'; launch: string; source: {location: string; user?: string; password?: string}}
	/** Builds a launch text, or a part of one, and tells what of it, without playing it. */
	| {type: 'examine'; launch: string}
	/** Changes a property of an element of the pipeline that plays. */
	| ({type: 'set'} & PropertyValue)
	/** Asks for a key frame, upstream from the sink: of an encoder in the pipeline, or of a camera that takes RTCP's PLI. */
	| {type: 'key-frame'}
	/** The first frame has come. Answered by `codec`, where that is known. */
	| {type: 'playing'}
	/** Stops the pipeline and ends the process. */
	| {type: 'stop'}

export type FromWorker =
	/** GStreamer is loaded: the worker can be given a pipeline. */
	| {type: 'ready'}
	/** GStreamer's parser refused the launch text, or a named element is missing from it. */
	| {type: 'unparsable'; message: string}
	/** The answer to `examine`: the parser's own words where it refused the text, else what it made of it. */
	| {type: 'examined'; examined: Examined}
	/** What the camera sends, by its name in RTP: H264, H265, JPEG. */
	| {type: 'codec'; codec: string}
	/** A message of the pipeline's bus that says how the pipeline fares. */
	| {type: 'bus'; message: BusMessage}

/** What GStreamer made of a launch text. */
export type Examined = {error: string} | Built

export interface Built {
	/** Whether an element is named "src". */
	src: boolean
	/** Of the appsink named "sink"; missing where there is none. */
	sink?: SinkSettings
}

/** An appsink's properties that decide whether frames may wait in it. */
export interface SinkSettings {
	/** 0 is no limit. */
	maxBuffers: number
	drop: boolean
}

/** The facts of a bus message, as GStreamer words them in English. */
export interface BusMessage {
	kind: 'error' | 'warning' | 'eos' | 'missing-plugin' | 'rtsp-timeout'
	/** The name of the element that posted it. */
	element: string
	/** The error's own text: "Unauthorized", "Could not open resource for reading and writing." */
	message?: string
	/** Where and why: a source line, the element's path, and the reason behind the last line break. */
	debug?: string
	/** The camera's RTSP status, where it answered with one. */
	rtspStatus?: number
}

/** @throws Error where it is no message of a pipeline worker's */
export const readFromWorker = messageReader<FromWorker>({
	ready: {},
	unparsable: {message: text},
	examined: {
		examined: anyOf(
			shape<{error: string}>({error: text}),
			shape<Built>({
				src: truth,
				sink: optional(shape<SinkSettings>({maxBuffers: count, drop: truth}))
			})
		)
	},
	codec: {codec: text},
	bus: {
		message: shape<BusMessage>({
			kind: oneOf('error', 'warning', 'eos', 'missing-plugin', 'rtsp-timeout'),
			element: text,
			message: optional(text),
			debug: optional(text),
			rtspStatus: optional(count)
		})
	}
})

/** A worker that runs one pipeline. */
export type PipelineWorker = Worker<ToWorker, FromWorker>
