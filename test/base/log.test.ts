import test from 'ava'
import {startCamera, startSluice} from '../support/processes.js'
import {view} from '../support/viewer.js'

test('no password of a camera is ever logged, not even by GStreamer at its most talkative', async t => {
	const password = 'Tr0ub4dor&3'
	const wrong = 'Wr0ng+Horse'
	for (const auth of ['basic', 'digest']) {
		const camera = await startCamera(t, [
			'--width',
			'320',
			'--height',
			'180',
			'--auth',
			auth,
			'--password',
			password
		])
		const sluice = await startSluice(t, ['--log-level', 'debug'], {
			GST_DEBUG: 'rtspsrc:9,rtspconnection:9,default:9'
		})
		const good = view(
			t,
			sluice.stream({rtsp_url: camera.url('/secret', `demo:${encodeURIComponent(password)}`)})
		)
		await good.received(2)
		good.socket.close()
		const url = `${camera.url('/secret', `demo:${wrong}`)}?password=${password}&token=${wrong}`
		const {error} = await view(t, sluice.stream({rtsp_url: url})).closed
		// The viewer who sent the URL gets it back, as the contract has it; the words of ours and GStreamer's hold no secret.
		t.is(error?.['error'], `无法打开RTSP流: ${url}`)
		t.false(error?.['detail']?.includes(wrong))
		await sluice.line(line => line['msg'] === 'failed')
		sluice.child.kill('SIGTERM')
		await sluice.exit
		const log = JSON.stringify(sluice.lines) + sluice.text.join('\n')
		t.true(
			sluice.lines.some(line => line['msg'] === 'worker stderr'),
			'GStreamer did talk'
		)
		t.true(sluice.lines.some(line => line['msg'] === 'bus message'))
		for (const secret of [password, wrong]) {
			for (const form of [
				secret,
				encodeURIComponent(secret),
				Buffer.from(`demo:${secret}`).toString('base64')
			])
				t.false(log.includes(form), form)
		}
	}
})

test('a piped log is one JSON object a line, with a level, a time and a message', async t => {
	const sluice = await startSluice(t)
	sluice.child.kill('SIGTERM')
	await sluice.exit
	t.deepEqual(sluice.text, [])
	t.deepEqual(
		sluice.lines.map(line => line['msg']),
		['listening', 'stopping', 'stopped']
	)
	for (const line of sluice.lines) {
		t.is(line['level'], 'info')
		t.regex(String(line['time']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
	}
})
