import {mkdir, mkdtemp, symlink, truncate, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import path from 'node:path'
import test from 'ava'
import {SluiceError} from '../../dist/base/errors.js'
import {elementsOf, locate, unfinishedQuotes} from '../../dist/pipeline/launch-text.js'
import {readStreamRequest} from '../../dist/streams/stream-request.js'
import {
	examineTemplate,
	fillTemplate,
	listTemplates,
	parseTemplate,
	readTemplate
} from '../../dist/templates/template.js'

const templates = {
	get: async (name: string) => readTemplate('pipelines', name),
	variants: async () => Promise.resolve([])
}
const anyCamera = {cameras: [], allowRtspUrl: true}
const simple =
	'# @title A test\n# @param {integer 1..100} quality=80 JPEG quality\n# @param {a|b-2} kind=a Which\n# @param {number 0.5..2} scale=1 Factor\nsrc q={quality} k={kind} s={scale}\n# a comment\n! sink formats={I420,NV12}\n'
const query = (values: Record<string, string>) => new Map(Object.entries(values))

test("comments go and their lines stay, placeholders are filled, GStreamer's own braces stay", t => {
	const template = parseTemplate('simple', simple)
	t.is(template.title, 'A test')
	t.is(
		fillTemplate(template, query({})),
		'\n\n\n\nsrc q=80 k=a s=1\n\n! sink formats={I420,NV12}\n'
	)
	t.is(
		fillTemplate(template, query({quality: '7', kind: 'b-2', scale: '1.25'})),
		'\n\n\n\nsrc q=7 k=b-2 s=1.25\n\n! sink formats={I420,NV12}\n'
	)
})

test('a launch text that is too long for a worker is refused when it is filled', t => {
	const refusal = (text: string, values: Record<string, string> = {}) => {
		const {code, detail} = t.throws(
			() => fillTemplate(parseTemplate('long', text), query(values)),
			{instanceOf: SluiceError}
		)
		return `${code} ${detail}`
	}
	const most = 'at most 60416 are taken'
	// A line break is two bytes of JSON.
	t.is(
		refusal(`src${'\n'.repeat(40_000)}! sink`),
		`template_invalid long.gst: the launch text has 80011 bytes as JSON; ${most}`
	)
	const value = 'b'.repeat(40_000)
	const filled = `# @param {a|${value}} kind=a Which\nsrc {kind} {kind} ! sink`
	t.is(fillTemplate(parseTemplate('long', filled), query({})), '\nsrc a a ! sink')
	t.is(
		refusal(filled, {kind: value}),
		`template_invalid long.gst: the launch text has 80016 bytes as JSON; ${most}`
	)
})

for (const [values, expected] of [
	[{quality: '0'}, 'quality must be a whole number from 1 to 100, not "0"'],
	[{quality: '101'}, 'quality must be a whole number from 1 to 100, not "101"'],
	[{quality: '1.5'}, 'quality must be a whole number from 1 to 100, not "1.5"'],
	[{quality: '1e1'}, 'quality must be a whole number from 1 to 100, not "1e1"'],
	[{quality: ' 5'}, 'quality must be a whole number from 1 to 100, not " 5"'],
	[{quality: ''}, 'quality must be a whole number from 1 to 100, not ""'],
	[
		{quality: '5 ! filesink location=/tmp/x'},
		'quality must be a whole number from 1 to 100, not "5 ! filesink location=/tmp/x"'
	],
	[{kind: 'c'}, 'kind must be one of a, b-2, not "c"'],
	[{kind: 'a ! fakesink'}, 'kind must be one of a, b-2, not "a ! fakesink"'],
	[{scale: '2.1'}, 'scale must be a number from 0.5 to 2, not "2.1"'],
	[{size: '1'}, '"size" is no parameter of the template simple; it has quality, kind, scale'],
	[
		{__proto__x: '1'},
		'"__proto__x" is no parameter of the template simple; it has quality, kind, scale'
	]
] as [Record<string, string>, string][]) {
	test(`bad value: ${JSON.stringify(values)}`, t => {
		const error = t.throws(() => fillTemplate(parseTemplate('simple', simple), query(values)), {
			instanceOf: SluiceError
		})
		t.is(error.code, 'bad_request')
		t.is(error.detail, expected)
	})
}

for (const [text, expected] of [
	['# @param {integer 1..2} a=1 A\n\nx {b}', 'broken.gst:3:3: {b} has no @param line'],
	[
		'# @param {integer 1..2} a=3 A\nx {a}',
		'broken.gst:1:27: the default of a, 3, is none of its values: a whole number from 1 to 2'
	],
	[
		'# @param {integer 1..2} a=1 A\n# @param {integer 1..2} a=1 A',
		'broken.gst:2:25: the parameter a is declared twice'
	],
	[
		'# @param {integer 2..1} a=1 A',
		'broken.gst:1:10: {integer 2..1} is no type; write {integer 1..100}, {number 0.5..60} or {one|other}'
	],
	[
		'# @param {text} a=1 A',
		'broken.gst:1:10: {text} is no type; write {integer 1..100}, {number 0.5..60} or {one|other}'
	],
	[
		'# @param {a|b ! c} a=a A',
		'broken.gst:1:10: {a|b ! c} is no type; write {integer 1..100}, {number 0.5..60} or {one|other}'
	],
	[
		'# @param quality=1',
		'broken.gst:1:3: expected "@param {integer 1..100} name=default What it does"'
	],
	[
		'# @param {integer 1..2} token=1 A',
		'broken.gst:1:25: token belongs to the server; name the parameter otherwise'
	],
	['# @rank high', 'broken.gst:1:9: @rank expects a whole number from 0 to 9999, not "high"'],
	['# @title', 'broken.gst:1:3: @title expects a text, not ""'],
	['  #   @title A\r\n\t#  @titel B', /^broken\.gst:2:5: @titel is unknown/],
	['# @param  {integer 1..2}   a=7   A', /^broken\.gst:1:30: the default of a, 7/],
	['# @title A\n# @title B', 'broken.gst:2:3: @title is given twice'],
	['# @output jpeg', 'broken.gst:1:11: @output expects caps, as image/jpeg, not "jpeg"'],
	[
		'# @codecs h264',
		'broken.gst:1:11: @codecs expects names of codecs in RTP, as H264 H265 JPEG, not "h264"'
	],
	[
		'# @adaptive quality=encoder 25',
		'broken.gst:1:3: expected "@adaptive parameter=element.property lowest", as "@adaptive quality=encoder.quality 25"'
	],
	[
		'# @adaptive q=encoder.quality 25',
		'broken.gst:1:13: @adaptive needs a parameter {integer …}, and q is not declared'
	],
	[
		'# @adaptive q=encoder.quality 25\n# @param {number 1..100} q=80 Quality',
		'broken.gst:1:13: @adaptive needs a parameter {integer …}, and q is {number}'
	],
	[
		'# @param {integer 30..100} q=80 Quality\n# @adaptive q=encoder.quality 25\njpegenc name=encoder',
		'broken.gst:2:31: the lowest of q must be a whole number from 30 to 100, not 25'
	],
	[
		'# @param {integer 1..100} q=80 Quality\n# @adaptive q=encoder.quality 25\njpegenc name=encoder2',
		'broken.gst:2:15: no element is named "encoder": write name=encoder behind the one whose quality is meant'
	],
	[
		'# @param {integer 1..100} q=80 Quality\n# @adaptive q=encoder.quality 25\n# @adaptive q=encoder.other 25\njpegenc name=encoder',
		'broken.gst:3:13: @adaptive q=encoder.other is given twice'
	],
	[
		'# @parm {integer 1..2} a=1 A',
		'broken.gst:1:3: @parm is unknown; known are @param, @adaptive, @title, @description, @needs, @tested, @output, @codecs, @camera, @rank'
	]
] as [string, string | RegExp][]) {
	test(`broken template: ${JSON.stringify(text)}`, t => {
		const error = t.throws(() => parseTemplate('broken', text), {instanceOf: SluiceError})
		t.is(error.code, 'template_invalid')
		if (typeof expected === 'string') t.is(error.detail, expected)
		else t.regex(error.detail, expected)
	})
}

for (const name of [
	'../package',
	'..',
	'.',
	'',
	'a/b',
	'a\\b',
	'/etc/passwd',
	'a%2fb',
	'.hidden',
	'x'.repeat(65),
	'a\u0000b'
]) {
	test(`no template name: ${JSON.stringify(name)}`, async t => {
		const error = await t.throwsAsync(readTemplate('pipelines', name), {instanceOf: SluiceError})
		t.is(error.code, 'bad_request')
	})
}

test('files that are no templates are refused, each by what is wrong', async t => {
	const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
	await writeFile(path.join(directory, 'big.gst'), '')
	await truncate(path.join(directory, 'big.gst'), 1024 * 1024)
	await mkdir(path.join(directory, 'folder.gst'))
	await symlink('/etc/passwd', path.join(directory, 'link.gst'))
	await symlink('good.gst', path.join(directory, 'inside.gst'))
	await writeFile(path.join(directory, 'latin.gst'), Buffer.from([0x23, 0x20, 0xe4]))
	await writeFile(path.join(directory, 'good.gst'), simple)
	await writeFile(path.join(directory, 'notes.txt'), simple)
	const refusal = async (name: string) => {
		const error = await t.throwsAsync(readTemplate(directory, name), {instanceOf: SluiceError})
		return `${error.code} ${error.detail}`
	}
	t.is(
		await refusal('big'),
		'template_invalid big.gst: the file has 1048576 bytes; at most 65536 are taken'
	)
	t.is(await refusal('folder'), 'template_invalid folder.gst: it is not a file')
	t.is(await refusal('link'), 'template_invalid link.gst: it is a symbolic link out of the folder')
	t.is(await refusal('latin'), 'template_invalid latin.gst: the file is not UTF-8')
	t.is((await readTemplate(directory, 'inside')).title, 'A test')
	t.is(await refusal('nothing'), 'not_found no template is named nothing')
	t.is((await readTemplate(directory, 'good')).title, 'A test')
	t.deepEqual(await listTemplates(directory), ['big', 'folder', 'good', 'inside', 'latin', 'link'])
})

test('jpeg.gst has the parameters that the contract names', async t => {
	const {parameters} = await readTemplate('pipelines', 'jpeg')
	t.deepEqual(
		parameters.map(({name}) => name),
		['quality', 'max_width', 'max_height', 'max_fps', 'transport']
	)
	t.like(parameters[0], {type: 'integer', minimum: 1, maximum: 100})
})

test('a URL that chooses the transport fills the parameter, and cannot be contradicted', async t => {
	const request = await readStreamRequest({rtsp_url: 'rtspu://cam/x'}, templates, anyCamera)
	t.regex(request.plain.launch, /protocols=udp /)
	t.regex(
		(await readStreamRequest({rtsp_url: 'rtsp://cam/x'}, templates, anyCamera)).plain.launch,
		/protocols=tcp /
	)
	const error = await t.throwsAsync(
		readStreamRequest({rtsp_url: 'rtspu://cam/x', transport: 'tcp'}, templates, anyCamera),
		{instanceOf: SluiceError}
	)
	t.is(error.detail, 'transport=tcp contradicts the scheme of rtsp_url, which asks for udp')
})

for (const [values, expected] of [
	[{}, /rtsp_url is missing/],
	[{rtsp_url: ''}, /rtsp_url is missing/],
	[{rtsp_url: ['rtsp://a/', 'rtsp://b/']}, /"rtsp_url" is given 2 times/],
	[{rtsp_url: 'rtsp://a/', quality: ['1', '2']}, /"quality" is given 2 times/],
	[{rtsp_url: 'rtsp://a/', camera: 'door'}, /rtsp_url and camera contradict each other/],
	[{rtsp_url: 'rtsp://a/', pipeline: '../x'}, /pipeline must be the name of a template/]
] as [Record<string, string | string[]>, RegExp][]) {
	test(`bad query: ${JSON.stringify(values)}`, async t => {
		const error = await t.throwsAsync(readStreamRequest(values, templates, anyCamera), {
			instanceOf: SluiceError
		})
		t.is(error.code, 'bad_request')
		t.regex(error.detail, expected)
	})
}

test('all that is wrong with a header is told at once, in the order of the file', t => {
	const {template, findings} = examineTemplate(
		'broken',
		'# @rank high\n# @param {integer 1..2} a=3 A\n# @param {integer 5..7} b=6 B\n# @adaptive a=x.y 1\n# @adaptive b=x.y 1\nx {a} {b} {c}\n'
	)
	t.deepEqual(
		findings.map(({line, column, message}) => `${line}:${column} ${message.slice(0, 24)}`),
		[
			'1:9 @rank expects a whole nu',
			'2:27 the default of a, 3, is ',
			'5:13 @adaptive b=x.y is given',
			'5:15 no element is named "x":',
			'5:19 the lowest of b must be ',
			'6:11 {c} has no @param line'
		]
	)
	t.deepEqual(
		template.parameters.map(({name}) => name),
		['b']
	)
})

test('the elements of a launch text and their properties are found among caps, references and quotes', t => {
	const launch =
		'rtspsrc name=src ! video/x-raw, width=[16,32], format=(string) I420 ! queue ! tee name = "t"\n t. ! h264parse config-interval=-1 ! textoverlay text="a ! fakesink b=c" ! x264enc ! t.sink_0 identity!bin.( name=b ) ( fakesrc sync=false )'
	t.deepEqual(
		elementsOf(launch).map(({name, line, column, properties}) =>
			[
				name,
				`${line}:${column}`,
				...properties.map(({text, line, column}) => `${text} ${line}:${column}`)
			].join(', ')
		),
		[
			'rtspsrc, 1:1, name=src 1:9',
			'queue, 1:71',
			'tee, 1:79, name = "t" 1:83',
			'h264parse, 2:7, config-interval=-1 2:17',
			'textoverlay, 2:38, text="a ! fakesink b=c" 2:50',
			'x264enc, 2:76',
			'identity, 2:95',
			'fakesrc, 2:121, sync=false 2:129'
		]
	)
	t.is(elementsOf(launch)[2]?.properties[0]?.value, 't')
})

test('a quote without its second one is found', t => {
	t.deepEqual(unfinishedQuotes('a b="x y" c=\'x " y\' d=it\'s e=\\"'), [])
	t.deepEqual(unfinishedQuotes('a\n b="x'), [
		{line: 2, column: 4, message: 'the quote " that begins here does not end'}
	])
})

test('what the parser complains of is found in the launch text', t => {
	const text = '\nrtspsrc name=src\n  ! nosuch colour=red\n! appsink name=sink\n'
	t.deepEqual(locate(text, 'no element "nosuch"'), {line: 3, column: 5})
	t.deepEqual(locate(text, 'no property "colour" in element "nosuch"'), {line: 3, column: 12})
	t.deepEqual(locate(text, 'could not link src to appsink0'), {line: 4, column: 3})
	t.deepEqual(locate(text, 'syntax error'), {line: 2, column: 1})
	t.deepEqual(locate('', 'empty pipeline not allowed'), {line: 1, column: 1})
})

test("adaptive=on takes the viewer's own values as the greatest, and variants that lower the same", async t => {
	const rules =
		'# @param {integer 1..100} q=80 Quality\n# @param {integer 1..60} r=60 Rate\n# @adaptive q=encoder.quality 25\n# @adaptive r=rate.max-rate 5\n'
	const launch =
		'rtspsrc name=src ! videorate name=rate ! jpegenc name=encoder quality={q} ! appsink name=sink'
	const plain = parseTemplate('own', rules + launch)
	const same = parseTemplate('own.same', rules + launch)
	const other = parseTemplate('own.other', rules.replace('25', '30') + launch)
	const none = parseTemplate('own.none', rules.replace(/# @adaptive .*\n/g, '') + launch)
	const library = {
		get: () => Promise.resolve(plain),
		variants: () => Promise.resolve([same, other, none])
	}
	const read = async (values: Record<string, string>, whyNot?: string) =>
		readStreamRequest(
			{rtsp_url: 'rtsp://cam/x', pipeline: 'own', ...values},
			library,
			anyCamera,
			whyNot
		)
	const request = await read({adaptive: 'on', q: '20', r: '30'})
	t.deepEqual(request.adaptive, [
		{parameter: 'q', element: 'encoder', property: 'quality', lowest: 20, greatest: 20},
		{parameter: 'r', element: 'rate', property: 'max-rate', lowest: 5, greatest: 30}
	])
	t.deepEqual(
		request.variants.map(({template}) => template),
		['own.same']
	)
	for (const values of [{adaptive: 'off'}, {}]) {
		const off = await read(values)
		t.deepEqual(off.adaptive, [])
		t.is(off.variants.length, 3)
	}
	await t.throwsAsync(read({adaptive: 'yes'}), {message: /adaptive must be on or off, not "yes"/})
	await t.throwsAsync(read({adaptive: 'on'}, 'a reason'), {
		message: /adaptive=on is not possible: a reason/
	})
	await t.notThrowsAsync(read({adaptive: 'off'}, 'a reason'))
	await t.throwsAsync(
		readStreamRequest(
			{rtsp_url: 'rtsp://cam/x', pipeline: 'jpeg.mjpeg', adaptive: 'on'},
			templates,
			anyCamera
		),
		{message: /the template jpeg.mjpeg has no @adaptive line/}
	)
})
