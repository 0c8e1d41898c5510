/** Janus, the WebRTC server in C that many put before their cameras: its streaming plugin plays the camera and passes RTP on. */
import {mkdir, writeFile} from 'node:fs/promises'
import path from 'node:path'
import {setTimeout as pause} from 'node:timers/promises'
import {startProgram} from '../programs.mjs'
import {freePort} from './free-port.mjs'

const MOUNTPOINT = 1
const START_TIMEOUT_MS = 20_000
/** Everything that Debian's package has and a camera does not need. The SIP plugin alone would listen on every address. */
const UNUSED = {
	plugins: [
		'audiobridge',
		'duktape',
		'echotest',
		'lua',
		'nosip',
		'recordplay',
		'sip',
		'textroom',
		'videocall',
		'videoroom',
		'voicemail'
	],
	transports: ['mqtt', 'nanomsg', 'pfunix', 'rabbitmq', 'websockets'],
	loggers: ['jsonlog']
}

export const janus = {
	id: 'janus',
	title: 'Janus',
	/** @type {import('./sluice.mjs').Start} */
	async start(directory, {camera, host, within}) {
		const port = await freePort()
		const folder = path.join(directory, `janus-${port}`)
		await mkdir(folder)
		for (const [name, text] of Object.entries(configuration(camera, host, port)))
			await writeFile(path.join(folder, `${name}.jcfg`), text)
		// It plays its camera from its start on, whether or not somebody watches.
		const program = await camera.playing(() =>
			startProgram('janus', ['--configs-folder', folder, '--disable-colors'], {within})
		)
		await listening(program)
		const url = `http://${host}:${port}/janus`
		return {
			pid: program.pid,
			webrtc: () => ({signalling: 'janus', url, mountpoint: MOUNTPOINT, page: `${url}/info`}),
			stop: program.stop
		}
	}
}

/** Whatever is not named here is as Debian's package has it. */
const configuration = (camera, host, port) => ({
	janus: [
		// Sessions of viewers that ask for no events would end after a minute.
		'general: { debug_level = 4; session_timeout = 0 }',
		...Object.entries(UNUSED).map(
			([kind, names]) =>
				`${kind}: { disable = "${names.map(name => `libjanus_${name}.so`).join(',')}" }`
		)
	].join('\n'),
	'janus.transport.http': `general: { json = "compact"; base_path = "/janus"; http = true; port = ${port}; ip = "${host}"; https = false }\nadmin: { admin_http = false }`,
	// The camera's RTP comes to it over UDP: it knows no other way.
	'janus.plugin.streaming': `camera: { type = "rtsp"; id = ${MOUNTPOINT}; audio = false; video = true; url = "${camera.url}" }`
})

/** Only its log says so to those who are not in its network. */
async function listening(program) {
	const deadline = performance.now() + START_TIMEOUT_MS
	while (!program.text.some(line => line.includes('HTTP webserver started'))) {
		if (program.ended() || performance.now() > deadline)
			throw new Error(`Janus does not listen: ${program.text.slice(-20).join('\n')}`)
		await pause(50)
	}
}
