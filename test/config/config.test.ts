import {execFile, spawn} from 'node:child_process'
import {once} from 'node:events'
import net, {type AddressInfo} from 'node:net'
import process from 'node:process'
import {readFileSync} from 'node:fs'
import {promisify} from 'node:util'
import test from 'ava'
import {environmentName, options, readCommand, UsageError} from '../../dist/config/config.js'
import {errorTable} from '../../dist/base/errors.js'

const run = promisify(execFile)

/** The exit code and standard error of the real program. */
async function sluice(
	args: string[],
	env: NodeJS.ProcessEnv = {}
): Promise<{code: number | null; stderr: string; stdout: string}> {
	const child = spawn(process.execPath, ['dist/cli/main.js', ...args], {
		env: {...process.env, ...env}
	})
	let stderr = ''
	let stdout = ''
	child.stderr.on('data', chunk => {
		stderr += String(chunk)
	})
	child.stdout.on('data', chunk => {
		stdout += String(chunk)
	})
	const [code] = (await once(child, 'close')) as [number | null]
	return {code, stderr, stdout}
}

const problems = (args: string[], environment: NodeJS.ProcessEnv = {}): readonly string[] => {
	try {
		readCommand(args, environment)
		return []
	} catch (error) {
		if (error instanceof UsageError) return error.problems
		throw error
	}
}

test('the defaults are the documented ones', t => {
	const command = readCommand([], {})
	t.true('run' in command)
	if ('run' in command) {
		const {pipelinesDir, ...rest} = command.run
		t.deepEqual(rest, {
			host: '0.0.0.0',
			port: 8000,
			openTimeoutMs: 10_000,
			frameTimeoutMs: 4000,
			maxPipelines: 64,
			maxViewers: 1000,
			share: false,
			lingerMs: 5000,
			retryForMs: 60_000,
			logLevel: 'info',
			allowRtspUrl: true,
			cameras: [],
			webrtcPort: 8555,
			webrtcHosts: [],
			webrtcTranscode: true,
			maxWebrtcViewers: 100,
			iceServers: []
		})
		t.regex(pipelinesDir, /pipelines$/)
		t.true(Object.isFrozen(command.run))
	}
})

test('a flag wins over its twin in the environment, which wins over the default', t => {
	const environment = {SLUICE_PORT: '9000', SLUICE_OPEN_TIMEOUT: '2.5'}
	const command = readCommand(['--port', '9001'], environment)
	t.like(command, {run: {port: 9001, openTimeoutMs: 2500}})
})

for (const [args, environment, expected] of [
	[['--port', '70000'], {}, ['--port must be a whole number from 0 to 65535, not "70000"']],
	[['--port', '80.5'], {}, ['--port must be a whole number from 0 to 65535, not "80.5"']],
	[['--port='], {}, ['--port must be a whole number from 0 to 65535, not ""']],
	[['--port'], {}, ['--port needs a value']],
	[
		['--prot', '1'],
		{},
		[
			'--prot is unknown; sluice --help lists the flags',
			'"1" is no command and no flag; sluice --help lists both'
		]
	],
	[['-x'], {}, ['-x is unknown; sluice --help lists the flags']],
	[['8000'], {}, ['"8000" is no command and no flag; sluice --help lists both']],
	[['rtsp://admin:secret@cam/1'], {}, ["a camera's URL is given as sluice check --url URL"]],
	[
		['check', 'rtsp://admin:secret@cam/1'],
		{},
		["a camera's URL is given as sluice check --url URL"]
	],
	[['--host', 'a b'], {}, ['--host must be an address or a host name, not "a b"']],
	[['--open-timeout', 'soon'], {}, ['--open-timeout must be a number from 0.5 to 300, not "soon"']],
	[
		['--log-level', 'loud'],
		{},
		['--log-level must be one of silent, error, warn, info, debug, not "loud"']
	],
	[
		['--max-pipelines', '0'],
		{},
		['--max-pipelines must be a whole number from 1 to 10000, not "0"']
	],
	[
		['--pipelines', '/nowhere'],
		{},
		['--pipelines must be a folder that can be read, not "/nowhere"']
	],
	[
		['--pipelines', 'package.json'],
		{},
		['--pipelines must be a folder that can be read, not "package.json"']
	],
	[
		[],
		{SLUICE_PORT: 'tcp://10.0.0.1:80'},
		['SLUICE_PORT must be a whole number from 0 to 65535, not "tcp://10.0.0.1:80"']
	],
	[[], {SLUICE_PROT: '1'}, ['SLUICE_PROT is unknown; sluice --help lists what is known']],
	[
		['--port', 'x', '--host', ' '],
		{},
		[
			'--host must be an address or a host name, not " "',
			'--port must be a whole number from 0 to 65535, not "x"'
		]
	]
] as [string[], NodeJS.ProcessEnv, string[]][]) {
	test(`refused: ${args.join(' ')} ${JSON.stringify(environment)}`, t => {
		t.deepEqual(problems(args, environment), expected)
	})
}

test('wrong usage ends the program with one line and exit code 2', async t => {
	const {code, stderr} = await sluice(['--foo'])
	t.is(code, 2)
	t.is(stderr, 'sluice: --foo is unknown; sluice --help lists the flags\n')
})

test('a taken port ends the program with one line and exit code 1', async t => {
	const server = net.createServer().listen(0, '127.0.0.1')
	await once(server, 'listening')
	t.teardown(() => server.close())
	const {port} = server.address() as AddressInfo
	const {code, stderr} = await sluice(['--host', '127.0.0.1', '--port', String(port)])
	t.is(code, 1)
	t.is(stderr, `sluice: cannot listen on 127.0.0.1:${port}: the port is taken (EADDRINUSE)\n`)
})

test('an address of another machine ends the program with one line and exit code 1', async t => {
	const {code, stderr} = await sluice(['--host', '192.0.2.1'])
	t.is(code, 1)
	t.is(
		stderr,
		'sluice: cannot listen on 192.0.2.1:8000: the address is none of this machine (EADDRNOTAVAIL)\n'
	)
})

test('--help lists every flag, --version is that of the package', async t => {
	const help = await run(process.execPath, ['dist/cli/main.js', '--help'])
	for (const flag of Object.keys(options)) t.true(help.stdout.includes(`--${flag} `), flag)
	const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as {
		version: string
		bin: {sluice: string}
	}
	t.is(
		(await run(process.execPath, [manifest.bin.sluice, '--version'])).stdout,
		`${manifest.version}\n`
	)
})

test('addresses and ICE servers may be repeated, and a credential is not repeated in an error', t => {
	const command = readCommand(
		[
			'--webrtc-host',
			'203.0.113.5',
			'--webrtc-host',
			'cams.example.com',
			'--ice-server',
			'turn:turn.example.com;username=u;credential=c'
		],
		{SLUICE_WEBRTC_HOST: '10.0.0.1'}
	)
	t.like(command, {
		run: {
			webrtcHosts: ['203.0.113.5', 'cams.example.com'],
			iceServers: [{url: 'turn:turn.example.com', username: 'u', credential: 'c'}]
		}
	})
	const told = [
		'--ice-server must be stun:host:port, turn:host:port?transport=udp;username=…;credential=…, or turn:host:port;secret=…'
	]
	for (const wrong of [
		'turn:turn.example.com;username=u;password=c',
		'turn:turn.example.com',
		'stun:s;secret=x',
		'http://x',
		'turn:x;username=u;credential="c"'
	])
		t.deepEqual(problems(['--ice-server', wrong]), told, wrong)
})

test('--share alone is --share on', t => {
	for (const args of [['--share'], ['--share', 'on'], ['--share=on'], ['--share', '--port', '0']]) {
		const command = readCommand(args, {})
		t.true('run' in command && command.run.share, args.join(' '))
	}
	t.throws(() => readCommand(['--share=maybe'], {}), {
		message: '--share must be on or off, not "maybe"'
	})
})

test('README.md documents every flag with its twin and its default, and every error code with its status', t => {
	const readme = readFileSync('README.md', 'utf8')
	for (const [flag, option] of Object.entries(options)) {
		const row = readme.split('\n').find(line => line.startsWith(`| \`--${flag} `)) ?? ''
		t.true(row.includes(`\`${environmentName(flag)}\``), `--${flag}: ${row}`)
		t.true(flag === 'pipelines' || row.includes(`| \`${option.default}\` |`), `--${flag}: ${row}`)
	}
	for (const [code, {status}] of Object.entries(errorTable)) {
		t.true(
			readme.split('\n').some(line => line.startsWith(`| \`${code}\` | ${status} |`)),
			code
		)
	}
})
