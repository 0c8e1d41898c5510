import {execFile, execFileSync} from 'node:child_process'
import {once} from 'node:events'
import {mkdir, mkdtemp, symlink, writeFile} from 'node:fs/promises'
import net, {type AddressInfo} from 'node:net'
import {tmpdir} from 'node:os'
import path from 'node:path'
import process from 'node:process'
import test from 'ava'
import {startCamera, startProgram} from '../support/processes.js'

/** The real program's lines and exit code. */
async function sluice(...args: string[]): Promise<{code: number; lines: string[]}> {
	return sluiceWith({}, ...args)
}

async function sluiceWith(
	env: NodeJS.ProcessEnv,
	...args: string[]
): Promise<{code: number; lines: string[]}> {
	return new Promise(resolve => {
		execFile(
			process.execPath,
			['dist/cli/main.js', ...args],
			{env: {...process.env, ...env}},
			(error, stdout, stderr) => {
				resolve({
					code: typeof error?.code === 'number' ? error.code : 0,
					lines: (stdout + stderr).trimEnd().split('\n')
				})
			}
		)
	})
}

const sink = '! appsink name=sink max-buffers=1 drop=true sync=false'

for (const [name, text, ...findings] of [
	['good', `rtspsrc name=src\n${sink}`],
	['placeholder', `rtspsrc name=src latency={x}\n${sink}`, '1:26: {x} has no @param line'],
	[
		'twice',
		`# @param {integer 1..2} a=1 A\n# @param {integer 1..2} a=1 A\nrtspsrc name=src\n${sink}`,
		'2:25: the parameter a is declared twice'
	],
	[
		'range',
		`# @param {integer 1..2} a=3 A\nrtspsrc name=src latency={a}\n${sink}`,
		'1:27: the default of a, 3, is none of its values: a whole number from 1 to 2'
	],
	[
		'element',
		`rtspsrc name=src\n! avdec_nosuch\n${sink}`,
		'2:3: no element "avdec_nosuch" (Debian: gstreamer1.0-libav)'
	],
	[
		'property',
		`rtspsrc name=src\n  colour=red\n${sink}`,
		'2:3: no property "colour" in element "rtspsrc"'
	],
	[
		'adaptive',
		`# @param {integer 1..2} a=1 A\n# @adaptive a=encoder.qualty 1\nrtspsrc name=src ! jpegenc name=encoder\n${sink}`,
		'2:23: no property "qualty" in element "jpegenc"'
	],
	['nosrc', `rtspsrc\n${sink}`, '1:1: no element is named "src"'],
	['nosink', 'rtspsrc name=src ! fakesink', '1:1: no appsink is named "sink"'],
	['othersink', 'rtspsrc name=src\n! fakesink name=sink', '2:3: no appsink is named "sink"'],
	[
		'noends',
		'rtspsrc ! fakesink',
		'1:1: no element is named "src"',
		'1:1: no appsink is named "sink"'
	],
	[
		'sinks',
		`rtspsrc name=src ! tee name=t\n${sink}\nt. ${sink}`,
		'3:6: a second element is named "sink"'
	],
	[
		'appsinks',
		`rtspsrc name=src ! tee name=t\n${sink}\nt. ! queue ! appsink name=other`,
		'3:14: a second appsink, from which nobody takes anything: frames are taken from the one that is named "sink"'
	],
	[
		'sources',
		`rtspsrc name=src\n${sink}\nvideotestsrc name=src ! fakesink`,
		'3:1: a second element is named "src"'
	],
	[
		'queues',
		'rtspsrc name=src\n! appsink name=sink sync=false',
		'2:3: images may queue in this sink, and viewers would see the past: it needs max-buffers=1 drop=true'
	],
	[
		'drops',
		`# @output video/x-h264\nrtspsrc name=src\n${sink}`,
		'3:3: this sink may drop coded video, which tears the pictures: it needs drop=false'
	],
	[
		'quotes',
		`rtspsrc name=src user-agent="x\n${sink}`,
		'1:29: the quote " that begins here does not end'
	],
	['syntax', `rtspsrc name=src\n${sink} !`, '1:1: syntax error'],
	[
		'link',
		`rtspsrc name=src\n! audioconvert ! jpegenc\n${sink}`,
		/^2:18: could not link audioconvert0 to jpegenc0/
	],
	['large', 'x'.repeat(1_000_000), 'the file has 1000000 bytes; at most 65536 are taken'],
	['long', `rtspsrc name=src ! ${'x'.repeat(60_000)}\n${sink}`, /^1:20: no element "x{280,}…$/],
	[
		'lines',
		`rtspsrc name=src ! decodebin ! jpegenc\n${'\n'.repeat(31_000)}${sink}`,
		/^1:1: the launch text has 62\d{3} bytes as JSON; at most 60416 are taken$/
	],
	['latin', Buffer.from([0x23, 0xe4]), 'the file is not UTF-8'],
	[
		'empty',
		'# @title Nothing\n',
		'1:1: no element is named "src"',
		'1:1: no appsink is named "sink"'
	],
	[
		'all',
		[
			'# @titel All that may be wrong at once',
			'# @param {integer 1..2} a=3 A',
			'# @param {integer 1..100} q=80 Quality',
			'# @adaptive q=encoder.qualty 25',
			'rtspsrc latency={a} colour=red protocols=nonsense',
			'! nosuch shape=round ! video/x-raw, width=640 ! vah264nosuch ! nosuch',
			'! queue max-size-tine={q} leaky=downstream',
			'! jpegenc name=encoder quality={quality}',
			'! appsink name=sink max-buffers=0 wait=yes'
		].join('\n'),
		/^1:3: @titel is unknown; known are @param, /,
		'2:27: the default of a, 3, is none of its values: a whole number from 1 to 2',
		'4:23: no property "qualty" in element "jpegenc"',
		'5:1: no element is named "src"',
		'5:21: no property "colour" in element "rtspsrc"',
		'5:32: could not set property "protocols" in element "rtspsrc" to "nonsense"',
		'6:3: no element "nosuch" (of no package that is known here)',
		'6:49: no element "vah264nosuch" (Debian: gstreamer1.0-plugins-bad; it shows only where the device is)',
		'7:9: no property "max-size-tine" in element "queue"',
		'8:32: {quality} has no @param line',
		'9:3: images may queue in this sink, and viewers would see the past: it needs max-buffers=1 drop=true',
		'9:35: no property "wait" in element "appsink"'
	]
] as [string, string | Buffer, ...(string | RegExp)[]][]) {
	test.serial(`sluice check: ${name}`, async t => {
		const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
		await writeFile(path.join(directory, `${name}.gst`), text)
		const {code, lines} = await sluice('check', name, '--pipelines', directory)
		if (findings.length === 0) t.deepEqual(lines, [`${name}.gst: can run here`])
		else t.is(lines.length, findings.length, lines.join('\n'))
		for (const [index, finding] of findings.entries()) {
			const line = lines[index] ?? ''
			const told = /^\w+\.gst:( (?=the file)|)(.*)$/.exec(line)?.[2] ?? line
			if (typeof finding === 'string') t.is(told, finding)
			else t.regex(told, finding)
			t.true(line.startsWith(`${name}.gst:`))
		}
		t.is(code, findings.length === 0 ? 0 : 1)
	})
}

test.serial(
	'sluice check: a host without the element that writes frames lacks it, and no template is wrong for that',
	async t => {
		const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
		const templates = path.join(directory, 'templates')
		const plugins = path.join(directory, 'plugins')
		await Promise.all([mkdir(templates), mkdir(plugins)])
		await writeFile(path.join(templates, 'a.gst'), `videotestsrc name=src\n${sink}`)
		const installed = execFileSync('pkg-config', ['--variable', 'pluginsdir', 'gstreamer-1.0'], {
			encoding: 'utf8'
		}).trim()
		for (const name of ['libgstcoreelements.so', 'libgstvideotestsrc.so', 'libgstapp.so'])
			await symlink(path.join(installed, name), path.join(plugins, name))
		const env = {
			GST_PLUGIN_SYSTEM_PATH_1_0: plugins,
			GST_REGISTRY_1_0: path.join(directory, 'registry')
		}
		t.deepEqual(await sluiceWith(env, 'check', '--pipelines', templates), {
			code: 0,
			lines: ['a.gst:1:1: no element "gdppay" (Debian: gstreamer1.0-plugins-bad)']
		})
	}
)

test.serial(
	'sluice check looks at every template; a missing element fails it only where the template was named',
	async t => {
		const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
		await writeFile(path.join(directory, 'a.gst'), `rtspsrc name=src\n${sink}`)
		await writeFile(path.join(directory, 'b.gst'), `rtspsrc name=src ! nosuch1 ! nosuch2\n${sink}`)
		await symlink('/etc/passwd', path.join(directory, 'c.gst'))
		await mkdir(path.join(directory, 'd.gst'))
		const all = await sluice('check', '--pipelines', directory)
		t.deepEqual(all.lines, [
			'a.gst: can run here',
			'b.gst:1:20: no element "nosuch1" (of no package that is known here)',
			'b.gst:1:30: no element "nosuch2" (of no package that is known here)',
			'c.gst: it is a symbolic link out of the folder',
			'd.gst: it is not a file'
		])
		t.is(all.code, 1)
		t.is((await sluice('check', 'b', '--pipelines', directory)).code, 1)
		t.is((await sluice('check')).code, 0)
		t.deepEqual(await sluice('check', '../x'), {
			code: 1,
			lines: [
				'../x.gst: pipeline must be the name of a template: letters, digits, ".", "_" and "-"'
			]
		})
	}
)

/** So small, and with so many key frames, that a slow machine's encoder gives some within the three seconds that are looked at. */
const small = ['--width', '320', '--height', '192', '--kbit', '500', '--key-interval', '0.5']

const number = String.raw`\d+(\.\d+)?`
/** Of a camera of 30: a busy machine encodes fewer, of H.265 a quarter, and hands on in bursts. */
const thirty = '([1-9]|[1-4]\\d)'
const kilobytes = `${number} kB`
const cost = [
	`  first picture: after ${number} s with jpeg\\.gst`,
	`  CPU: [1-9]\\d* % of one core with jpeg\\.gst, for ${thirty}\\.\\d pictures/s`
]
const coded = [
	// Counted in frames the interval is the camera's setting, however slowly a busy machine encodes them; less those B-frames that are decoded behind the second key frame, where there are only two.
	`  key frames: every (13|14|15)(\\.\\d)? frames \\(\\d\\.\\d s\\), median ${kilobytes}, largest ${kilobytes}`,
	`  other frames: median ${kilobytes}, largest ${kilobytes}`
]

for (const [mount, codec, reordered, frames] of [
	['/h264', String.raw`H\.264, profile constrained-baseline, level [\d.]+`, 'no', coded],
	['/b-frames', String.raw`H\.264, profile main, level [\d.]+`, 'yes: .*', coded],
	['/h265', String.raw`H\.265, profile main, level [\d.]+`, 'no', coded],
	['/h265-b-frames', String.raw`H\.265, profile main, level [\d.]+`, 'yes: .*', coded],
	['/mjpeg', 'JPEG', 'no', [`  frames: median ${kilobytes}, largest ${kilobytes}`]]
] as const) {
	test.serial(`sluice check --url: ${mount}`, async t => {
		const camera = await startCamera(t, small)
		const {code, lines} = await sluice('check', '--url', camera.url(mount))
		const expected = [
			`rtsp://127\\.0\\.0\\.1:${camera.port}${mount}: plays`,
			`  codec: ${codec}`,
			'  size: 320x192',
			`  rate: ${thirty}\\.\\d frames/s, ${number} Mbit/s, longest gap \\d+ ms`,
			`  B-frames: ${reordered}`,
			...frames,
			...cost
		]
		t.is(lines.length, expected.length, lines.join('\n'))
		for (const [index, pattern] of expected.entries())
			t.regex(lines[index] ?? '', new RegExp(`^${pattern}$`))
		t.is(code, 0)
		// The second connection comes when the first has ended.
		const events = camera.lines
			.map(line => line['event'])
			.filter(event => event === 'play' || event === 'closed')
		t.deepEqual(events.slice(0, 3), ['play', 'closed', 'play'])
	})
}

test.serial(
	'sluice check --url: a camera that fails is one line with code and detail, without any secret',
	async t => {
		const camera = await startCamera(t, small)
		for (const [url, line] of [
			[
				camera.url('/secret', 'demo:hunter2'),
				`rtsp://127.0.0.1:${camera.port}/secret: camera_unauthorized: the camera answered Unauthorized (401)`
			],
			[
				camera.url('/none?user=demo&password=hunter2'),
				`rtsp://127.0.0.1:${camera.port}/none?…: camera_not_found: the camera answered Not Found (404)`
			],
			[
				camera.url('/two-seconds', 'demo:hunter2'),
				`rtsp://127.0.0.1:${camera.port}/two-seconds: camera_lost: the camera ended the stream`
			],
			[
				'rtsp://demo:hunter2@127.0.0.1:1/',
				'rtsp://127.0.0.1:1/: camera_unreachable: 127.0.0.1:1 refused the connection; is the port right?'
			]
		] as const)
			t.deepEqual(await sluice('check', '--url', url), {code: 1, lines: [line]})
	}
)

test.serial(
	'sluice check --url: a camera that says nothing is waited for as long as --open-timeout says',
	async t => {
		const server = net
			.createServer(socket => {
				socket.on('error', () => undefined)
			})
			.listen(0, '127.0.0.1')
		await once(server, 'listening')
		t.teardown(() => server.close())
		const {port} = server.address() as AddressInfo
		t.deepEqual(
			await sluice('check', '--open-timeout', '1', '--url', `rtsp://127.0.0.1:${port}/`),
			{code: 1, lines: [`rtsp://127.0.0.1:${port}/: camera_timeout: no picture within 1 s`]}
		)
	}
)

test.serial(
	'sluice check --url with a template looks at both; a good URL gets its password to the camera',
	async t => {
		const camera = await startCamera(t, small)
		const {code, lines} = await sluice(
			'check',
			'test',
			'--url',
			camera.url('/secret', 'demo:secret')
		)
		t.deepEqual(lines.slice(0, 2), [
			'test.gst: can run here',
			`rtsp://127.0.0.1:${camera.port}/secret: plays`
		])
		t.notRegex(lines.slice(2).join('\n'), /secret|demo/)
		t.is(code, 0)
		t.is((await sluice('check', 'nosuch', '--url', camera.url('/h264'))).code, 1)
	}
)

test.serial('sluice check --url: wrong usage', async t => {
	t.deepEqual(await sluice('check', '--url', 'http://demo:hunter2@127.0.0.1/'), {
		code: 2,
		lines: [
			'sluice: --url must begin with rtsp:// or rtsps:// (or with rtspt, rtspu, rtsph, rtspst, rtspsu, rtspsh, which choose the transport)'
		]
	})
	t.deepEqual(await sluice('check', '--url', 'rtsp://demo:hunter2@:99999/'), {
		code: 2,
		lines: [
			'sluice: --url must name a host, and a port from 1 to 65535 if any: rtsp://user:password@host:554/path'
		]
	})
	t.deepEqual(await sluice('check', '--url'), {code: 2, lines: ['sluice: --url needs a value']})
	t.deepEqual(await sluice('--url', 'rtsp://demo:hunter2@127.0.0.1/'), {
		code: 2,
		lines: ['sluice: --url belongs to sluice check']
	})
})

for (const [signal, exitCode] of [
	['SIGINT', 130],
	['SIGTERM', 143]
] as const) {
	test.serial(`sluice check --url: ${signal} ends it, and its worker with it`, async t => {
		const camera = await startCamera(t, small)
		const program = startProgram(t, process.execPath, [
			'dist/cli/main.js',
			'check',
			'--url',
			camera.url('/h264')
		])
		await camera.line(line => line['event'] === 'play')
		program.child.kill(signal)
		t.is((await program.exit).code, exitCode)
		await camera.line(line => line['event'] === 'closed')
		t.deepEqual(program.text, [])
	})
}
