import {cp, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import path from 'node:path'
import test, {type ExecutionContext} from 'ava'
import {jpegSize} from '../support/jpeg.js'
import {startCamera, startSluice} from '../support/processes.js'
import {readTemplate} from '../../dist/templates/template.js'
import {until, view} from '../support/viewer.js'

interface Description {
	name: string
	available: boolean
	unavailable?: string
	error?: string
	tested: string
}

async function describe(http: string, name: string): Promise<Description | undefined> {
	const response = await fetch(`${http}/pipelines`)
	const {pipelines} = (await response.json()) as {pipelines: Description[]}
	return pipelines.find(description => description.name === name)
}

async function copyOfPipelines(): Promise<string> {
	const directory = path.join(await mkdtemp(path.join(tmpdir(), 'sluice-')), 'pipelines')
	await cp('pipelines', directory, {recursive: true})
	return directory
}

/** The size of the images that a viewer of this template gets. */
async function sizeOf(t: ExecutionContext, url: string) {
	const viewer = view(t, url)
	await viewer.received(2)
	viewer.socket.close()
	return jpegSize(viewer.frames[1])
}

test.serial(
	"a broken edit keeps the last good version serving, and is told with its place and the parser's words",
	async t => {
		const directory = await copyOfPipelines()
		const file = path.join(directory, 'jpeg.gst')
		const good = (await readFile(file, 'utf8')).replaceAll('=16384', '=320')
		await writeFile(file, good)
		const camera = await startCamera(t, ['--width', '640', '--height', '360'])
		const sluice = await startSluice(t, ['--pipelines', directory])
		const url = sluice.stream({rtsp_url: camera.url('/h264'), pipeline: 'jpeg'})
		t.deepEqual(await sizeOf(t, url), {width: 320, height: 180})

		const line = good.split('\n').findIndex(text => text.startsWith('! jpegenc')) + 1
		for (const [broken, words] of [
			[good.replace('! jpegenc', '! jpegenk'), `jpeg.gst:${line}:3: no element "jpegenk"`],
			[
				good.replace('name=encoder quality', 'name=encoder qualitie'),
				`jpeg.gst:${line}:24: no property "qualitie" in element "jpegenc"`
			],
			[
				good.replace('quality=80', 'quality=800'),
				/^jpeg\.gst:\d+:35: the default of quality, 800, is none of its values/
			],
			[good.replace('name=sink', 'name=sinc'), /^jpeg\.gst:\d+:\d+: no appsink is named "sink"/],
			['x'.repeat(1_000_000), 'jpeg.gst: the file has 1000000 bytes; at most 65536 are taken']
		] as const) {
			const seen = sluice.lines.length
			await writeFile(file, broken)
			// The folder is watched: the log says so before anybody asks.
			await until(
				() => sluice.lines.slice(seen).some(entry => entry['msg'] === 'template broken'),
				20_000,
				'the log tells of it'
			)
			const {error} = (await describe(sluice.http, 'jpeg')) ?? {}
			if (typeof words === 'string') t.is(error, words)
			else t.regex(error ?? '', words)
			t.is(sluice.lines.findLast(entry => entry['msg'] === 'template broken')?.['detail'], error)
			t.deepEqual(await sizeOf(t, url), {width: 320, height: 180})
		}

		await writeFile(file, good.replaceAll('=320', '=160'))
		t.deepEqual(await sizeOf(t, url), {width: 160, height: 90})
		t.is((await describe(sluice.http, 'jpeg'))?.error, undefined)
	}
)

test.serial(
	'whatever is wrong with a file is told of that file, and neither the server nor another template is harmed',
	async t => {
		const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
		const sink = '! appsink name=sink max-buffers=1 drop=true'
		const bad: Record<string, [string | Buffer, string]> = {
			placeholder: [
				`rtspsrc name=src latency={x}\n${sink}`,
				'placeholder.gst:1:26: {x} has no @param line'
			],
			twice: [
				`# @param {integer 1..2} a=1 A\n# @param {integer 1..2} a=1 A\nrtspsrc name=src\n${sink}`,
				'twice.gst:2:25: the parameter a is declared twice'
			],
			range: [
				`# @param {integer 1..2} a=3 A\nrtspsrc name=src\n${sink}`,
				'range.gst:1:27: the default of a, 3, is none of its values: a whole number from 1 to 2'
			],
			nosrc: [`rtspsrc\n${sink}`, 'nosrc.gst:1:1: no element is named "src"'],
			sinks: [
				`rtspsrc name=src ! tee name=t\n${sink}\nt. ${sink}`,
				'sinks.gst:3:6: a second element is named "sink"'
			],
			appsinks: [
				`rtspsrc name=src ! tee name=t\n${sink}\nt. ! appsink`,
				'appsinks.gst:3:6: a second appsink, from which nobody takes anything: frames are taken from the one that is named "sink"'
			],
			quotes: [
				`rtspsrc name=src user-agent="x\n${sink}`,
				'quotes.gst:1:29: the quote " that begins here does not end'
			],
			large: [
				'x'.repeat(1_000_000),
				'large.gst: the file has 1000000 bytes; at most 65536 are taken'
			],
			latin: [Buffer.from([0x23, 0xe4]), 'latin.gst: the file is not UTF-8'],
			words: ['x '.repeat(30_000), 'words.gst:1:1: no element is named "src"']
		}
		// GStreamer builds these: what they lack is sense.
		const runs = ['quotes', 'appsinks']
		for (const [name, [text]] of Object.entries(bad))
			await writeFile(path.join(directory, `${name}.gst`), text)
		await symlink('/etc/passwd', path.join(directory, 'link.gst'))
		await cp('pipelines/test.gst', path.join(directory, 'test.gst'))
		const sluice = await startSluice(t, ['--pipelines', directory])
		for (const [name, error] of [
			...Object.entries(bad).map(([name, [, error]]) => [name, error] as const),
			['link', 'link.gst: it is a symbolic link out of the folder'] as const
		]) {
			t.like(await describe(sluice.http, name), {available: false, error})
			t.is(
				(await view(t, sluice.stream({rtsp_url: 'rtsp://127.0.0.1:1/', pipeline: name})).closed)
					.error?.['code'],
				runs.includes(name) ? 'camera_unreachable' : 'template_invalid',
				name
			)
		}
		t.like(await describe(sluice.http, 'test'), {available: true})
		await view(t, sluice.stream({pipeline: 'test'})).received(2)
	}
)

test.serial(
	'an edit of a template that cannot run here is no broken one, and the first one that can run serves',
	async t => {
		const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
		const file = path.join(directory, 'own.gst')
		const sound =
			'videotestsrc name=src is-live=true ! jpegenc quality=80 ! appsink name=sink max-buffers=1 drop=true\n'
		await writeFile(file, `# @camera none\n${sound.replace('jpegenc', 'nosuch1')}`)
		const sluice = await startSluice(t, ['--pipelines', directory])
		t.is((await describe(sluice.http, 'own'))?.unavailable, 'no element "nosuch1"')
		await writeFile(file, `# @camera none\n${sound.replace('jpegenc', 'nosuch2')}`)
		t.deepEqual(await describe(sluice.http, 'own').then(own => [own?.unavailable, own?.error]), [
			'no element "nosuch2"',
			undefined
		])
		await writeFile(file, `# @camera none\n${sound}`)
		t.like(await describe(sluice.http, 'own'), {available: true, error: undefined})
		await view(t, sluice.stream({pipeline: 'own'})).received(2)
		t.false(sluice.lines.some(line => line['msg'] === 'template broken'))
	}
)

test.serial('a new template and a removed one are noticed', async t => {
	const directory = await copyOfPipelines()
	const sluice = await startSluice(t, ['--pipelines', directory])
	t.is(await describe(sluice.http, 'new'), undefined)
	await writeFile(
		path.join(directory, 'new.gst'),
		'rtspsrc name=src ! fakesink fakesrc ! appsink name=sink'
	)
	t.like(await describe(sluice.http, 'new'), {available: true})
	await rm(path.join(directory, 'new.gst'))
	t.is(await describe(sluice.http, 'new'), undefined)
	await sluice.line(line => line['msg'] === 'template removed' && line['template'] === 'new')
	t.is(
		(await view(t, sluice.stream({rtsp_url: 'rtsp://127.0.0.1:1/', pipeline: 'new'})).closed)
			.error?.['code'],
		'not_found'
	)
})

test.serial(
	'each template of the package explains itself; the software ones run here, the others say what they lack',
	async t => {
		const sluice = await startSluice(t)
		for (const file of (await readdir('pipelines')).filter(name => name.endsWith('.gst'))) {
			const name = file.replace(/\.gst$/, '')
			const {title, description, tested, output} = await readTemplate('pipelines', name)
			for (const text of [title, description, tested]) t.true(text.length > 10, name)
			t.regex(output, name.startsWith('jpeg') || name === 'test' ? /^image\/jpeg$/ : /^video\//)
			const {available, unavailable, error} = (await describe(sluice.http, name)) ?? {}
			t.is(error, undefined, name)
			if (tested.startsWith('Debian 12')) t.true(available, name)
			else {
				t.regex(
					tested,
					/^not yet run on hardware(?:; its software parts parse on| as it stands\. )/
				)
				// On a machine that has the hardware it runs; elsewhere each element is named.
				if (!available) t.regex(unavailable ?? '', /^no element "\w+"/, name)
			}
		}
	}
)

test.serial("jpeg.mjpeg hands on the camera's own images, and refuses another codec", async t => {
	const camera = await startCamera(t, ['--width', '640', '--height', '360'])
	const sluice = await startSluice(t)
	const viewer = view(t, sluice.stream({rtsp_url: camera.url('/mjpeg'), pipeline: 'jpeg.mjpeg'}))
	await viewer.received(30)
	for (const frame of viewer.frames) t.deepEqual(jpegSize(frame), {width: 640, height: 360})
	const {error} = await view(
		t,
		sluice.stream({rtsp_url: camera.url('/h264'), pipeline: 'jpeg.mjpeg'})
	).closed
	t.is(error?.['code'], 'camera_unsupported')
})

test.serial('of a template that never was good the newest fault is told', async t => {
	const directory = await copyOfPipelines()
	const sluice = await startSluice(t, ['--pipelines', directory])
	const url = sluice.stream({rtsp_url: 'rtsp://127.0.0.1:1/', pipeline: 'mine'})
	for (const element of ['nosuchelement', 'nosuchelement2']) {
		await writeFile(
			path.join(directory, 'mine.gst'),
			`rtspsrc name=src ! ${element} ! appsink name=sink max-buffers=1 drop=true\n`
		)
		const {error} = await view(t, url).closed
		t.like(error, {code: 'template_invalid'})
		t.regex(String(error?.['detail']), new RegExp(`no element "${element}"`))
	}
})

test.serial(
	"a folder that takes the place of the templates' folder serves the next viewer, variants included",
	async t => {
		const directory = await copyOfPipelines()
		const [camera, sluice] = await Promise.all([
			startCamera(t, ['--width', '640', '--height', '360']),
			startSluice(t, ['--pipelines', directory])
		])
		const url = sluice.stream({rtsp_url: camera.url('/h264'), pipeline: 'jpeg'})
		await sizeOf(t, url)
		await rename(directory, `${directory}-old`)
		await cp(`${directory}-old`, directory, {recursive: true})
		const plain = await readFile(path.join(directory, 'jpeg.gst'), 'utf8')
		await writeFile(
			path.join(directory, 'jpeg.mine.gst'),
			plain.replace('@rank 0', '@rank 500\n# @codecs H264').replaceAll('=16384', '=320')
		)
		// On a busy machine the first of them does not wait for all that is found out of variants.
		await until(async () => (await sizeOf(t, url))?.width === 320, 20_000, 'the variant plays')
		t.true(sluice.lines.some(line => line['template'] === 'jpeg.mine'))
	}
)

test.serial('a size that the encoder of H.264 does not take becomes one that it does', async t => {
	const [camera, sluice] = await Promise.all([
		startCamera(t, ['--width', '640', '--height', '480']),
		startSluice(t)
	])
	for (const max_width of ['321', '17']) {
		const viewer = view(
			t,
			sluice.stream({rtsp_url: camera.url('/h265'), pipeline: 'webrtc.transcode', max_width})
		)
		await viewer.received(2)
		t.regex(viewer.texts[0] ?? '', new RegExp(`"width":${Number(max_width) - 1},`))
		viewer.socket.close()
	}
})

test.serial(
	'a template that stands in brackets, as launch lines of gst-rtsp-server do, plays',
	async t => {
		const directory = await copyOfPipelines()
		const sluice = await startSluice(t, ['--pipelines', directory])
		for (const opening of ['(', 'bin.( name=mine']) {
			await writeFile(
				path.join(directory, 'brackets.gst'),
				`# @camera none\n\n${opening} videotestsrc name=src is-live=true ! video/x-raw,width=320,height=240 ! jpegenc ! appsink name=sink max-buffers=1 drop=true )\n`
			)
			t.like(
				await sizeOf(t, sluice.stream({pipeline: 'brackets'})),
				{width: 320, height: 240},
				opening
			)
		}
	}
)

test.serial(
	'a fault of the sink is told in the words of the file, to viewers as by a check',
	async t => {
		const directory = await copyOfPipelines()
		const sluice = await startSluice(t, ['--pipelines', directory])
		for (const [index, [sink, words]] of (
			[
				[
					'appsink name=sink max-bufers=1 drop=true',
					'no property "max-bufers" in element "appsink"'
				],
				[
					'appsink name=sink max-buffers=lots drop=true',
					'could not set property "max-buffers" in element "appsink" to "lots"'
				],
				[
					'appsink name=sink max-buffers=1 drop=tr',
					'could not set property "drop" in element "appsink" to "tr"'
				],
				[
					'appsink name=sink max-buffers=1 drop=true caps=video/x-raw',
					'could not link jpegenc\\d+ to sink'
				]
			] as const
		).entries()) {
			await writeFile(
				path.join(directory, `sink${index}.gst`),
				`# @camera none\n\nvideotestsrc name=src is-live=true ! jpegenc ! ${sink}\n`
			)
			const {error} = await view(t, sluice.stream({pipeline: `sink${index}`})).closed
			t.like(error, {code: 'template_invalid'}, sink)
			t.regex(String(error?.['detail']), new RegExp(words))
		}
	}
)

test.serial('a sink that does not wait for a branch without a stream plays', async t => {
	const directory = await copyOfPipelines()
	const [camera, sluice] = await Promise.all([
		startCamera(t, ['--width', '640', '--height', '360']),
		startSluice(t, ['--pipelines', directory])
	])
	await writeFile(
		path.join(directory, 'sound.gst'),
		`rtspsrc name=src protocols=tcp latency=100
src. ! application/x-rtp,media=audio ! decodebin ! audioconvert ! fakesink sync=false async=false
src. ! application/x-rtp,media=video ! decodebin ! videoconvert ! jpegenc ! appsink name=sink async=false max-buffers=1 drop=true sync=false
`
	)
	t.like(await sizeOf(t, sluice.stream({rtsp_url: camera.url('/h264'), pipeline: 'sound'})), {
		width: 640,
		height: 360
	})
})
