import {execFile} from 'node:child_process'
import {readFileSync} from 'node:fs'
import {mkdir, mkdtemp, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import path from 'node:path'
import process from 'node:process'
import {promisify} from 'node:util'
import test from 'ava'
import {type Config, readCommand, UsageError} from '../../dist/config/config.js'

const run = promisify(execFile)

/** The file's path, in a folder of its own. */
async function write(text: string | Uint8Array): Promise<string> {
	const file = path.join(await mkdtemp(path.join(tmpdir(), 'sluice-')), 'sluice.yaml')
	await writeFile(file, text)
	return file
}

const door = 'cameras:\n  door:\n    url: rtsp://cam/live\n'

async function read(
	text: string,
	environment: NodeJS.ProcessEnv = {},
	args: string[] = []
): Promise<Config> {
	const command = readCommand(['--config', await write(text), ...args], environment)
	if (!('run' in command)) throw new Error('nothing is to be run')
	return command.run
}

/** What is wrong, with the file's folder left out. */
async function problems(
	text: string | Uint8Array,
	environment: NodeJS.ProcessEnv = {},
	args: string[] = []
): Promise<string[]> {
	const file = await write(text)
	try {
		readCommand(['--config', file, ...args], environment)
		return []
	} catch (error) {
		if (error instanceof UsageError)
			return error.problems.map(problem => problem.replaceAll(`${path.dirname(file)}/`, ''))
		throw error
	}
}

test('the environment wins over the file, a flag over both, the file over the defaults', async t => {
	const text = 'port: 9000\nopen-timeout: 2.5\nlinger: "7"\nshare: true\n'
	const config = await read(text, {SLUICE_PORT: '9001', SLUICE_LINGER: '8'}, ['--linger', '9'])
	t.like(config, {
		port: 9001,
		openTimeoutMs: 2500,
		lingerMs: 9000,
		share: true,
		retryForMs: 60_000,
		allowRtspUrl: true,
		cameras: []
	})
	t.is((await read(text)).port, 9000)
	t.false((await read('share: on\nallow-rtsp-url: off', {}, ['--share', 'off'])).share)
	const file = await write('port: 9002\n')
	t.like(readCommand([], {SLUICE_CONFIG: file}), {run: {port: 9002}})
	t.like(readCommand(['-c', file], {SLUICE_CONFIG: '/nowhere'}), {run: {port: 9002}})
})

test('cameras have a URL, a template and parameters; nothing at all is no camera', async t => {
	const config = await read(
		'cameras:\n  door:\n    url: rtsp://admin:p@ss@cam:88/live\n    params: {quality: 60, "transport": udp}\n  Yard_1.b-2: {url: "rtspt://cam/x", pipeline: h264}\n'
	)
	t.true(Object.isFrozen(config.cameras))
	const [first, second] = config.cameras
	t.like(first, {name: 'door', pipeline: 'jpeg'})
	t.like(first?.source, {
		name: 'door',
		label: 'door',
		url: '',
		location: 'rtsp://cam:88/live',
		user: 'admin',
		password: 'p@ss'
	})
	t.deepEqual(Object.fromEntries(first?.parameters ?? []), {quality: '60', transport: 'udp'})
	t.like(second, {name: 'Yard_1.b-2', pipeline: 'h264'})
	for (const text of [
		'',
		'# nothing\n',
		'cameras:\n',
		'cameras: {}\n',
		'\uFEFFport: 1\r\ncameras:\r\n'
	])
		t.deepEqual((await read(text)).cameras, [], text)
	t.is((await read(`${door}    params:\n`)).cameras.length, 1)
})

test("a list may be written for what may be repeated as a flag; an ICE server's credential is not repeated", async t => {
	t.deepEqual((await read('webrtc-host: [10.0.0.1, "example.org"]')).webrtcHosts, [
		'10.0.0.1',
		'example.org'
	])
	t.deepEqual((await read('webrtc-host: 10.0.0.1 ${B:b}\nice-server: []')).webrtcHosts, [
		'10.0.0.1',
		'b'
	])
	const told = await problems('ice-server: nonsense,geheim\nwebrtc-host: [a, [b]]')
	t.is(told.length, 2)
	t.regex(told[0] ?? '', /^sluice\.yaml:1: ice-server must be /)
	t.false(told.join('').includes('geheim'))
	t.is(told[1], 'sluice.yaml:2: webrtc-host must be a single value, not a list')
})

test('the example of README.md is what the server takes', async t => {
	const [, example = ''] =
		/```yaml[^\n]*\n(.*?\ncameras:.*?)```/s.exec(readFileSync('README.md', 'utf8')) ?? []
	const config = await read(example, {DOOR_PASSWORD: 'p@ss:word'})
	t.like(config, {share: true, allowRtspUrl: false})
	t.deepEqual(
		config.cameras.map(({name, source}) => [name, source.location, source.password]),
		[
			['door', 'rtsp://10.0.0.5/live', 'p@ss:word'],
			['yard', 'rtsp://127.0.0.1:8554/h264', undefined]
		]
	)
	t.regex(
		(await problems(example)).join('\n'),
		/^sluice\.yaml:\d+: cameras\.door\.url needs the variable DOOR_PASSWORD, which is not set in the environment$/
	)
})

test('variables are filled in behind the parser, in values only', async t => {
	const environment = {PASSWORD: 'a: b # "c"\n', USER: '', SLUICE_DOOR: 'x'}
	const config = await read(
		'cameras:\n  door: {url: "rtsp://${USER}:${SLUICE_DOOR}@${HOST:cam:8554}/$${PASSWORD}?a=$b&c=${D:}"}\n',
		environment
	)
	t.like(config.cameras[0]?.source, {
		user: '',
		password: 'x',
		host: 'cam',
		port: 8554,
		location: 'rtsp://cam:8554/${PASSWORD}?a=$b&c='
	})
	t.is((await read('port: ${P:80}${Q}', {Q: '81'})).port, 8081)
	// A variable that holds YAML is a text all the same.
	t.deepEqual(await problems('host: ${PASSWORD} # ${SLUICE_DOOR}', environment), [
		'sluice.yaml:1: host must be an address or a host name'
	])
	t.regex(
		(await problems('${PASSWORD}: 1 # ${SLUICE_DOOR}', environment)).join('\n'),
		/^sluice\.yaml:1: … is unknown/
	)
	// What the file names, in a comment too, is no unknown variable of ours; another is.
	t.deepEqual(await problems('# ${SLUICE_DOOR}\n', {SLUICE_DOOR: 'x', SLUICE_DOR: 'x'}), [
		'SLUICE_DOR is unknown; sluice --help lists what is known'
	])
})

test("an alias stands for its anchor's value, and a bomb of them does no harm", async t => {
	const config = await read(
		'cameras:\n  a:\n    url: rtsp://cam/a\n    params: &small {quality: 30}\n  b:\n    url: rtsp://cam/b\n    params: *small\n'
	)
	t.deepEqual(
		config.cameras.map(({parameters}) => parameters.get('quality')),
		['30', '30']
	)
	const levels = Array.from(
		{length: 30},
		(_, level) =>
			`x${level}: &x${level} [${level === 0 ? '1' : Array.from({length: 10}, () => `*x${level - 1}`).join(', ')}]`
	)
	const told = await problems(
		`${levels.join('\n')}\ncameras: &c {door: *c}\nport: *x29\nlinger: *nothing\n`
	)
	t.is(told.length, 30 + 4)
	t.deepEqual(told.slice(-4), [
		'sluice.yaml:31: cameras.door.door is unknown; known are url, pipeline, params',
		'sluice.yaml:31: cameras.door.url is missing',
		'sluice.yaml:32: port must be a single value, not a list',
		'sluice.yaml:33: linger must be a single value, not an alias of nothing, or one too many'
	])
})

for (const [text, expected] of [
	['port: 80x', ['1: port must be a whole number from 0 to 65535, not "80x"']],
	['port:', ['1: port must be a whole number from 0 to 65535, not ""']],
	['\nport: 0x50', ['2: port must be a whole number from 0 to 65535, not "0x50"']],
	['port: [1]', ['1: port must be a single value, not a list']],
	['host: rtsp://a:geheim@cam/', ['1: host must be an address or a host name']],
	['pipelines: nowhere', ['1: pipelines must be a folder that can be read, not "nowhere"']],
	['port: 1\nport: 2', ['2: port is there twice, first in line 1']],
	['- port', ['1: the file must be a map of options, as port: 8000, and cameras']],
	['port', ['1: the file must be a map of options, as port: 8000, and cameras']],
	['cameras: none', ['1: cameras must be a map, not a single value']],
	['cameras:\n  - door', ['1: cameras must be a map, not a list']],
	['cameras:\n  door: rtsp://a:geheim@cam/', ['2: cameras.door must be a map, not a single value']],
	[
		'cameras:\n  rtsp://a:geheim@cam/:',
		['2: a camera\'s name must be letters, digits, "_", "-" and ".", at most 64 of them']
	],
	[
		'cameras:\n  "a b": {}',
		['2: a camera\'s name must be letters, digits, "_", "-" and ".", at most 64 of them']
	],
	[
		`cameras:\n  ${'x'.repeat(65)}: {}`,
		['2: a camera\'s name must be letters, digits, "_", "-" and ".", at most 64 of them']
	],
	['cameras:\n  door:', ['2: cameras.door.url is missing']],
	['cameras:\n  ? [door]\n  : x', ['2: a key must be a plain text']],
	[`${door}  door:\n`, ['4: cameras.door is there twice, first in line 2']],
	[
		'cameras:\n  door:\n    url: http://a:geheim@cam/',
		[
			'3: cameras.door.url must begin with rtsp:// or rtsps:// (or with rtspt, rtspu, rtsph, rtspst, rtspsu, rtspsh, which choose the transport)'
		]
	],
	[
		'cameras:\n  door:\n    url: [rtsp://a:geheim@cam/]',
		['3: cameras.door.url must be a single value, not a list']
	],
	[
		'cameras:\n  door:\n    url: |\n      rtsp://cam/\n',
		['3: cameras.door.url must not contain white space or control characters']
	],
	[
		'cameras:\n  door:\n    url: rtsp://a:${PW}@cam/',
		['3: cameras.door.url needs the variable PW, which is not set in the environment']
	],
	[
		`${door}    pipelin: x`,
		['4: cameras.door.pipelin is unknown; known are url, pipeline, params']
	],
	[
		`${door}    pipeline: ../jpeg`,
		['4: cameras.door.pipeline must be the name of a template, not "../jpeg"']
	],
	[`${door}    params: 5`, ['4: cameras.door.params must be a map, not a single value']],
	[
		`${door}    params: {qualty: 5}`,
		[
			'4: cameras.door.params.qualty is unknown; the template jpeg has quality, max_width, max_height, max_fps, transport'
		]
	],
	[
		`${door}    params:\n      quality: 500\n      transport: tcp\n      transport: udp`,
		[
			'5: cameras.door.params.quality must be a whole number from 1 to 100, not "500"',
			'7: cameras.door.params.transport is there twice, first in line 6'
		]
	],
	[
		'cameras:\n  door:\n    url: rtspu://cam/\n    params: {transport: tcp}',
		["4: cameras.door.params.transport contradicts the scheme of the camera's url"]
	],
	[
		'log-level: ${A',
		[
			'1: log-level has a "${" that begins no variable, as ${NAME} or ${NAME:default} would; for the signs themselves write "$${"'
		]
	],
	[
		'log-level: ${1A}',
		[
			'1: log-level has a "${" that begins no variable, as ${NAME} or ${NAME:default} would; for the signs themselves write "$${"'
		]
	],
	[
		'log-level: ${A:-info}',
		['1: log-level gives A a default that begins with "-", as in a shell; here it is ${A:default}']
	],
	['log-level: ${A:geheim}', ['1: log-level must be one of silent, error, warn, info, debug']],
	['port: 1\n\thost: x', ['2: is no YAML here: tabs cannot indent']],
	['a: "geheim', ['1: is no YAML here: Missing closing "quote']],
	[
		'a: "geh\\eim\\q"',
		[
			'1: is no YAML here: a backslash in double quotes begins an escape that is none; take single quotes'
		]
	],
	['a: geheim: x', ['1: is no YAML here: a value that holds ": " needs quotes']],
	['a: !geheim x', ['1: is no YAML here: tags, as !name, are not taken']],
	['port: 1\n---\nport: 2', ['2: is no YAML here: a second document begins']]
] as [string, string[]][]) {
	test(`refused: ${JSON.stringify(text)}`, async t => {
		const told = await problems(text)
		t.deepEqual(
			told,
			expected.map(problem => `sluice.yaml:${problem}`)
		)
		t.false(JSON.stringify(told).includes('geheim'))
	})
}

test('an unknown key is told with those that are known', async t => {
	const told = await problems(
		'open_timeout: 5\nrtsp://a:geheim@cam/: 1\nconfig: x\n<<: {port: 1}\n'
	)
	t.deepEqual(
		told.map(problem => problem.split(';')[0]),
		[
			'sluice.yaml:1: open_timeout is unknown',
			'sluice.yaml:2: … is unknown',
			'sluice.yaml:3: config is unknown',
			'sluice.yaml:4: … is unknown'
		]
	)
	t.regex(told[0] ?? '', /known are cameras, host, port, .*open-timeout/)
})

test("a camera's template must be there, in the folder of the same file or of a flag", async t => {
	const file = await write(
		`pipelines: mine\n${door}    pipeline: small\n    params: {quality: 300}\n`
	)
	const folder = path.join(path.dirname(file), 'mine')
	const told = () => {
		try {
			readCommand(['--config', file], {})
			return ''
		} catch (error) {
			return (error as Error).message.replaceAll(path.dirname(file), '')
		}
	}
	t.is(told(), '/sluice.yaml:1: pipelines must be a folder that can be read, not "mine"')
	await mkdir(folder)
	t.is(told(), '/sluice.yaml:5: cameras.door.pipeline must be a template of /mine, not "small"')
	await writeFile(
		path.join(folder, 'small.gst'),
		'# @param {integer 1..400} quality=5 Quality\nrtspsrc name=src ! appsink name=sink\n'
	)
	t.is(told(), '')
	// A template that is broken is for the server's log, and for its viewers; it may be mended while the server runs.
	await writeFile(path.join(folder, 'small.gst'), '# @param nonsense\n')
	t.is(told(), '')
	t.throws(() => readCommand(['--config', file, '--pipelines', 'pipelines'], {}), {
		message: /cameras\.door\.pipeline must be a template of .*\/pipelines, not "small"$/
	})
	t.regex(
		(await problems(`pipelines: .\n${door}`)).join('\n'),
		/^sluice\.yaml:3: cameras\.door\.pipeline is missing, and .* has no jpeg\.gst$/
	)
})

test('what is no file of the kind is told in one line', async t => {
	const folder = await mkdtemp(path.join(tmpdir(), 'sluice-'))
	const told = (file: string) => {
		const error = t.throws(() => readCommand(['--config', file], {}), {instanceOf: UsageError})
		return error.message
	}
	t.is(told(folder), `${folder}: is a folder, not a file`)
	t.is(told('/nowhere.yaml'), '/nowhere.yaml: there is no such file')
	t.is(told('/dev/zero'), '/dev/zero: is larger than 256 KiB')
	t.is(told(''), '--config must be a file, not ""')
	t.deepEqual(await problems('# x\n'.repeat(250_000)), ['sluice.yaml: is larger than 256 KiB'])
	t.deepEqual(await problems(Buffer.from('host: caf\xe9\n', 'latin1')), [
		'sluice.yaml: is not UTF-8'
	])
	for (const deep of [
		'['.repeat(100_000),
		'{a: '.repeat(50_000),
		'- '.repeat(100_000),
		'? '.repeat(50_000)
	])
		t.true((await problems(deep)).length > 0, deep.slice(0, 4))
})

test('every problem of file, environment and flags is told at once, in a line each; sluice check refuses the same', async t => {
	const file = await write('port: x\npotr: 1\ncameras:\n  door: {url: "rtsp://a:${PW}"}\n')
	for (const verb of [[], ['check'], ['check', 'jpeg']]) {
		const error = await t.throwsAsync(
			run(process.execPath, ['dist/cli/main.js', ...verb, '--config', file, '--linger', 'x'], {
				env: {...process.env, PW: 'geheim', SLUICE_SHARE: 'maybe'}
			})
		)
		const {code, stderr} = error as unknown as {code: number; stderr: string}
		t.is(code, 2)
		const lines = stderr.trimEnd().split('\n')
		t.deepEqual(
			lines.filter(line => !line.includes('potr')),
			[
				'sluice: SLUICE_SHARE must be on or off, not "maybe"',
				'sluice: --linger must be a number from 0 to 3600, not "x"',
				`sluice: ${file}:1: port must be a whole number from 0 to 65535, not "x"`,
				`sluice: ${file}:4: cameras.door.url must name a host, and a port from 1 to 65535 if any: rtsp://user:password@host:554/path`
			]
		)
		t.is(lines.length, 5)
	}
	const sound = await write(`${door}pipelines: ${path.resolve('pipelines')}\n`)
	t.is(
		(await run(process.execPath, ['dist/cli/main.js', 'check', 'test', '--config', sound])).stdout,
		'test.gst: can run here\n'
	)
})
