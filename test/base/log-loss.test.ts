import {type ChildProcess, execFileSync, spawn, spawnSync} from 'node:child_process'
import {once} from 'node:events'
import {
	closeSync,
	constants,
	createReadStream,
	openSync,
	readdirSync,
	readFileSync,
	readlinkSync
} from 'node:fs'
import {mkdtemp, readFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import path from 'node:path'
import process from 'node:process'
import {text} from 'node:stream/consumers'
import {stripVTControlCharacters} from 'node:util'
import test, {type ExecutionContext} from 'ava'
import {startProgram} from '../support/processes.js'
import {until, view, type TestViewer} from '../support/viewer.js'

const serverArgs = [
	'dist/cli/main.js',
	'--host',
	'127.0.0.1',
	'--port',
	'0',
	'--webrtc-port',
	'0',
	'--max-pipelines',
	'1'
]
const quietArgs = [...serverArgs, '--log-level', 'warn']
/** A refused request has one line in the log, with its camera's address. */
const longUrl = `rtsp://127.0.0.1/${'x'.repeat(2000)}`

interface Server {
	child: ChildProcess
	http: string
	viewer: TestViewer
	exit: Promise<unknown[]>
}

/** The TCP port that a process listens on, for a server whose log nobody can read. */
function portOf(pid: number): number | undefined {
	try {
		const sockets = new Set(
			readdirSync(`/proc/${pid}/fd`).map(
				fd => /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]
			)
		)
		const rows = readFileSync(`/proc/${pid}/net/tcp`, 'utf8')
			.split('\n')
			.map(row => row.trim().split(/\s+/))
		// proc(5): the local address, the state, of which 0A is LISTEN, and the inode.
		const [, address = ''] =
			rows.find(([, , , state, , , , , , inode]) => state === '0A' && sockets.has(inode)) ?? []
		return address === '' ? undefined : Number.parseInt(address.split(':')[1] ?? '', 16)
	} catch {
		// A descriptor was closed meanwhile.
		return undefined
	}
}

/** A server with this standard error, and a viewer that holds its only pipeline. */
async function startServer(
	t: ExecutionContext,
	stderr: number | 'pipe',
	command: string[] = [process.execPath, ...quietArgs]
): Promise<Server> {
	const [program = '', ...args] = command
	const child = spawn(program, args, {stdio: ['ignore', 'ignore', stderr]})
	const exit = once(child, 'exit')
	t.teardown(async () => {
		child.kill('SIGKILL')
		await exit
	})
	return {child, exit, ...(await watchServer(t, child.pid ?? 0))}
}

async function watchServer(
	t: ExecutionContext,
	pid: number
): Promise<{http: string; viewer: TestViewer}> {
	let port: number | undefined
	await until(() => (port = portOf(pid)) !== undefined, 20_000, 'the server listens')
	const viewer = view(t, `ws://127.0.0.1:${port}/ws/stream?pipeline=test`, {keep: 0})
	await viewer.received(1)
	return {http: `http://127.0.0.1:${port}`, viewer}
}

async function refuse(t: ExecutionContext, {http}: {http: string}, times: number): Promise<void> {
	for (let time = 0; time < times; time++) {
		const {status} = await fetch(`${http}/snapshot.jpg?rtsp_url=${longUrl}`)
		if (status !== 503) t.is(status, 503)
	}
}

async function lostLines({http}: {http: string}): Promise<number> {
	return Number(
		/^sluice_log_lines_lost_total (\d+)$/m.exec(await (await fetch(`${http}/metrics`)).text())?.[1]
	)
}

/** Frames that come from now on. */
async function keepsPlaying(t: ExecutionContext, {viewer}: {viewer: TestViewer}): Promise<void> {
	let frames = 0
	viewer.socket.on('message', () => {
		frames++
	})
	await until(
		() => frames >= 10 || viewer.socket.readyState !== viewer.socket.OPEN,
		20_000,
		'ten more frames'
	)
	t.true(frames >= 10, 'the viewer has its frames')
	t.deepEqual(viewer.texts, [])
}

async function stops(t: ExecutionContext, {child, exit}: Server): Promise<void> {
	child.kill('SIGTERM')
	t.deepEqual(await exit, [0, null])
}

/** Every line of ours is there whole, and those that are not are told. */
function addsUp(t: ExecutionContext, log: string, requests: number, lost: number): void {
	const lines = log
		.trimEnd()
		.split('\n')
		.map(line => JSON.parse(line) as Record<string, unknown>)
	const losses = lines.filter(line => line['msg'] === 'log lines lost')
	t.is(
		losses.reduce((sum, {lines: count}) => sum + Number(count), 0),
		lost
	)
	t.is(lines.filter(line => line['msg'] === 'failed').length + lost, requests)
	for (const loss of losses) t.regex(String(loss['since']), /^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
}

test.serial(
	'a log on a full disk costs lines, which are counted, and no viewer a frame',
	async t => {
		const full = openSync('/dev/full', 'w')
		const server = await startServer(t, full, [process.execPath, ...serverArgs])
		closeSync(full)
		t.is(await lostLines(server), 0)
		await refuse(t, server, 250)
		t.true((await lostLines(server)) > 50)
		await keepsPlaying(t, server)
		await stops(t, server)
	}
)

test.serial(
	'when there is room again, the log says how many lines were lost, and since when',
	async t => {
		const file = path.join(await mkdtemp(path.join(tmpdir(), 'sluice-')), 'log')
		const fd = openSync(file, 'a')
		const server = await startServer(t, fd)
		closeSync(fd)
		// A limit that every user may set stands for the end of a disk: what would pass it fails with EFBIG.
		const limit = (bytes: string) =>
			execFileSync('prlimit', ['--pid', String(server.child.pid), `--fsize=${bytes}:`])
		limit('65536')
		await refuse(t, server, 250)
		const lost = await lostLines(server)
		t.true(lost > 50)
		t.is((await readFile(file)).length, 65536)
		await keepsPlaying(t, server)
		limit('unlimited')
		await until(
			async () => (await readFile(file, 'utf8')).includes('log lines lost'),
			20_000,
			'the loss is told'
		)
		await refuse(t, server, 1)
		const log = await readFile(file, 'utf8')
		addsUp(t, log, 251, lost)
		t.like(JSON.parse(log.split('\n').find(line => line.includes('log lines lost')) ?? ''), {
			level: 'error',
			reason: 'EFBIG'
		})
		t.is(await lostLines(server), lost)
		await stops(t, server)
	}
)

test.serial(
	'a pipe that nobody reads holds up neither frames nor answers; once it is read, each line is there or counted',
	async t => {
		const fifo = path.join(await mkdtemp(path.join(tmpdir(), 'sluice-')), 'log')
		execFileSync('mkfifo', [fifo])
		const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK)
		const writer = openSync(fifo, 'w')
		const server = await startServer(t, writer)
		closeSync(writer)
		await refuse(t, server, 250)
		const lost = await lostLines(server)
		t.true(lost > 50)
		await keepsPlaying(t, server)
		// Whoever reads at last, with the server's end, has the last lines too.
		const cat = spawn('cat', {stdio: [reader, 'pipe', 'inherit']})
		closeSync(reader)
		const log = text(cat.stdout ?? createReadStream('/dev/null'))
		await stops(t, server)
		addsUp(t, await log, 250, lost)
	}
)

test.serial('a pipe that nobody reads does not keep the server from ending', async t => {
	const fifo = path.join(await mkdtemp(path.join(tmpdir(), 'sluice-')), 'log')
	execFileSync('mkfifo', [fifo])
	const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK)
	t.teardown(() => {
		closeSync(reader)
	})
	const writer = openSync(fifo, 'w')
	const server = await startServer(t, writer)
	closeSync(writer)
	await refuse(t, server, 50)
	await stops(t, server)
})

test.serial('a log whose reader has gone is no reason to end, nor is none at all', async t => {
	const gone = await startServer(t, 'pipe')
	gone.child.stderr?.destroy()
	const none = await startServer(t, 'pipe', [
		'sh',
		'-c',
		'exec "$0" "$@" 2>&-',
		process.execPath,
		...quietArgs
	])
	for (const server of [gone, none]) {
		await refuse(t, server, 3)
		await keepsPlaying(t, server)
		await stops(t, server)
	}
})

/** Runs a program on a terminal of its own, tells its process, reads nothing until a line comes, then all of it. */
const onTerminal = `
import json, os, pty, sys
pid, terminal = pty.fork()
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
print(json.dumps({'pid': pid}), flush=True)
if not sys.stdin.readline(): sys.exit()
shown = b''
try:
	while True:
		part = os.read(terminal, 65536)
		if not part: break
		shown += part
except OSError: pass
print(json.dumps({'shown': shown.decode(), 'status': os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}), flush=True)
`

test.serial('a terminal that is stopped holds up no frame; its lines wait', async t => {
	const program = startProgram(t, '/usr/bin/python3', [
		'-c',
		onTerminal,
		process.execPath,
		...quietArgs
	])
	const pid = Number((await program.line(line => 'pid' in line))['pid'])
	const server = await watchServer(t, pid)
	await refuse(t, server, 20)
	await keepsPlaying(t, server)
	process.kill(pid, 'SIGTERM')
	program.child.stdin?.write('\n')
	const {shown, status} = await program.line(line => 'shown' in line)
	t.is(status, 0)
	const lines = stripVTControlCharacters(String(shown)).trimEnd().split('\r\n')
	t.is(
		lines.filter(line =>
			/^\[\d\d:\d\d:\d\d\.\d{3}\] WARN: failed \{"viewer":"127\.0\.0\.1:\d+","camera":"rtsp:\/\/127\.0\.0\.1\/x{2000}","code":"over_capacity","detail":"[^"]+"\}$/.test(
				line
			)
		).length,
		20
	)
})

test('what cannot be printed is told, and its exit code says so', t => {
	for (const args of [['check', 'test'], ['--help'], ['--version']]) {
		const run = (redirections: string) =>
			spawnSync(
				'sh',
				['-c', `exec "$0" "$@" ${redirections}`, process.execPath, 'dist/cli/main.js', ...args],
				{encoding: 'utf8'}
			)
		const {status, stderr} = run('> /dev/full')
		t.is(status, 1, args.join(' '))
		t.is(stderr, 'sluice: standard output cannot be written: ENOSPC\n', args.join(' '))
		t.is(run('> /dev/full 2>&1').status, 1, args.join(' '))
		t.is(run('>&-').status, 0, args.join(' '))
	}
	t.is(
		spawnSync('sh', [
			'-c',
			'"$0" "$@" 2> /dev/full',
			process.execPath,
			'dist/cli/main.js',
			'--nonsense'
		]).status,
		2
	)
	// Whoever closes the pipe early has read enough.
	t.is(
		spawnSync('bash', [
			'-c',
			'"$0" "$@" | head -n 1 > /dev/null; exit "${PIPESTATUS[0]}"',
			process.execPath,
			'dist/cli/main.js',
			'--help'
		]).status,
		0
	)
})
