import {setFlagsFromString} from 'node:v8'

let done = false

/**
 * Makes V8 compile what a frame passes through within seconds: to be called before the first frame, and not at the start of the
 * program, where it would compile for a quarter of a second what runs only then.
 *
 * V8 optimizes a function when it has run some 130 kB of bytecode. At 30 frames a second that takes more than a minute, in which
 * a process takes half as much again of the processor. A flag that another version of V8 does not know is passed over, with a
 * line on standard error.
 */
export function compileSooner(): void {
	if (done) return
	done = true
	setFlagsFromString('--interrupt-budget=4000')
}
