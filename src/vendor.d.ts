// Declarations of our own for modules without usable types.

declare module 'gstreamer-superficial' {
	/** A GObject element: its properties are accessors by their GStreamer names. */
	export interface Element {
		[property: string]: unknown
		/** Only of an appsink: waits, on a thread of libuv's pool and without limit, for the next sample. */
		pull?: (callback: (data: Buffer | null, caps: Record<string, unknown>) => void) => void
	}

	export class Pipeline {
		/** @throws Error with the message of gst_parse_launch */
		constructor(launch: string)
		play(): void
		stop(): void
		findChild(name: string): Element | undefined
		/** Sends a force-key-unit event upstream from the named element; the count tells one from the next. */
		forceKeyUnit(name: string, count: number): void
		/** Calls back for each bus message. Fields of the message's structure overwrite `type` and `name`. */
		pollBus(callback: (message: Record<string, unknown>) => void): void
	}
}

// Its own index.d.ts does not compile: https://www.npmjs.com/package/koa-easy-ws
declare module 'koa-easy-ws' {
	import type {Middleware} from 'koa'
	import type {ServerOptions, WebSocketServer} from 'ws'
	export default function websocket(
		propertyName?: string,
		options?: {wsOptions?: ServerOptions}
	): Middleware & {server: WebSocketServer}
}
