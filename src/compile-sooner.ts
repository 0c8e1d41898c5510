/**
 * Makes V8 compile what a frame passes through within seconds: a module to be imported for that alone.
 *
 * V8 optimizes a function when it has run some 130 kB of bytecode. At 30 frames a second that takes more than a minute, in which
 * a process takes half as much again of the processor. A flag that another version of V8 does not know is passed over, with a
 * line on standard error.
 */
import {setFlagsFromString} from 'node:v8'

setFlagsFromString('--interrupt-budget=4000')
