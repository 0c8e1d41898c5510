import test from 'ava'
import {parseCameraSource} from '../../dist/cameras/camera-address.js'
import {SluiceError} from '../../dist/base/errors.js'

const facts = (url: string) => {
	const {location, user, password, host, port, transport} = parseCameraSource(url)
	return {location, user, password, host, port, transport}
}

const none = {user: undefined, password: undefined, transport: undefined}

for (const [url, expected] of [
	[
		'rtsp://10.0.0.5/live',
		{...none, location: 'rtsp://10.0.0.5/live', host: '10.0.0.5', port: 554}
	],
	['RTSP://cam:8554', {...none, location: 'rtsp://cam:8554', host: 'cam', port: 8554}],
	['rtsp://[::1]:8554/a@b', {...none, location: 'rtsp://[::1]:8554/a@b', host: '::1', port: 8554}],
	[
		'rtsp://cam:554/stream@hd',
		{...none, location: 'rtsp://cam:554/stream@hd', host: 'cam', port: 554}
	],
	['rtspt://cam/x', {...none, location: 'rtspt://cam/x', host: 'cam', port: 554, transport: 'tcp'}],
	[
		'rtspsu://cam/x',
		{...none, location: 'rtspsu://cam/x', host: 'cam', port: 554, transport: 'udp'}
	],
	[
		'rtsp://admin:pw@cam/x?a=1',
		{
			location: 'rtsp://cam/x?a=1',
			user: 'admin',
			password: 'pw',
			host: 'cam',
			port: 554,
			transport: undefined
		}
	],
	[
		'rtsp://admin@cam/x',
		{
			location: 'rtsp://cam/x',
			user: 'admin',
			password: '',
			host: 'cam',
			port: 554,
			transport: undefined
		}
	],
	[
		'rtsp://admin:p%40ss%3A@cam/x',
		{
			location: 'rtsp://cam/x',
			user: 'admin',
			password: 'p@ss:',
			host: 'cam',
			port: 554,
			transport: undefined
		}
	],
	[
		'rtsp://admin:p@ss:w@cam:88/x',
		{
			location: 'rtsp://cam:88/x',
			user: 'admin',
			password: 'p@ss:w',
			host: 'cam',
			port: 88,
			transport: undefined
		}
	],
	[
		'rtsp://admin:a/b?c#d@cam/x',
		{
			location: 'rtsp://cam/x',
			user: 'admin',
			password: 'a/b?c#d',
			host: 'cam',
			port: 554,
			transport: undefined
		}
	],
	[
		'rtsp://admin:pw@cam/stream@hd',
		{
			location: 'rtsp://cam/stream@hd',
			user: 'admin',
			password: 'pw',
			host: 'cam',
			port: 554,
			transport: undefined
		}
	],
	[
		'rtsp://admin:100%@cam/x',
		{
			location: 'rtsp://cam/x',
			user: 'admin',
			password: '100%',
			host: 'cam',
			port: 554,
			transport: undefined
		}
	]
] as [string, ReturnType<typeof facts>][]) {
	test(`read: ${url}`, t => {
		t.deepEqual(facts(url), expected)
	})
}

for (const [url, expected] of [
	['http://cam/x', /must begin with rtsp/],
	['rtsp:/cam', /must begin with rtsp/],
	['file:///etc/passwd', /must begin with rtsp/],
	['rtsp-sdp://cam', /must begin with rtsp/],
	['', /must begin with rtsp/],
	['rtsp://', /must name a host/],
	['rtsp:///x', /must name a host/],
	['rtsp://cam:0/x', /must name a host, and a port from 1 to 65535/],
	['rtsp://cam:70000/x', /must name a host, and a port from 1 to 65535/],
	['rtsp://cam:x/', /must name a host/],
	['rtsp://[::1/x', /must name a host/],
	['rtsp://cam/x ! filesink location=/tmp/x', /white space or control characters/],
	['rtsp://cam/x\n', /white space or control characters/],
	['rtsp://cam/\u0000x', /white space or control characters/],
	['rtsp://cam/%00', /white space or control characters/],
	['rtsp://a:%0d%0aX: y@cam/', /white space or control characters/],
	[`rtsp://cam/${'x'.repeat(2048)}`, /at most 2048 characters/]
] as [string, RegExp][]) {
	test(`refused: ${JSON.stringify(url.slice(0, 60))}`, t => {
		const error = t.throws(() => parseCameraSource(url), {instanceOf: SluiceError})
		t.is(error.code, 'bad_request')
		t.regex(error.detail, expected)
	})
}

test('a camera is named without its secrets, and every form of its password is taken out of a text', t => {
	const source = parseCameraSource(
		'rtsp://admin:p%40s%2Fs@cam:8554/live?channel=1&password=other&x=2'
	)
	t.is(source.label, 'rtsp://cam:8554/live?…')
	const base64 = Buffer.from('admin:p@s/s').toString('base64')
	t.is(
		source.redact(`p%40s%2Fs p@s/s p%40s%2Fs ${base64} other&x=2 fine`),
		'*** *** *** *** *** fine'
	)
	for (const [url, label] of [
		['rtsp://admin:p@s/s@cam/x', 'rtsp://***@cam/x'],
		['rtsp://admin:2024#Cam@cam/x', 'rtsp://cam/x'],
		['rtsp://admin:12/34@cam/x', 'rtsp://***@cam/x'],
		['rtsp://admin:99?secret@cam/x', 'rtsp://***@cam/x'],
		['rtsp://cam/user=admin&password=a/b&c#d', 'rtsp://cam/user=admin&password=***'],
		['rtsp://cam/user=admin_pass%77ord=x_channel=1', 'rtsp://cam/user=admin_pass%77ord=***'],
		['rtsp://cam/x/loginpas=y', 'rtsp://cam/x/loginpas=***'],
		['rtsp://cam/stream@hd', 'rtsp://cam/stream@hd']
	] as const)
		t.is(parseCameraSource(url).label, label)
	t.like(parseCameraSource('rtsp://127.0.0.1:9#@cam:88/x'), {
		host: 'cam',
		port: 88,
		location: 'rtsp://cam:88/x'
	})
	t.false(JSON.stringify({...source, url: '', password: ''}).includes('p@s/s'))
})
