import {lookup} from 'node:dns/promises'
import {isIP} from 'node:net'

const lookupTimeoutMs = 2000
/** A name may get another address. */
const lookupAgainAfterMs = 60_000

/**
 * The addresses behind names of this host. A look-up takes a thread that files need too, and for as long as it likes: there is one
 * for each name at a time, and nobody waits long for it.
 */
export class HostAddresses {
	#hosts: readonly string[]
	#found: readonly string[]
	#running: Promise<void> | undefined
	#lookedUpMs = -Infinity

	/** @param hosts addresses, which are taken as they are, and names */
	constructor(hosts: readonly string[]) {
		this.#hosts = hosts
		this.#found = hosts.filter(host => isIP(host) !== 0)
	}

	/** Never rejects: a name that cannot be looked up has no address, or the last one that it had. */
	get = async (): Promise<readonly string[]> => {
		if (performance.now() - this.#lookedUpMs > lookupAgainAfterMs)
			this.#running ??= this.#lookUp().finally(() => {
				this.#running = undefined
			})
		if (!this.#running) return this.#found
		let timer: NodeJS.Timeout | undefined
		await Promise.race([
			this.#running,
			new Promise(resolve => {
				timer = setTimeout(resolve, lookupTimeoutMs)
			})
		])
		clearTimeout(timer)
		return this.#found
	}

	async #lookUp(): Promise<void> {
		const found = await Promise.all(
			this.#hosts.map(async host =>
				isIP(host) === 0
					? lookup(host).then(
							({address}) => address,
							() => undefined
						)
					: host
			)
		)
		this.#found = found.every(address => address !== undefined)
			? found
			: [...new Set([...this.#found, ...found.flatMap(address => address ?? [])])]
		this.#lookedUpMs = performance.now()
	}
}
