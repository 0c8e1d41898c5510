/** On what a run was measured. */
import {execFileSync} from 'node:child_process'
import os from 'node:os'

const PYTHON_VERSIONS = 'import cv2, fastapi, uvicorn; print(f"OpenCV {cv2.__version__}, FastAPI {fastapi.__version__}, Uvicorn {uvicorn.__version__}")'

/**
 * @returns {Record<string, string | number>} facts by name, as the report shows them; a program that is missing says so
 */
export function machineFacts() {
	return {
		cores: os.availableParallelism(),
		cpu: os.cpus()[0]?.model ?? 'unknown',
		memoryGb: Math.round(os.totalmem() / 1e9),
		kernel: `${os.type()} ${os.release()}`,
		node: process.version,
		gstreamer: output('gst-launch-1.0', ['--version'], /GStreamer (\S+)/),
		python: output('/usr/bin/python3', ['-c', PYTHON_VERSIONS], /(.+)/),
		loadBefore: os.loadavg()[0]
	}
}

function output(command, args, pattern) {
	try {
		return pattern.exec(execFileSync(command, args, {encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore']}))?.[1] ?? 'unknown'
	} catch {
		return 'not found'
	}
}
