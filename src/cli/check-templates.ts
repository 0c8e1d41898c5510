import {asSluiceError, SluiceError} from '../base/errors.js'
import {HostChecker} from '../templates/host-check.js'
import {inOrder} from '../pipeline/launch-text.js'
import {createLog} from '../base/log.js'
import {
	examineTemplate,
	findingText,
	listTemplates,
	readText,
	templateFile
} from '../templates/template.js'
import {readFromWorker} from '../pipeline/messages.js'
import {Worker} from '../workers/worker.js'

const workerPath = new URL('../pipeline/worker-main.js', import.meta.url)

/** Which Debian package has an element, the first pattern that fits. */
const packages: readonly [RegExp, string][] = [
	[/^(nvv4l2|nvvid|nvjpegenc$|nvegl)/, "NVIDIA's L4T, on a Jetson only"],
	[/^(avdec|avenc|avdemux|avmux)_/, 'gstreamer1.0-libav'],
	[/^vaapi/, 'gstreamer1.0-vaapi'],
	[/^(va|nv|cuda|qsv|msdk|v4l2sl)/, 'gstreamer1.0-plugins-bad; it shows only where the device is'],
	[/^v4l2/, 'gstreamer1.0-plugins-good; it shows only where the device is'],
	[/^(gdppay|h26[45]parse|jpegparse|mpeg.*parse|x265enc|openh264)/, 'gstreamer1.0-plugins-bad'],
	[/^(x264enc|a52dec)/, 'gstreamer1.0-plugins-ugly'],
	[/^(text|clock|time)overlay$/, 'gstreamer1.0-x'],
	[
		/^(rtspsrc|rtp\w+|jpeg(enc|dec)|video(crop|flip|box|balance|mixer)|vp[89](enc|dec)|png(enc|dec)|isomp4|mp4mux|qtdemux)$/,
		'gstreamer1.0-plugins-good'
	],
	[
		/^(decodebin3?|uridecodebin|video(convert|scale|rate|testsrc)|audio\w+|app(sink|src)|playbin)$/,
		'gstreamer1.0-plugins-base'
	]
]

/**
 * Says what is wrong with templates and what this host lacks for them: one line per finding, with file, line and column, or one
 * that says that a template can run.
 *
 * @param names the templates to look at; all of the folder where there are none
 * @returns the exit code: 1 where a template is broken, or a named one cannot run here
 */
export async function check(
	directory: string,
	names: readonly string[],
	print: (line: string) => void
): Promise<number> {
	let failed = false
	const checker = new HostChecker(() => new Worker(workerPath, createLog('silent'), readFromWorker))
	const templates = names.length > 0 ? names : await listTemplates(directory)
	if (templates.length === 0) {
		print(`no template in ${directory}`)
		return 1
	}
	for (const name of templates) {
		const {findings, broken} = await findingsOf(directory, name, checker)
		for (const finding of findings) print(finding)
		if (findings.length === 0) print(`${name}.gst: can run here`)
		failed ||= broken || (names.length > 0 && findings.length > 0)
	}
	await checker.close()
	return failed ? 1 : 0
}

/** `broken` is a fault of the file's; a host that lacks an element is none. */
async function findingsOf(
	directory: string,
	name: string,
	checker: HostChecker
): Promise<{findings: string[]; broken: boolean}> {
	let text: string
	try {
		text = await readText(templateFile(directory, name), name)
	} catch (error) {
		const {code, detail} = asSluiceError(error)
		// Of a name that is none, or of no file, the words do not name it.
		return {
			findings: [code === 'template_invalid' ? detail : `${name}.gst: ${detail}`],
			broken: true
		}
	}
	const {template, findings} = examineTemplate(name, text)
	const checked = await checker.check(template, findings.length === 0).catch(asSluiceError)
	if (checked instanceof SluiceError)
		return {findings: [`${name}.gst: ${checked.detail}`], broken: true}
	const {missing, faults, warnings} = checked
	const ofFile = [...findings, ...faults, ...warnings]
	const ofHost = missing.map(({element, message, ...place}) => ({
		...place,
		message: `${message} (${packageOf(element)})`
	}))
	return {
		findings: inOrder([...ofFile, ...ofHost]).map(finding => findingText(name, finding)),
		broken: ofFile.length > 0
	}
}

function packageOf(element: string): string {
	const debian = packages.find(([pattern]) => pattern.test(element))?.[1]
	return debian === undefined
		? 'of no package that is known here'
		: debian.startsWith('gstreamer')
			? `Debian: ${debian}`
			: debian
}
