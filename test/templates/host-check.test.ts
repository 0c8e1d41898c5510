import process from 'node:process'
import test from 'ava'
import {HostChecker} from '../../dist/templates/host-check.js'
import {createLog} from '../../dist/base/log.js'
import {parseTemplate} from '../../dist/templates/template.js'
import {type PipelineWorker, readFromWorker} from '../../dist/pipeline/messages.js'
import {Worker} from '../../dist/workers/worker.js'
import {childrenOf} from '../support/processes.js'
import {until} from '../support/viewer.js'

const template = (element: string) =>
	parseTemplate(
		'own',
		`camera name=src\n! queue\n! ${element} ! appsink name=sink max-buffers=1 drop=true\n`
	)

test.serial(
	'templates share a worker until one crashes it, which is told of that one alone',
	async t => {
		const workers: PipelineWorker[] = []
		const checker = new HostChecker(() => {
			const worker = new Worker(
				'test/support/workers/examines.mjs',
				createLog('silent'),
				readFromWorker
			)
			workers.push(worker)
			return worker
		})
		const sound = {missing: [], faults: [], warnings: []}
		t.deepEqual(await checker.check(template('fine')), sound)
		t.deepEqual((await checker.check(template('nosuch'))).missing, [
			{element: 'nosuch', line: 3, column: 3, message: 'no element "nosuch"'}
		])
		t.deepEqual(await checker.check(template('fine')), sound)
		t.is(workers.length, 1)
		t.deepEqual((await checker.check(template('crash'))).faults, [
			{line: 1, column: 1, message: 'GStreamer crashed (SIGSEGV)'}
		])
		t.deepEqual(await checker.check(template('fine')), sound)
		t.is(workers.length, 2)
		await checker.close()
		t.deepEqual(childrenOf(process.pid), [])
		await t.throwsAsync(checker.check(template('fine')), {message: /shutting down/})
	}
)

test.serial('a worker that does not start says nothing of a template', async t => {
	const checker = new HostChecker(
		() => new Worker('test/support/workers/dies-at-start.mjs', createLog('silent'), readFromWorker)
	)
	await t.throwsAsync(checker.check(template('fine')), {
		message: /the worker ended before it was ready .*libgstreamer/
	})
	await checker.close()
})

/** So many properties that a worker is replaced when it was asked about them. */
const long = parseTemplate(
	'own',
	`camera name=src ! nosuch ! queue ${'a=1 '.repeat(250)} ! appsink name=sink max-buffers=1 drop=true\n`
)

test.serial('close() waits for a worker that is being replaced as well', async t => {
	let replaced = false
	const checker = new HostChecker(() => {
		const worker = new Worker(
			'test/support/workers/examines.mjs',
			createLog('silent'),
			readFromWorker
		)
		const close = worker.close.bind(worker)
		worker.close = async () => {
			replaced = true
			await close()
		}
		return worker
	})
	const checking = checker.check(long)
	await until(() => replaced, 10_000, 'the worker is replaced')
	await checker.close()
	t.deepEqual(childrenOf(process.pid), [])
	await checking
})

test.serial('a worker is replaced when it has answered often', async t => {
	let workers = 0
	const checker = new HostChecker(() => {
		workers++
		return new Worker('test/support/workers/examines.mjs', createLog('silent'), readFromWorker)
	})
	t.teardown(async () => checker.close())
	for (let checks = 0; checks < 3; checks++) t.is((await checker.check(long)).missing.length, 1)
	t.is(workers, 3)
})
