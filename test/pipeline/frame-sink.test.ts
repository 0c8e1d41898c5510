import {spawnSync} from 'node:child_process'
import test from 'ava'
import {FrameReader, type Sample} from '../../dist/pipeline/frame-reader.js'
import {writingTo} from '../../dist/pipeline/frame-sink.js'

test('the appsink gives way to a queue with its bounds, and to a sink that writes', t => {
	t.deepEqual(
		writingTo(
			3,
			'videotestsrc name=src ! jpegenc ! appsink name=sink max-buffers=1 drop=true sync=false'
		),
		{
			text: 'videotestsrc name=src ! jpegenc ! queue silent=true leaky=downstream max-size-buffers=1 max-size-bytes=0 max-size-time=0 name=sink ! identity name=sluice-caps silent=true ! gdppay name=sluice-gdp ! fdsink name=sluice-fd fd=3 async=true sync=false enable-last-sample=false',
			appsink: 'appsink name=sink max-buffers=1 drop=true sync=false'
		}
	)
	t.deepEqual(
		writingTo(
			3,
			'a ! appsink max-buffers = 60 name="sink" drop=false emit-signals=true async=0 sync=no'
		),
		{
			text: 'a ! queue silent=true leaky=no max-size-buffers=60 max-size-bytes=0 max-size-time=0 name=sink ! identity name=sluice-caps silent=true ! gdppay name=sluice-gdp ! fdsink name=sluice-fd fd=3 async=0 sync=false enable-last-sample=false',
			appsink: 'appsink max-buffers = 60 name="sink" drop=false emit-signals=true async=0 sync=no'
		}
	)
})

test('a text without such an appsink is left to GStreamer', t => {
	for (const text of ['', 'a ! appsink', 'a ! fakesink name=sink', 'a ! appsink name=other'])
		t.is(writingTo(3, text), undefined, text)
	t.regex(
		writingTo(3, 'tee name=t ! appsink t. ! appsink name=sink sync=false')?.text ?? '',
		/^tee name=t ! appsink t\. ! queue /
	)
})

for (const [what, text] of [
	// So few, so slowly: a machine that is busy for a third of a second drops none either.
	[
		"waits for each frame's time, and drops none for it",
		'videotestsrc name=src num-buffers=20 ! video/x-raw,width=64,height=64,framerate=10/1 ! jpegenc ! appsink name=sink max-buffers=3 drop=true sync=true'
	],
	[
		'waits by itself where the template does not say',
		'videotestsrc name=src num-buffers=20 ! video/x-raw,width=64,height=64,framerate=50/1 ! jpegenc ! appsink name=sink ts-offset=1000'
	],
	[
		'keeps the caps that it takes',
		'videotestsrc name=src num-buffers=20 ! video/x-raw,width=64,height=64 ! jpegenc ! appsink name=sink caps=image/jpeg sync=false'
	],
	[
		'can be linked to by its name',
		'videotestsrc name=src num-buffers=20 ! video/x-raw,width=64,height=64 ! jpegenc ! sink. appsink name=sink caps=image/jpeg sync=false'
	],
	[
		'may be one of several',
		'videotestsrc name=src num-buffers=20 ! video/x-raw,width=64,height=64 ! tee name=t ! queue ! fakesink t. ! queue ! jpegenc ! appsink name=sink sync=false'
	],
	[
		'may stand beside elements of any names',
		'videotestsrc name=src num-buffers=20 ! identity name=identity0 ! videoconvert name=gdppay0 ! videoscale name=fdsink0 ! jpegenc ! capsfilter name=capsfilter0 caps=image/jpeg ! appsink name=sink caps=image/jpeg sync=false'
	],
	[
		'may stand beside queues of any names where it waits',
		'videotestsrc name=src num-buffers=20 ! video/x-raw,width=64,height=64,framerate=50/1 ! queue name=queue0 ! jpegenc ! queue name=queue1 ! appsink name=sink sync=true'
	],
	[
		'may stand right behind a bracket',
		'videotestsrc name=src num-buffers=20 ! video/x-raw,width=64,height=64 ! jpegenc ! bin.(appsink name=sink sync=false )'
	],
	[
		'may stand in a bin',
		'videotestsrc name=src num-buffers=20 ! video/x-raw,width=64,height=64 ! ( jpegenc ! appsink name=sink sync=false )'
	]
] as const) {
	test(`GStreamer plays it: the sink ${what}`, t => {
		const startedMs = performance.now()
		const {stdout, stderr} = spawnSync(
			'gst-launch-1.0',
			['-q', ...(writingTo(1, text)?.text ?? '').split(/\s+/)],
			{timeout: 20_000, maxBuffer: 2 ** 24}
		)
		const samples: Sample[] = []
		new FrameReader({
			onSample: sample => samples.push(sample),
			onUnusable: words => {
				t.fail(words)
			}
		}).read(stdout)
		t.is(samples.length, 20, stderr.toString())
		t.is(samples[0]?.caps['name'], 'image/jpeg')
		// Twenty pictures of a fiftieth of a second: nothing but the time tells that the sink waited, and a slow machine only makes it longer.
		if (text.includes('sync=true') || what.startsWith('waits'))
			t.true(performance.now() - startedMs > 380)
	})
}
