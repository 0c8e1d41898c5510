import {cp, mkdtemp, readFile, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import path from 'node:path'
import test, {type ExecutionContext} from 'ava'
import {mismatchOf} from '../../dist/pipeline/declared-output.js'
import {parseCaps} from '../../dist/media/caps.js'
import {type Sluice, startCamera, startSluice} from '../support/processes.js'
import {until, view} from '../support/viewer.js'

const source =
	'videotestsrc name=src is-live=true ! video/x-raw,width=320,height=240,framerate=10/1'
const h264 = `${source} ! x264enc tune=zerolatency key-int-max=10`
const videoSink = 'appsink name=sink max-buffers=60 drop=false sync=false'
const imageSink = 'appsink name=sink max-buffers=1 drop=true sync=false'
const accessUnits = 'video/x-h264,stream-format=byte-stream,alignment=au'

async function startWith(t: ExecutionContext, templates: Record<string, string>): Promise<Sluice> {
	const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
	for (const [name, text] of Object.entries(templates))
		await writeFile(path.join(directory, `${name}.gst`), `# @camera none\n${text}\n`)
	return startSluice(t, ['--pipelines', directory, '--open-timeout', '30'])
}

/** What each output of HTTP says of a template: its status, and its error. */
async function answers(sluice: Sluice, pipeline: string): Promise<unknown[]> {
	return Promise.all(
		['snapshot.jpg', 'stream.mjpeg'].map(async output => {
			const answer = await fetch(`${sluice.http}/${output}?pipeline=${pipeline}`)
			if (answer.status === 200) return 200
			const {code, detail} = (await answer.json()) as Record<string, unknown>
			return {status: answer.status, code, detail}
		})
	)
}

test.serial(
	'a template whose pipeline gives what its header does not say is refused on every output, in one sentence that names both',
	async t => {
		const sluice = await startWith(t, {
			silent: `${h264} ! ${accessUnits} ! ${videoSink}`,
			jpeg: `# @output image/jpeg\n${h264} ! ${accessUnits} ! ${videoSink}`,
			mp4: `${h264} ! h264parse ! video/x-h264,stream-format=avc,alignment=au ! ${videoSink}`,
			png: `${source} ! pngenc ! ${imageSink}`,
			video: `# @output ${accessUnits}\n${source} ! jpegenc ! ${imageSink}`,
			slices: `# @output ${accessUnits}\n${h264} ! h264parse ! video/x-h264,stream-format=byte-stream,alignment=nal ! ${videoSink}`,
			fragments: `# @output video/mp4\n${h264} ! ${accessUnits} ! ${videoSink}`,
			untyped: `${source} ! jpegenc ! capssetter join=false replace=true caps=application/octet-stream ! ${imageSink}`
		})
		const details: Record<string, string> = {
			silent: `its header has no @output line, which means image/jpeg, but its pipeline gives ${accessUnits}: write "# @output ${accessUnits}", or change the pipeline`,
			jpeg: `its header says "@output image/jpeg", but its pipeline gives ${accessUnits}: write "# @output ${accessUnits}", or change the pipeline`,
			mp4: 'its header has no @output line, which means image/jpeg, but its pipeline gives video/x-h264,stream-format=avc,alignment=au: write "# @output video/mp4", or change the pipeline',
			png: 'its header has no @output line, which means image/jpeg, but its pipeline gives image/png: write "# @output image/png", or change the pipeline',
			video: `its header says "@output ${accessUnits}", but its pipeline gives image/jpeg: write "# @output image/jpeg", or change the pipeline`,
			slices: `its header says "@output ${accessUnits}", but its pipeline gives video/x-h264,stream-format=byte-stream,alignment=nal: put "h264parse ! ${accessUnits}" before the sink`,
			fragments: `its header says "@output video/mp4", but its pipeline gives ${accessUnits}: write "# @output ${accessUnits}", or change the pipeline`,
			untyped:
				'its header has no @output line, which means image/jpeg, but its pipeline gives application/octet-stream: write "# @output application/octet-stream", or change the pipeline'
		}
		for (const [pipeline, words] of Object.entries(details)) {
			const refusal = {code: 'template_invalid', detail: `${pipeline}.gst: ${words}`}
			const viewer = view(t, sluice.stream({pipeline}))
			const {code, error} = await viewer.closed
			t.is(code, 4500, pipeline)
			t.like(error, refusal)
			t.is(viewer.frames.length, 0, pipeline)
			// HTTP's outputs refuse by its header what says that it is coded video.
			if (!/^(video|slices|fragments)$/.test(pipeline))
				t.deepEqual(await answers(sluice, pipeline), Array(2).fill({status: 500, ...refusal}))
		}
	}
)

test.serial(
	'templates whose header is right play, also those that say less, or nothing for image/jpeg',
	async t => {
		const avc = `${h264} ! h264parse ! video/x-h264,stream-format=avc,alignment=au ! ${videoSink}`
		const sluice = await startWith(t, {
			silent: `${source} ! jpegenc ! ${imageSink}`,
			png: `# @output image/png\n${source} ! pngenc ! ${imageSink}`,
			sized: `# @output image/jpeg,width=320,height=(int)240,framerate=10/1\n${source} ! jpegenc ! ${imageSink}`,
			short: `# @output video/x-h264\n${h264} ! ${accessUnits} ! ${videoSink}`,
			long: `# @output ${accessUnits}\n${h264} ! ${accessUnits} ! ${videoSink}`,
			fragments: `# @output video/mp4\n${avc}`,
			sink: `# @output video/x-h264,stream-format=avc,alignment=au\n${avc}`,
			raw: `# @output video/x-raw,format={I420,NV12},width=[1,640]\n${source},format=I420 ! ${videoSink}`
		})
		for (const pipeline of [
			'silent',
			'png',
			'sized',
			'short',
			'long',
			'fragments',
			'sink',
			'raw'
		]) {
			const viewer = view(t, sluice.stream({pipeline}))
			await t.notThrowsAsync(viewer.received(3), pipeline)
			viewer.socket.close()
		}
	}
)

test.serial(
	'a camera that changes what a template hands on is refused then, not when it began',
	async t => {
		const sluice = await startWith(t, {
			changing: `concat name=c ! ${imageSink} videotestsrc name=src num-buffers=20 is-live=true ! video/x-raw,width=320,height=240,framerate=10/1 ! jpegenc ! c. videotestsrc is-live=true num-buffers=200 ! video/x-raw,width=320,height=240,framerate=10/1 ! pngenc ! c.`
		})
		const viewer = view(t, sluice.stream({pipeline: 'changing'}))
		const {code, error} = await viewer.closed
		t.is(code, 4500)
		t.like(error, {
			code: 'template_invalid',
			detail:
				'changing.gst: its header has no @output line, which means image/jpeg, but its pipeline gives image/png: write "# @output image/png", or change the pipeline'
		})
		t.true(viewer.frames.length > 0)
		t.true(viewer.frames.every(frame => frame.readUInt16BE(0) === 0xffd8))
	}
)

test.serial(
	'a variant that gives what its header does not say is passed over, and so is one that says another type than its family',
	async t => {
		const directory = path.join(await mkdtemp(path.join(tmpdir(), 'sluice-')), 'pipelines')
		await cp('pipelines', directory, {recursive: true})
		const coded = (await readFile(path.join(directory, 'h264.gst'), 'utf8')).replace(
			/^# @output.*\n/m,
			''
		)
		await writeFile(
			path.join(directory, 'jpeg.false.gst'),
			`# @rank 500\n# @codecs H264\n${coded.replace(/^# @(rank|codecs).*\n/gm, '')}`
		)
		await writeFile(
			path.join(directory, 'jpeg.other.gst'),
			`# @rank 600\n# @codecs H264\n# @output ${accessUnits}\n${coded.replace(/^# @(rank|codecs).*\n/gm, '')}`
		)
		const camera = await startCamera(t, ['--width', '320', '--height', '240'])
		const sluice = await startSluice(t, ['--pipelines', directory])
		const described = async () =>
			(
				(await (await fetch(`${sluice.http}/pipelines`)).json()) as {
					pipelines: Record<string, unknown>[]
				}
			).pipelines
		await until(
			async () =>
				(await described()).filter(
					({name, available}) => /false|other/.test(String(name)) && available === true
				).length === 2,
			20_000,
			'the variants are checked'
		)
		const viewer = view(t, sluice.stream({rtsp_url: camera.url('/h264')}))
		await until(
			async () =>
				(await described()).some(({name, failed}) => name === 'jpeg.false' && failed !== undefined),
			20_000,
			'the variant was tried'
		)
		await viewer.received(viewer.frames.length + 10)
		t.true(viewer.frames.every(frame => frame.readUInt16BE(0) === 0xffd8))
		t.deepEqual(viewer.texts, [])
		t.deepEqual(
			sluice.lines.filter(line => line['msg'] === 'opening').map(line => line['template']),
			['jpeg', 'jpeg.false']
		)
		t.regex(
			String((await described()).find(({name}) => name === 'jpeg.false')?.['failed']),
			/no @output line/
		)
	}
)

test('declared caps and real ones: each field that is declared must be there, with a value that it allows', t => {
	const given = parseCaps(
		'video/x-h264, stream-format=(string)byte-stream, alignment=(string)au, width=(int)640, framerate=(fraction)30/1, parsed=(boolean)true'
	)
	const fits = (output: string, caps = given) =>
		mismatchOf({output, declaresOutput: true}, caps, caps) === undefined
	for (const output of [
		'video/x-h264',
		accessUnits,
		'video/x-h264,width=640',
		'video/x-h264,width=(int)640,parsed=true,framerate=30/1',
		'video/x-h264,width=[1,640]',
		'video/x-h264,alignment={nal,au}',
		'video/x-h264,alignment="au"',
		// The same in other words that gst-launch takes.
		'video/x-h264,framerate=[1/1,60/1]',
		'video/x-h264,framerate=60/2',
		'video/x-h264,framerate=(fraction)30',
		'video/x-h264,framerate={15/1,30/1}',
		'video/x-h264,width={(int)320,(int)640}',
		'video/x-h264,width=0x280',
		'video/x-h264,width=[1,MAX]',
		'video/x-h264,parsed=TRUE',
		'video/x-h264,parsed=yes',
		'video/x-h264,alignment={"nal","au"}',
		'image/png;video/x-h264,width=640'
	])
		t.true(fits(output), output)
	for (const output of [
		'video/x-h265',
		'image/jpeg',
		'video/x-h264,alignment=nal',
		'video/x-h264,width=641',
		'video/x-h264,width=[1,639]',
		'video/x-h264,alignment={nal,avc}',
		'video/x-h264,height=480',
		'video/x-h264,framerate=[1/1,25/1]',
		'video/x-h264,framerate=25/1',
		'video/x-h264,parsed=no',
		'image/png;image/jpeg',
		'video/x-h264,__proto__=x'
	])
		t.false(fits(output), output)
	// Coded video that does not say so is taken for whole pictures with start codes.
	t.true(fits(accessUnits, parseCaps('video/x-h264')))
	const words = (output: string) => mismatchOf({output, declaresOutput: true}, given, given)
	t.is(
		words('video/x-h264,width=641'),
		`its header says "@output video/x-h264,width=641", but its pipeline gives ${accessUnits},width=640: write "# @output ${accessUnits},width=640", or change the pipeline`
	)
	t.regex(words('video/x-h264,height=480') ?? '', /gives \S+ without height: write/)
	t.true(
		(
			mismatchOf(
				{output: 'image/jpeg', declaresOutput: false},
				parseCaps(`x/y, alignment=(string)${'z'.repeat(9000)}`),
				{name: ''}
			) ?? ''
		).length < 1000
	)
})
