import {execFile} from 'node:child_process'
import {existsSync, readdirSync, readFileSync} from 'node:fs'
import {mkdtemp, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import path from 'node:path'
import process from 'node:process'
import {promisify} from 'node:util'
import test, {type ExecutionContext} from 'ava'
import ts from 'typescript'
import {parse} from 'yaml'
import {parseTemplate} from '../../dist/templates/template.js'
import {advances, cameraFlags, inState, newPage} from '../support/browser.js'
import {
	allFences,
	commandsOf,
	documents,
	edited,
	edits,
	type Fence,
	fencesOf
} from '../support/fences.js'
import {jpegSize} from '../support/jpeg.js'
import {launchBrowserIn, type Network, ownNetwork} from '../support/network.js'
import {startCamera, startSluice} from '../support/processes.js'
import {until} from '../support/viewer.js'

const run = promisify(execFile)
const plain = readFileSync('pipelines/jpeg.gst', 'utf8')
/** Documents explain its lines, and leave out its own explanations. */
const uncommented = plain
	.split('\n')
	.filter(line => !/^#(?! @)/.test(line))
	.join('\n')
const scripts = Object.keys(
	(JSON.parse(readFileSync('package.json', 'utf8')) as {scripts: object}).scripts
)

/** Parsers by language: each says what is wrong with a block, and nothing where nothing is. */
const checks: Record<string, (fence: Fence) => Promise<string[]> | string[]> = {
	sh: problemsOfShell,
	console: problemsOfShell,
	js: ({text}) => problemsOfScript(text),
	html: ({text}) =>
		[...text.matchAll(/<script\b[^>]*>(.*?)<\/script>/gs)].flatMap(([, script = '']) =>
			problemsOfScript(script)
		),
	json: ({text}) => problemsWhen(() => JSON.parse(text) as unknown),
	yaml: ({text}) => problemsWhen(() => parse(text) as unknown),
	gst: fence => {
		const lines = fence.text.split('\n')
		const isEdit =
			fence.rest !== '' ||
			lines.every(line => line.startsWith('# @')) ||
			fence.text.includes('name=sink')
		return isEdit || uncommented.includes(fence.text)
			? []
			: ['it is neither a template, nor a part of jpeg.gst, nor says where it belongs']
	},
	// What a text names has to be there.
	text: ({text}) =>
		[...text.matchAll(/[\w/-]+\.ts\b/g)]
			.filter(([file]) => !existsSync(path.join('src', file)))
			.map(([file]) => `there is no src/${file}`)
}

function problemsWhen(action: () => unknown): string[] {
	try {
		action()
		return []
	} catch (error) {
		return [String(error)]
	}
}

function problemsOfScript(script: string): string[] {
	const {diagnostics = []} = ts.transpileModule(script, {
		reportDiagnostics: true,
		compilerOptions: {target: ts.ScriptTarget.ESNext, module: ts.ModuleKind.ESNext}
	})
	return diagnostics.map(({messageText}) => ts.flattenDiagnosticMessageText(messageText, '\n'))
}

/** The shell parses it; the scripts of package.json and the files of the project that it names are there. */
async function problemsOfShell(fence: Fence): Promise<string[]> {
	const text = commandsOf(fence)
		.map(({command}) => command)
		.join('\n')
	const syntax = await run('bash', ['-nc', text]).then(
		() => [],
		(error: unknown) => [String(error)]
	)
	const named = [...text.matchAll(/\bnpm (?:run )?([\w:]+)/g)]
		.map(([, name = '']) => name)
		.filter(name => !scripts.includes(name))
	const files = [
		...text.matchAll(
			/(?<![\w/.-])(?:bench|dist|dist-test|docker|pipelines|scripts|src|test)\/[\w./-]+/g
		)
	].map(([file]) => file)
	return [
		...syntax,
		...named.map(name => `package.json has no script ${name}`),
		...files.filter(file => !existsSync(file)).map(file => `there is no ${file}`)
	]
}

test('each fenced block says what is to be done with it; those that nobody runs are listed', t => {
	const found = documents().map(file => fencesOf(file))
	t.deepEqual(
		found.flatMap(({problems}) => problems),
		[]
	)
	for (const {at, tag, rest} of found.flatMap(({fences}) => fences))
		if (tag === 'manual') t.log(`not run: ${at}: ${rest}`)
	t.true(
		documents().includes('README.md') && found.flatMap(({fences}) => fences).length > 40,
		'they are found'
	)

	const block = (info: string) => fencesOf('x.md', `\`\`\`${info}\nls\n\`\`\`\n`)
	for (const wrong of [
		'',
		'sh',
		'sh runs',
		'sh manual',
		'sh manual:',
		'sh run fast',
		'gst run above decodebin'
	])
		t.is(block(wrong).problems.length, 1, wrong)
	t.deepEqual(fencesOf('x.md', '```sh run\nls').problems, ['x.md:1: it does not end'])
	t.like(block('sh manual: needs a Jetson').fences[0], {
		language: 'sh',
		tag: 'manual',
		rest: 'needs a Jetson',
		text: 'ls'
	})
	t.like(
		fencesOf('x.md', '1. One\n\n   ```gst run for decodebin\n   ! a\n     ! b\n   ```\n').fences[0],
		{at: 'x.md:3', rest: 'for decodebin', text: '! a\n  ! b'}
	)
})

test('each fenced block is what its language asks for', async t => {
	for (const fence of allFences()) {
		const check = checks[fence.language]
		if (check) t.deepEqual(await check(fence), [], fence.at)
		else
			t.fail(
				`${fence.at}: nothing here checks ${fence.language}: add it to test/integration/docs.test.ts`
			)
	}
})

test('ARCHITECTURE.md names each module', t => {
	const lists = allFences().filter(
		({file, language}) => file === 'ARCHITECTURE.md' && language === 'text'
	)
	const named = new Set(lists.flatMap(({text}) => text.split(/\s+/)))
	const files = readdirSync('src', {recursive: true, encoding: 'utf8'}).filter(
		file => file.endsWith('.ts') && !file.endsWith('.d.ts')
	)
	t.deepEqual(
		files.filter(file => !named.has(file)),
		[]
	)
})

test('a configuration in a document is what the server takes', async t => {
	const configurations = allFences().filter(
		({language, text}) => language === 'yaml' && /^cameras:/m.test(text)
	)
	t.true(configurations.length > 0)
	for (const {at, text} of configurations) {
		const env = Object.fromEntries(
			[...text.matchAll(/\$\{(\w+)\}/g)].map(([, name = '']) => [name, 'x'])
		)
		const file = path.join(await mkdtemp(path.join(tmpdir(), 'sluice-docs-')), 'sluice.yaml')
		await writeFile(file, text)
		const {stdout} = await run(
			process.execPath,
			['dist/cli/main.js', 'check', '--config', file, 'jpeg'],
			{env: {...process.env, ...env}}
		).catch((error: unknown) => error as {stdout: string})
		t.is(stdout.trim(), 'jpeg.gst: can run here', at)
	}
})

test('templates and parts of templates can run, and play where a document says so', async t => {
	const all = edits(
		allFences().filter(
			({text, tag, rest}) => tag === 'run' || rest !== '' || !uncommented.includes(text)
		)
	)
	const directory = await mkdtemp(path.join(tmpdir(), 'sluice-docs-'))
	const templates = await Promise.all(
		all.map(async (edit, index) => {
			const name = `edit${index}`
			const text = edited(edit, plain)
			await writeFile(path.join(directory, `${name}.gst`), text ?? '')
			return {
				name,
				text,
				at: edit.map(({at}) => at).join(' '),
				plays: edit.every(({tag}) => tag === 'run')
			}
		})
	)
	t.deepEqual(
		templates.filter(({text}) => text === undefined).map(({at}) => at),
		[],
		'their places are there'
	)
	for (const {name, text, at} of templates) t.is(parseTemplate(name, text ?? '').name, name, at)
	const {stdout} = await run(process.execPath, [
		'dist/cli/main.js',
		'check',
		'--pipelines',
		directory
	]).catch((error: unknown) => error as {stdout: string})
	const places = templates.map(({name, at}) => `${name}: ${at}`).join('\n')
	t.deepEqual(
		stdout.trim().split('\n').sort(),
		templates.map(({name}) => `${name}.gst: can run here`).sort(),
		places
	)

	const [camera, sluice] = await Promise.all([
		startCamera(t, cameraFlags),
		startSluice(t, ['--pipelines', directory])
	])
	for (const {name, text, at} of templates.filter(({plays}) => plays)) {
		const codec = /^# @codecs (\w+)$/m.exec(text ?? '')?.[1]
		const url = camera.url(codec === 'JPEG' ? '/mjpeg' : '/h264')
		const answer = await fetch(
			`${sluice.http}/snapshot.jpg?${new URLSearchParams({rtsp_url: url, pipeline: name}).toString()}`
		)
		const body = Buffer.from(await answer.arrayBuffer())
		t.is(answer.status, 200, `${at}: ${body.toString('utf8', 0, 300)}`)
		t.truthy(jpegSize(body), at)
	}
})

/** What `npm run demo` starts when everything is there, on the ports that the documents name, and a browser beside it. */
async function startDemo(t: ExecutionContext, network: Network) {
	const demo = network.start(process.execPath, ['scripts/demo.mjs'], {stream: 'stderr'})
	t.teardown(async () => {
		demo.child.kill('SIGTERM')
		await demo.exit
	})
	const [browser] = await Promise.all([
		launchBrowserIn(t, network),
		until(
			() => demo.text.some(line => line.includes('The picture:')),
			30_000,
			'the demo has said where its picture is'
		)
	])
	const address =
		/http:\S+/.exec(demo.text.find(line => line.includes('The picture:')) ?? '')?.[0] ?? ''
	return {browser, address}
}

/** The body of the page that a script is written for: what it says in its first comment. */
const bodyFor = (script: string) => /^\/\/ The page has (<.*>)\.$/m.exec(script)?.[1] ?? ''

const pageOf = ({language, text}: Fence) =>
	language === 'html' ? text : `${bodyFor(text)}<script type="module">${text}</script>`

/** Serves pages of somebody else, who uses this server, in the same network; gives the address of one with this body. */
async function startSite({start}: Network): Promise<(html: string) => Promise<string>> {
	const directory = await mkdtemp(path.join(tmpdir(), 'sluice-docs-'))
	const site = start('/usr/bin/python3', [
		'-u',
		'-m',
		'http.server',
		'--bind',
		'127.0.0.1',
		'--directory',
		directory,
		'3000'
	])
	await until(
		() => site.text.some(line => line.startsWith('Serving HTTP')),
		30_000,
		'the site is up'
	)
	let count = 0
	return async html => {
		const name = `${++count}.html`
		await writeFile(
			path.join(directory, name),
			`<!doctype html><link rel="icon" href="data:,">${html}`
		)
		return `http://localhost:3000/${name}`
	}
}

test.serial("pages and scripts play the demo's camera as printed", async t => {
	const network = await ownNetwork(t)
	if (!network) return
	const [{browser, address}, publish] = await Promise.all([
		startDemo(t, network),
		startSite(network)
	])
	const {page, errors} = await newPage(t, browser)
	await page.goto(address)
	await inState(page, 'live')
	await advances(page)
	t.true(address.startsWith('http://localhost:8000/index.html#'))
	t.deepEqual(errors, [])

	for (const fence of allFences().filter(
		({language, tag}) => tag === 'run' && ['html', 'js'].includes(language)
	)) {
		t.log(fence.at)
		const opened = await newPage(t, browser)
		await opened.page.goto(await publish(pageOf(fence)))
		await advances(opened.page)
		t.deepEqual(opened.errors, [], fence.at)
		await opened.page.close()
	}
	// Of the table of programs that play /stream.mjpeg, the one that is a page's.
	const [, image = ''] =
		/^\| a page [^|]*\| `(<img [^`]*>)`/m.exec(readFileSync('README.md', 'utf8')) ?? []
	const opened = await newPage(t, browser)
	await opened.page.goto(await publish(image))
	await opened.page.waitForFunction(() => document.querySelector('img')?.naturalWidth === 1280)
	t.deepEqual(opened.errors, [])
})
