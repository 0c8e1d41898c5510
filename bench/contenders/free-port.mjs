import {once} from 'node:events'
import net from 'node:net'

/** For servers that do not say which port they took, so that they have to be told one. */
export async function freePort() {
	const server = net.createServer().listen(0, '127.0.0.1')
	await once(server, 'listening')
	const {port} = server.address()
	server.close()
	await once(server, 'close')
	return port
}
