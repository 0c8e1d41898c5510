import {execFile} from 'node:child_process'
import {mkdir, mkdtemp, symlink, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import path from 'node:path'
import process from 'node:process'
import test from 'ava'

/** The real program's lines and exit code. */
async function sluice(...args: string[]): Promise<{code: number; lines: string[]}> {
	return new Promise(resolve => {
		execFile(process.execPath, ['dist/main.js', ...args], (error, stdout, stderr) => {
			resolve({code: typeof error?.code === 'number' ? error.code : 0, lines: (stdout + stderr).trimEnd().split('\n')})
		})
	})
}

const sink = '! appsink name=sink max-buffers=1 drop=true sync=false'

for (const [name, text, finding] of [
	['good', `rtspsrc name=src\n${sink}`, 'good.gst: can run here'],
	['placeholder', `rtspsrc name=src latency={x}\n${sink}`, 'placeholder.gst:1: {x} has no @param line'],
	['twice', `# @param {integer 1..2} a=1 A\n# @param {integer 1..2} a=1 A\nrtspsrc name=src\n${sink}`, 'twice.gst:2: the parameter a is declared twice'],
	['range', `# @param {integer 1..2} a=3 A\nrtspsrc name=src\n${sink}`, 'range.gst:1: the default of a, 3, is none of its values: a whole number from 1 to 2'],
	['element', `rtspsrc name=src\n! avdec_nosuch\n${sink}`, 'element.gst:2: no element "avdec_nosuch" (Debian: gstreamer1.0-libav)'],
	['property', `rtspsrc name=src\n  colour=red\n${sink}`, 'property.gst:2: no property "colour" in element "rtspsrc"'],
	['nosrc', `rtspsrc\n${sink}`, 'nosrc.gst:1: no element is named "src"'],
	['nosink', 'rtspsrc name=src ! fakesink', 'nosink.gst:1: no appsink is named "sink"'],
	['queues', 'rtspsrc name=src\n! appsink name=sink sync=false', 'queues.gst:2: images may queue in this sink, and viewers would see the past: it needs max-buffers=1 drop=true'],
	['drops', `# @output video/x-h264\nrtspsrc name=src\n${sink}`, 'drops.gst:3: this sink may drop coded video, which tears the pictures: it needs drop=false'],
	['quotes', `rtspsrc name=src user-agent="x\n${sink}`, /^quotes\.gst:1: /],
	['large', 'x'.repeat(1_000_000), 'large.gst: the file has 1000000 bytes; at most 65536 are taken'],
	['latin', Buffer.from([0x23, 0xe4]), 'latin.gst: the file is not UTF-8']
] as [string, string | Buffer, string | RegExp][]) {
	test.serial(`sluice check: ${name}`, async t => {
		const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
		await writeFile(path.join(directory, `${name}.gst`), text)
		const {code, lines} = await sluice('check', name, '--pipelines', directory)
		t.is(lines.length, 1)
		if (typeof finding === 'string') t.is(lines[0], finding)
		else t.regex(lines[0] ?? '', finding)
		t.is(code, name === 'good' ? 0 : 1)
	})
}

test.serial('sluice check looks at every template; a missing element fails it only where the template was named', async t => {
	const directory = await mkdtemp(path.join(tmpdir(), 'sluice-'))
	await writeFile(path.join(directory, 'a.gst'), `rtspsrc name=src\n${sink}`)
	await writeFile(path.join(directory, 'b.gst'), `rtspsrc name=src ! nosuch1 ! nosuch2\n${sink}`)
	await symlink('/etc/passwd', path.join(directory, 'c.gst'))
	await mkdir(path.join(directory, 'd.gst'))
	const all = await sluice('check', '--pipelines', directory)
	t.deepEqual(all.lines, [
		'a.gst: can run here',
		'b.gst:1: no element "nosuch1" (of no package that is known here)',
		'b.gst:1: no element "nosuch2" (of no package that is known here)',
		'c.gst: it is a symbolic link out of the folder',
		'd.gst: it is not a file'
	])
	t.is(all.code, 1)
	t.is((await sluice('check', 'b', '--pipelines', directory)).code, 1)
	t.is((await sluice('check')).code, 0)
	t.deepEqual(await sluice('check', '../x'), {code: 1, lines: ['../x.gst: pipeline must be the name of a template: letters, digits, ".", "_" and "-"']})
})
