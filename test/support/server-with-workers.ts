/**
 * The real server with other programs in the place of its workers, "-" for its own:
 * node server-with-workers.js <pipeline worker> <WebRTC worker> [flags]
 */
import process from 'node:process'
import {readCommand} from '../../dist/config/config.js'
import {createLog} from '../../dist/base/log.js'
import {Server} from '../../dist/http/server.js'

const [pipelineWorker, webrtcWorker] = process.argv
	.slice(2, 4)
	.map(given => (given === '-' ? undefined : given))
const flags = ['--host', '127.0.0.1', '--port', '0', '--webrtc-port', '0', ...process.argv.slice(4)]
const command = readCommand(flags, {})
if (!('run' in command)) throw new Error('no configuration')
const log = createLog('info')
const server = new Server(command.run, log, pipelineWorker, webrtcWorker)
log.info({port: await server.listen()}, 'listening')
