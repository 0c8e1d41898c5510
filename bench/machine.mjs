/** On what a run was measured. */
import {spawnSync} from 'node:child_process'
import {readFileSync} from 'node:fs'
import os from 'node:os'

const PYTHON_VERSIONS =
	'import cv2, fastapi, uvicorn; print(f"OpenCV {cv2.__version__}, FastAPI {fastapi.__version__}, Uvicorn {uvicorn.__version__}")'

/**
 * @returns {Record<string, string | number>} facts by name, as the report shows them; a program that is missing says so
 */
export function machineFacts() {
	return {
		cores: os.availableParallelism(),
		cpu: os.cpus()[0]?.model ?? 'unknown',
		memoryGb: Math.round(os.totalmem() / 1e9),
		kernel: `${os.type()} ${os.release()}`,
		congestionControl: readFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'utf8').trim(),
		node: process.version,
		gstreamer: output('gst-launch-1.0', ['--version'], /GStreamer (\S+)/),
		motion: output('motion', ['-h'], /^motion Version ([^,]*)/),
		janus: output('janus', ['--help'], /^Janus version: \d+ \((\S+)\)/),
		chromium: output(process.env.CHROMIUM ?? '/usr/bin/chromium', ['--version'], /^(\S+ \S+)/),
		python: output('/usr/bin/python3', ['-c', PYTHON_VERSIONS], /(.+)/),
		loadBefore: os.loadavg()[0]
	}
}

/** Some programs end with an error after they have answered. */
function output(command, args, pattern) {
	const {stdout} = spawnSync(command, args, {encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore']})
	return stdout === null ? 'not found' : (pattern.exec(stdout)?.[1] ?? 'unknown')
}
