import type {Adaptive} from './adaptive.js'
import type {Logger} from '../base/log.js'
import type {ViewerMeter} from './metrics.js'
import type {Stream} from '../streams/stream.js'
import type {Viewer} from './frame-queue.js'

/** Lets a viewer's stream follow its link. To be called after each frame that was offered to the viewer. */
export function adapt(
	adaptive: Adaptive,
	viewer: Viewer,
	stream: Stream | undefined,
	meter: ViewerMeter,
	log: Logger
): void {
	const change = adaptive.update(performance.now(), viewer)
	if (!change) return
	const {direction, element, property, value} = change
	log.debug(
		{element, property, value, sent: viewer.sent, dropped: viewer.dropped},
		'quality adapted'
	)
	meter.stepped(direction)
	stream?.set(element, property, value)
}
