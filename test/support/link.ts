import net, {type AddressInfo, type Socket} from 'node:net'
import {once} from 'node:events'
import type {ExecutionContext} from 'ava'

export interface LinkOptions {
	/** From the server to the viewer. */
	bytesPerSecond?: number
	/** Of an empty link. */
	roundTripMs?: number
}

const tickMs = 5

/** A TCP proxy before a port of 127.0.0.1 that is as slow as its options say; they may be changed. Resolves with its own port. */
export async function startLink(
	t: ExecutionContext,
	port: number,
	options: LinkOptions
): Promise<number> {
	const sockets = new Set<Socket>()
	const server = net.createServer(viewer => {
		const upstream = net.connect(port, '127.0.0.1')
		carry(viewer, upstream, () => ({...options, bytesPerSecond: Infinity}))
		carry(upstream, viewer, () => options)
		for (const [one, other] of [
			[viewer, upstream],
			[upstream, viewer]
		] as const) {
			sockets.add(one)
			one.setNoDelay(true)
			one.on('error', () => undefined)
			one.once('close', () => {
				other.destroy()
			})
		}
	})
	t.teardown(() => {
		server.close()
		for (const socket of sockets) socket.destroy()
	})
	server.listen(0, '127.0.0.1')
	await once(server, 'listening')
	return (server.address() as AddressInfo).port
}

/** One way: reads only as much as the rate allows, and hands it on when it has been on its way for long enough. */
function carry(from: Socket, to: Socket, read: () => LinkOptions): void {
	from.pause()
	let budget = 0
	let lastMs = performance.now()
	const timer = setInterval(() => {
		const {bytesPerSecond = Infinity, roundTripMs = 0} = read()
		const now = performance.now()
		budget = Math.min(bytesPerSecond * 0.02, budget + (bytesPerSecond * (now - lastMs)) / 1000)
		lastMs = now
		while (budget >= 1) {
			const chunk = from.read(Math.min(budget, from.readableLength)) as Buffer | null
			if (!chunk) break
			budget -= chunk.length
			setTimeout(() => {
				to.write(chunk, () => undefined)
			}, roundTripMs / 2)
		}
		// Nothing flows into the stream's own buffer by itself while it is paused.
		if (from.readableLength === 0) from.read(0)
	}, tickMs)
	from.once('close', () => {
		clearInterval(timer)
	})
}
