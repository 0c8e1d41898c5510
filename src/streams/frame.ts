import type {SluiceError} from '../base/errors.js'
import type {Sample} from '../pipeline/frame-reader.js'

/** A picture, as subscribers receive it. */
export interface Frame extends Sample {
	/** From 0, without gaps, however many pipelines give them. */
	sequence: number
}

/** Whoever receives a stream's frames. None of its functions may throw or wait. */
export interface Subscriber {
	/** Whether it can begin with any frame; else its patience ends with the first key frame. */
	takesAnyFrame?: boolean
	onFrame: (frame: Frame) => void
	/** Called once, and never after detach(). The subscriber is detached by then. */
	onFailure: (error: SluiceError) => void
}

/** What became of all viewers' frames. */
export interface FrameCounts {
	/** Frames that were sent, and their bytes. */
	frames: number
	bytes: number
	/** Frames that never will be sent. */
	dropped: number
}
