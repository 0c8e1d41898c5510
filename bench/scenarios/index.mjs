/**
 * Every scenario, in the order of a run and of its report.
 *
 * @typedef {object} Scenario
 * @property {string} id
 * @property {string} title
 * @property {string} about what is measured, in whole sentences
 * @property {(run: import('../serving.mjs').Run) => Promise<object>} measure
 * @property {(data: object) => string[]} tables Markdown
 * @property {(data: object) => Target[]} targets
 * @property {(data: object) => import('../plot.mjs').Plot[]} [plots]
 *
 * @typedef {object} Target a promise, and the figure that says whether this run kept it
 * @property {string} title
 * @property {string} unit
 * @property {number} [atMost]
 * @property {number} [atLeast]
 * @property {number | undefined} value undefined where it was not measured
 * @property {number} digits
 */
import {codecs} from './codecs.mjs'
import {failures} from './failures.mjs'
import {lateViewer} from './late-viewer.mjs'
import {lifecycle} from './lifecycle.mjs'
import {links} from './links.mjs'
import {one} from './one.mjs'
import {ownPipelines} from './own-pipelines.mjs'
import {page} from './page.mjs'
import {parsers} from './parsers.mjs'
import {shared} from './shared.mjs'
import {slowViewer} from './slow-viewer.mjs'
import {snapshot} from './snapshot.mjs'
import {stoppedViewer} from './stopped-viewer.mjs'
import {wall} from './wall.mjs'
import {webrtcPage} from './webrtc-page.mjs'
import {webrtc} from './webrtc.mjs'

/** @type {Scenario[]} */
export const scenarios = [
	one,
	slowViewer,
	stoppedViewer,
	shared,
	ownPipelines,
	lateViewer,
	snapshot,
	codecs,
	links,
	page,
	webrtc,
	webrtcPage,
	wall,
	failures,
	lifecycle,
	parsers
]
