import {elementsOf, nameOf} from './launch-text.js'

/** Those of an appsink that a queue has too, under its own names. */
const queueProperties: ReadonlyMap<string, string> = new Map([
	['max-buffers', 'max-size-buffers'],
	['max-bytes', 'max-size-bytes'],
	['max-time', 'max-size-time']
])
/**
 * gdppay crashes where the caps that it has come once more, as rtpjpegdepay sends them: it sets a flag of a buffer that it has not
 * made for them (gst_gdp_pay_sink_event in gstgdppay.c, GStreamer 1.22). What is derived from GstBaseTransform, as this
 * element, hands caps on only where they are others.
 */
const sameCapsOnce = 'identity name=sluice-caps silent=true'
const truths: readonly string[] = ['true', 'yes', '1', 't']

/**
 * Puts elements that write to a file descriptor in the place of the appsink named "sink", for each frame that passes through
 * Node on its way costs a third of a millisecond. A queue with the appsink's bounds, and its name, stands before them; where the
 * appsink would wait for a frame's time, so does an element before the queue, for what waits behind it would make it drop frames.
 * All have names, for those that GStreamer gives may be the template's.
 *
 * @param launch a launch text whose appsink GStreamer knows
 * @returns the text that plays, and the appsink as it was written; undefined where there is none
 */
export function writingTo(fd: number, launch: string): {text: string; appsink: string} | undefined {
	const sink = elementsOf(launch).find(
		element => element.name === 'appsink' && nameOf(element) === 'sink'
	)
	if (!sink) return undefined
	const given = (property: string) => sink.properties.findLast(({name}) => name === property)
	const isSet = (property: string, initially: boolean) => {
		const value = given(property)?.value.toLowerCase()
		return value === undefined ? initially : truths.includes(value)
	}
	const bounds = [...queueProperties].map(
		([property, own]) => `${own}=${given(property)?.value ?? '0'}`
	)
	const queue = [
		'queue',
		'silent=true',
		`leaky=${isSet('drop', false) ? 'downstream' : 'no'}`,
		...bounds
	]
	const waiting = isSet('sync', true)
		? ['identity name=sink sync=true', given('ts-offset')?.text]
				.filter(part => part !== undefined)
				.join(' ')
		: undefined
	const caps = given('caps')?.text
	const prerolls = given('async')?.text ?? 'async=true'
	const parts = [
		waiting,
		[...queue, waiting === undefined ? 'name=sink' : 'name=sluice-queue'].join(' '),
		caps === undefined ? undefined : `capsfilter name=sluice-filter ${caps}`,
		sameCapsOnce,
		'gdppay name=sluice-gdp',
		`fdsink name=sluice-fd fd=${fd} ${prerolls} sync=false enable-last-sample=false`
	]
	return {
		text:
			launch.slice(0, sink.start) +
			parts.filter(part => part !== undefined).join(' ! ') +
			launch.slice(sink.end),
		appsink: launch.slice(sink.start, sink.end)
	}
}
