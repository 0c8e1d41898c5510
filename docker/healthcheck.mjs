// HEALTHCHECK of the images: does the server answer GET /? In a file of its own, because the images have no curl. It knows the
// address from the environment only, so a container gets its port as SLUICE_PORT and not as --port.
import process from 'node:process'

const {SLUICE_HOST: host = '0.0.0.0', SLUICE_PORT: port = '8000'} = process.env
const any = {'0.0.0.0': '127.0.0.1', '::': '[::1]'}
const name = any[host] ?? (host.includes(':') ? `[${host}]` : host)

try {
	const response = await fetch(`http://${name}:${port}/`, {signal: AbortSignal.timeout(4000)})
	if (!response.ok) throw new Error(`the server answered ${response.status}`)
} catch (error) {
	console.error(error.cause?.message ?? error.message)
	process.exitCode = 1
}
