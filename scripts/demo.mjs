// Starts a demonstration camera and the server, and says at which address the picture is. `npm run demo -- FLAGS` hands FLAGS to the server.
import {spawn, spawnSync} from 'node:child_process'
import {createSocket} from 'node:dgram'
import {once} from 'node:events'
import net from 'node:net'
import os from 'node:os'
import process from 'node:process'
import readline from 'node:readline'
import {fileURLToPath} from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const cameraPort = 8554
const serverPort = 8000
const webrtcPort = 8555
const startTimeoutMs = 20_000
const stopTimeoutMs = 10_000
const tailLines = 20

const say = text => {
	console.error(`demo: ${text}`)
}

const pause = ms =>
	new Promise(resolve => {
		setTimeout(resolve, ms)
	})

/** Whether a probe, a server or a UDP socket, that was just told to listen does so. */
async function listens(probe) {
	try {
		await once(probe, 'listening')
		return true
	} catch {
		return false
	} finally {
		probe.close()
	}
}

const isFree = async (port, host) => listens(net.createServer().listen(port, host))
const isFreeForUdp = async port => listens(createSocket('udp4').bind(port))

/** A flag's value on a command line: `--port 80` or `--port=80`. */
function flag(args, name) {
	const at = args.findLastIndex(arg => arg === name || arg.startsWith(`${name}=`))
	if (at === -1) return undefined
	return args[at] === name ? args[at + 1] : args[at].slice(name.length + 1)
}

/**
 * Starts a program in a process group of its own, so that a Ctrl-C reaches only us, and we stop the programs in their order.
 * `ended` resolves with the reason and the exit code; `tail` holds what it last wrote on standard error.
 */
function start(name, command, args, stdio) {
	const child = spawn(command, args, {cwd: root, detached: true, stdio})
	const program = {name, child, tail: [], running: true}
	// A pipe that breaks because its reader has ended is told by `ended`.
	child.stdin?.on('error', () => {})
	program.ended = new Promise(resolve => {
		const settle = (reason, code) => {
			program.running = false
			resolve({name, reason, code})
		}
		child.once('error', error => {
			settle(`could not be started: ${error.message}`, 1)
		})
		child.once('exit', (code, signal) => {
			// What it wrote last may still be on its way. A grandchild can hold the pipe open, so this does not wait for its end.
			const reason = signal ? `was ended by ${signal}` : `ended with exit code ${code}`
			Promise.race([once(child, 'close'), pause(200)]).then(() => {
				settle(reason, signal ? 128 + os.constants.signals[signal] : code)
			})
		})
	})
	return program
}

function eachLine(stream, use) {
	readline.createInterface({input: stream, crlfDelay: Infinity}).on('line', use)
}

function keep(program, line) {
	program.tail.push(line)
	if (program.tail.length > tailLines) program.tail.shift()
}

/** The object that a line holds, if it holds one. */
function parsed(line) {
	try {
		const value = JSON.parse(line)
		return typeof value === 'object' && value !== null ? value : undefined
	} catch {
		return undefined
	}
}

function startCamera(port) {
	// The system's Python is the one that has GStreamer's bindings. It ends when its standard input does, so it cannot outlive us.
	const camera = start(
		'camera',
		'/usr/bin/python3',
		['scripts/camera.py', '--port', String(port)],
		['pipe', 'pipe', 'pipe']
	)
	camera.ready = new Promise(resolve => {
		eachLine(camera.child.stdout, line => {
			const event = parsed(line)
			if (event?.event === 'ready') resolve(event.port)
		})
	})
	eachLine(camera.child.stderr, line => {
		keep(camera, line)
	})
	return camera
}

/** A line of the server's log, for people: its standard error is our pipe, so it writes JSON. */
function readable({time, level, msg, ...rest}) {
	const facts = Object.entries(rest)
		.map(([name, value]) => ` ${name}=${typeof value === 'object' ? JSON.stringify(value) : value}`)
		.join('')
	return `${new Date(time ?? Date.now()).toTimeString().slice(0, 8)} ${String(level ?? '').padEnd(5)} ${msg ?? ''}${facts}`
}

function startServer(args) {
	// If we are killed outright we can stop nothing any more, so the kernel is asked beforehand to do it; a system that cannot goes without.
	const tied = ['--pdeathsig', 'TERM', '--']
	const canTie = spawnSync('setpriv', [...tied, 'true'], {stdio: 'ignore'}).status === 0
	const node = [process.execPath, 'dist/cli/main.js', ...args]
	const [command, ...rest] = canTie ? ['setpriv', ...tied, ...node] : node
	const server = start('server', command, rest, ['ignore', 'inherit', 'pipe'])
	server.ready = new Promise(resolve => {
		eachLine(server.child.stderr, line => {
			const entry = parsed(line)
			process.stderr.write(`${entry && process.stderr.isTTY ? readable(entry) : line}\n`)
			keep(server, line)
			if (entry?.msg === 'listening') resolve(entry)
		})
	})
	return server
}

/** The addresses under which other machines may reach this one. */
function addresses() {
	return Object.entries(os.networkInterfaces())
		.filter(([name]) => !/^(docker|br-|veth|virbr)/.test(name))
		.flatMap(([, list]) => list)
		.filter(({family, internal}) => family === 'IPv4' && !internal)
		.map(({address}) => address)
}

function describe({host, port, cameraPort}) {
	const camera = `rtsp://127.0.0.1:${cameraPort}`
	const named = path => `rtsp_url=${encodeURIComponent(`${camera}${path}`)}`
	const server = name => `http://${name.includes(':') ? `[${name}]` : name}:${port}`
	const page = name => `${server(name)}/index.html#${named('/h264')}`
	const everywhere = ['0.0.0.0', '::', undefined].includes(host)
	const here = everywhere || ['127.0.0.1', '::1'].includes(host) ? 'localhost' : host
	const rule = '─'.repeat(100)
	console.log(
		[
			'',
			rule,
			`  The picture:   ${page(here)}`,
			...(everywhere ? addresses().map(address => `  From a phone:  ${page(address)}`) : []),
			`  Many at once:  ${server(here)}/wall.html#${['/h264', '/h265', '/mjpeg'].map(named).join('&')}`,
			'',
			`  This camera also has ${camera}/h265, /mjpeg and /secret (with a password: rtsp://demo:secret@127.0.0.1:${cameraPort}/secret).`,
			'  Ctrl-C stops both.',
			rule,
			''
		].join('\n')
	)
}

// A terminal or a reader that has gone away must not keep us from stopping what we started.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})

let askedAt
let askToStop
const askedToStop = new Promise(resolve => {
	askToStop = resolve
})
let askToKill
const askedToKill = new Promise(resolve => {
	askToKill = resolve
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
	process.on(signal, () => {
		// Whoever asks again does not want to wait. npm repeats at once what the terminal has sent already, so an echo does not count.
		if (askedAt !== undefined && performance.now() - askedAt > 500) askToKill()
		askedAt ??= performance.now()
		askToStop()
	})
}
// npm that was killed outright has told us nothing, and whoever killed it wants the demo to end.
if (process.env.npm_lifecycle_event === 'demo') {
	const parent = process.ppid
	setInterval(() => {
		if (process.ppid !== parent) askToStop()
	}, 1000)
}

const args = process.argv.slice(2)
const configured = flag(args, '--config') ?? flag(args, '-c') ?? process.env.SLUICE_CONFIG
const askedPort = flag(args, '--port') ?? process.env.SLUICE_PORT
const expectedPort = Number(askedPort ?? serverPort)
// A file may ask for ports of its own.
if (
	configured === undefined &&
	askedPort === undefined &&
	!(await isFree(serverPort, flag(args, '--host') ?? process.env.SLUICE_HOST))
) {
	say(`port ${serverPort} is taken, so the server takes a free one`)
	args.push('--port', '0')
}
if (
	configured === undefined &&
	(flag(args, '--webrtc-port') ?? process.env.SLUICE_WEBRTC_PORT) === undefined &&
	!(await isFreeForUdp(webrtcPort))
) {
	say(`UDP port ${webrtcPort} is taken, so WebRTC takes a free one`)
	args.push('--webrtc-port', '0')
}
const cameraPortIsFree = await isFree(cameraPort, '127.0.0.1')
if (!cameraPortIsFree) say(`port ${cameraPort} is taken, so the camera takes a free one`)

const camera = startCamera(cameraPortIsFree ? cameraPort : 0)
const server = startServer(args)

/** Stops a program that runs; false if it had to be killed. */
async function stop(program, ask) {
	if (!program.running) return true
	ask()
	await Promise.race([program.ended, pause(stopTimeoutMs), askedToKill])
	if (!program.running) return true
	say(`the ${program.name} did not stop, so it is killed`)
	try {
		process.kill(-program.child.pid, 'SIGKILL')
	} catch {
		// It has ended just now.
	}
	await program.ended
	return false
}

/** Stops both, the server first, so that it can take leave of the camera. */
async function stopBoth() {
	const serverStopped = await stop(server, () => {
		server.child.kill('SIGTERM')
	})
	const cameraStopped = await stop(camera, () => {
		camera.child.stdin.end()
	})
	return serverStopped && cameraStopped
}

let playing = false
async function showAddress() {
	const readiness = async program => {
		const ready = await Promise.race([program.ready, pause(startTimeoutMs)])
		if (ready === undefined && program.running)
			say(`the ${program.name} has not said within ${startTimeoutMs / 1000} s that it is ready`)
		return ready
	}
	// One that has not said it may run well all the same, as a server that logs less does: then its port is taken as asked for.
	const [rtspPort = cameraPort, {host, port} = {port: expectedPort}] = await Promise.all([
		readiness(camera),
		readiness(server)
	])
	if (askedAt !== undefined || !camera.running || !server.running || !port) return
	playing = true
	describe({host, port, cameraPort: rtspPort})
}
void showAddress()

const dead = await Promise.race([askedToStop, camera.ended, server.ended])
if (dead === undefined) process.exit((await stopBoth()) ? 0 : 1)
say(`the ${dead.name} ${dead.reason}`)
// What the server wrote was shown when it wrote it.
if (dead.name === 'camera') for (const line of camera.tail) console.error(`  ${line}`)
await stopBoth()
// A server that ended well before it began was asked for its help or its version. Any other end comes too early.
process.exit(dead.code === 0 && (playing || dead.name === 'camera') ? 1 : dead.code)
