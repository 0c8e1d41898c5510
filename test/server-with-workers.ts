/** The real server with other programs in the place of its workers: `node server-with-workers.js <pipeline> <WebRTC> [flags]`, "-" for its own. */
import process from 'node:process'
import {readCommand} from '../dist/config.js'
import {createLog} from '../dist/log.js'
import {Server} from '../dist/server.js'

const [pipelineWorker, webrtcWorker, ...flags] = process.argv.slice(2).map(argument => (argument === '-' ? undefined : argument))
const command = readCommand(['--host', '127.0.0.1', '--port', '0', '--webrtc-port', '0', ...flags.map(String)], {})
if (!('run' in command)) throw new Error('no configuration')
const log = createLog('info')
const server = new Server(command.run, log, pipelineWorker, webrtcWorker)
log.info({port: await server.listen()}, 'listening')
