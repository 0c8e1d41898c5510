/** When V8 collects the frames that nobody holds any more, in the server. */
import {setFlagsFromString} from 'node:v8'
import {runInNewContext} from 'node:vm'

/**
 * How many bytes of frames may wait for the garbage collector. Half as much costs twice the collections; with half as much
 * again V8 begins to collect by itself, all of its heap, for which the server takes a third more of the processor.
 */
const garbageBytes = 2 * 1024 * 1024

// A flag that is set while the program runs counts for contexts made later, so the function is taken out of one. The
// command line's flag would need a second start of the server.
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as NonNullable<typeof globalThis.gc>
setFlagsFromString('--no-expose-gc')

let bytesSinceCollection = 0

/**
 * Frames live outside of V8's heap, which sees no reason to collect the few small objects that hold them: without this
 * a process grows by some 60 MB before it frees any, and then looks through all of its heap, in several threads. A minor
 * collection takes a fraction of a millisecond.
 *
 * @param bytes of a frame that has come
 */
export function collectFrames(bytes: number): void {
	bytesSinceCollection += bytes
	if (bytesSinceCollection < garbageBytes) return
	bytesSinceCollection = 0
	collect({type: 'minor'})
}
