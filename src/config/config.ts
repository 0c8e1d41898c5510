import {accessSync, constants, readFileSync, statSync} from 'node:fs'
import path from 'node:path'
import {fileURLToPath} from 'node:url'
import {parseArgs} from 'node:util'
import {type CameraSource, parseCameraSource} from '../cameras/camera-address.js'
import type {Camera} from '../streams/stream-request.js'
import {readCameraEntry} from './named-cameras.js'
import {ConfigFile} from './config-file.js'
import {asSluiceError} from '../base/errors.js'
import {type IceServer, iceServerSyntax, parseIceServer} from '../webrtc/ice-servers.js'
import {type LogLevel, logLevels} from '../base/log.js'

/** What the server runs with; validated once, and frozen. */
export interface Config {
	readonly host: string
	/** 0 takes a free port. */
	readonly port: number
	readonly pipelinesDir: string
	readonly openTimeoutMs: number
	readonly frameTimeoutMs: number
	readonly maxPipelines: number
	/** Over WebSocket and HTTP. */
	readonly maxViewers: number
	/** Whether viewers that ask for the same camera, template and parameters share one pipeline. */
	readonly share: boolean
	readonly lingerMs: number
	/** 0 never tries again. */
	readonly retryForMs: number
	readonly logLevel: LogLevel
	/** Whether viewers may name any address, by `rtsp_url`; else only cameras of the configuration. */
	readonly allowRtspUrl: boolean
	readonly cameras: readonly Camera[]
	/** UDP, for all viewers over WebRTC; 0 takes a free one. */
	readonly webrtcPort: number
	/** Addresses and names at which viewers reach that port too. */
	readonly webrtcHosts: readonly string[]
	/** Whether cameras that browsers do not show over WebRTC are transcoded. */
	readonly webrtcTranscode: boolean
	readonly maxWebrtcViewers: number
	readonly iceServers: readonly IceServer[]
}

/** Bad flags, environment or file: every problem, each naming key, value and expectation. */
export class UsageError extends Error {
	constructor(readonly problems: readonly string[]) {
		super(problems.join('; '))
		this.name = 'UsageError'
	}
}

const root = fileURLToPath(new URL('../..', import.meta.url))

/** A reader of one value: the value, or what was expected instead. */
type Read<T> = (text: string) => {value: T} | {expected: string}

interface Option<T> {
	placeholder: string
	default: string
	text: string
	read: Read<T>
}

function number(low: number, high: number, {whole = true, factor = 1} = {}): Read<number> {
	return text => {
		const value = Number(text)
		const valid =
			/^\d+(\.\d+)?$/.test(text) &&
			(!whole || Number.isInteger(value)) &&
			value >= low &&
			value <= high
		return valid
			? {value: value * factor}
			: {expected: `${whole ? 'a whole number' : 'a number'} from ${low} to ${high}`}
	}
}

const onOrOff: Read<boolean> = text =>
	/^(on|off|true|false)$/.test(text)
		? {value: text === 'on' || text === 'true'}
		: {expected: 'on or off'}

const seconds = number(0.5, 300, {whole: false, factor: 1000})

const hostPattern = /^[\w.:%-]+$/
const host: Read<string> = text =>
	hostPattern.test(text) ? {value: text} : {expected: 'an address or a host name'}

const directory: Read<string> = text => {
	const expected = {expected: 'a folder that can be read'}
	try {
		accessSync(text, constants.R_OK | constants.X_OK)
		return statSync(text).isDirectory() ? {value: path.resolve(text)} : expected
	} catch {
		return expected
	}
}

/** Values between white space. */
function list<T>(readOne: (text: string) => T | undefined, expected: string): Read<readonly T[]> {
	return text => {
		const values = text === 'none' ? [] : text.trim().split(/\s+/).map(readOne)
		const known = values.filter(value => value !== undefined)
		return known.length === values.length ? {value: Object.freeze(known)} : {expected}
	}
}

const anyText: Read<string> = text => (text === '' ? {expected: 'a file'} : {value: text})

const level: Read<LogLevel> = text => {
	const found = logLevels.find(known => known === text)
	return found ? {value: found} : {expected: `one of ${logLevels.join(', ')}`}
}

/** The server's options by flag. Each has an environment twin, `--open-timeout` is `SLUICE_OPEN_TIMEOUT`, and all but `config` a key in the file. */
export const options = {
	config: {
		placeholder: 'FILE',
		default: 'no file',
		text: 'YAML file of options and named cameras',
		read: anyText
	},
	host: {placeholder: 'ADDRESS', default: '0.0.0.0', text: 'address to listen on', read: host},
	port: {
		placeholder: 'PORT',
		default: '8000',
		text: 'port to listen on; 0 takes a free one',
		read: number(0, 65_535)
	},
	pipelines: {
		placeholder: 'DIR',
		default: path.join(root, 'pipelines'),
		text: 'folder of the pipeline templates',
		read: directory
	},
	'open-timeout': {
		placeholder: 'SECONDS',
		default: '10',
		text: 'longest wait for the first picture of a camera',
		read: seconds
	},
	'frame-timeout': {
		placeholder: 'SECONDS',
		default: '4',
		text: 'longest wait between two pictures before the camera counts as lost',
		read: seconds
	},
	'max-pipelines': {
		placeholder: 'NUMBER',
		default: '64',
		text: 'how many pipelines may run at a time; each is a process',
		read: number(1, 10_000)
	},
	'max-viewers': {
		placeholder: 'NUMBER',
		default: '1000',
		text: 'how many viewers may watch over WebSocket and HTTP at a time',
		read: number(1, 100_000)
	},
	share: {
		placeholder: 'on|off',
		default: 'off',
		text: 'whether viewers that ask for the same share one pipeline; --share is --share on',
		read: onOrOff
	},
	linger: {
		placeholder: 'SECONDS',
		default: '5',
		text: 'how long a shared pipeline runs on after its last viewer',
		read: number(0, 3600, {whole: false, factor: 1000})
	},
	'retry-for': {
		placeholder: 'SECONDS',
		default: '60',
		text: 'how long a camera that was lost is tried again while viewers wait; 0 ends them at once',
		read: number(0, 86_400, {whole: false, factor: 1000})
	},
	'log-level': {placeholder: 'LEVEL', default: 'info', text: logLevels.join(', '), read: level},
	'allow-rtsp-url': {
		placeholder: 'on|off',
		default: 'on',
		text: 'whether viewers may ask for any RTSP address; off takes named cameras only',
		read: onOrOff
	},
	'webrtc-port': {
		placeholder: 'PORT',
		default: '8555',
		text: 'UDP port of all viewers over WebRTC; 0 takes a free one',
		read: number(0, 65_535)
	},
	'webrtc-host': {
		placeholder: 'ADDRESS',
		default: 'none',
		text: 'address at which viewers reach that port too, behind NAT say; may be repeated',
		read: list(text => (hostPattern.test(text) ? text : undefined), 'addresses or host names')
	},
	'webrtc-transcode': {
		placeholder: 'on|off',
		default: 'on',
		text: 'whether cameras with B-frames or another codec than H.264 are transcoded for WebRTC',
		read: onOrOff
	},
	'max-webrtc-viewers': {
		placeholder: 'NUMBER',
		default: '100',
		text: 'how many viewers may watch over WebRTC at a time',
		read: number(1, 10_000)
	},
	'ice-server': {
		placeholder: 'URL',
		default: 'none',
		text: 'STUN or TURN server that WebRTC viewers are told of; may be repeated',
		read: list(parseIceServer, iceServerSyntax)
	}
} satisfies Record<string, Option<unknown>>

export type Flag = keyof typeof options

/** Given twice, these count twice; of the others the last counts. */
const repeatable: readonly string[] = ['webrtc-host', 'ice-server'] satisfies Flag[]

export function environmentName(flag: string): string {
	return `SLUICE_${flag.toUpperCase().replaceAll('-', '_')}`
}

/** `defaults < file < environment < flags`; to run the server, to check templates (all, where none is named) or a camera, or to print a text. */
export type Command =
	| {run: Config}
	| {check: Config; templates: readonly string[]; camera?: CameraSource}
	| {print: string}

/**
 * @param args the command line, without the program's name
 * @throws UsageError
 */
export function readCommand(args: string[], environment: NodeJS.ProcessEnv): Command {
	const problems: string[] = []
	const {flags, words} = readFlags(args, problems)
	const [verb, ...templates] = words
	// Not repeated, for it may hold a password.
	if (words.some(word => /:\/\/|@/.test(word)))
		problems.push("a camera's URL is given as sluice check --url URL")
	else if (verb !== undefined && verb !== 'check')
		problems.push(`${JSON.stringify(verb)} is no command and no flag; sluice --help lists both`)
	if (flags.has('help')) return {print: helpText()}
	if (flags.has('version')) return {print: version()}
	const file = readFile(flags, environment, problems)
	for (const name of Object.keys(environment)) {
		// A variable of the file's may be named as the owner likes.
		if (
			name.startsWith('SLUICE_') &&
			!file?.variables.has(name) &&
			!Object.keys(options).some(flag => environmentName(flag) === name)
		)
			problems.push(`${name} is unknown; sluice --help lists what is known`)
	}
	const read = <T>(flag: Flag, {read: readText, default: initial}: Option<T>): T | undefined => {
		const variable = environmentName(flag)
		// A value of the file is looked at even where another wins over it, so that every problem is told at once.
		const setting = file?.options.get(flag)
		const inFile =
			setting &&
			readText(
				flag === 'pipelines' && file
					? path.resolve(path.dirname(file.path), setting.text)
					: setting.text
			)
		if (setting && inFile && 'expected' in inFile)
			file?.refuseValue(
				flag === 'ice-server' ? {...setting, open: false} : setting,
				inFile.expected
			)
		if (inFile && !flags.has(flag) && environment[variable] === undefined)
			return 'value' in inFile ? inFile.value : undefined
		const [key, text] = flags.has(flag)
			? [`--${flag}`, flags.get(flag)]
			: [variable, environment[variable]]
		const result = readText(text ?? initial)
		if ('value' in result) return result.value
		// An ICE server's value holds a credential.
		problems.push(
			`${key} must be ${result.expected}${flag === 'ice-server' ? '' : `, not ${JSON.stringify(text ?? initial)}`}`
		)
		return undefined
	}
	const config = {
		host: read('host', options.host),
		port: read('port', options.port),
		pipelinesDir: read('pipelines', options.pipelines),
		openTimeoutMs: read('open-timeout', options['open-timeout']),
		frameTimeoutMs: read('frame-timeout', options['frame-timeout']),
		maxPipelines: read('max-pipelines', options['max-pipelines']),
		maxViewers: read('max-viewers', options['max-viewers']),
		share: read('share', options.share),
		lingerMs: read('linger', options.linger),
		retryForMs: read('retry-for', options['retry-for']),
		logLevel: read('log-level', options['log-level']),
		allowRtspUrl: read('allow-rtsp-url', options['allow-rtsp-url']),
		webrtcPort: read('webrtc-port', options['webrtc-port']),
		webrtcHosts: read('webrtc-host', options['webrtc-host']),
		webrtcTranscode: read('webrtc-transcode', options['webrtc-transcode']),
		maxWebrtcViewers: read('max-webrtc-viewers', options['max-webrtc-viewers']),
		iceServers: read('ice-server', options['ice-server'])
	}
	const cameras =
		file?.cameras.flatMap(entry => readCameraEntry(entry, config.pipelinesDir, file) ?? []) ?? []
	const camera = readCamera(flags.get('url'), verb === 'check', problems)
	problems.push(...(file?.problems ?? []))
	if (problems.length > 0) throw new UsageError(problems)
	const frozen = Object.freeze({...config, cameras: Object.freeze(cameras)} as Config)
	return verb === 'check' ? {check: frozen, templates, ...(camera && {camera})} : {run: frozen}
}

function readFile(
	flags: ReadonlyMap<string, string>,
	environment: NodeJS.ProcessEnv,
	problems: string[]
): ConfigFile | undefined {
	const variable = environmentName('config')
	const [key, text] = flags.has('config')
		? ['--config', flags.get('config')]
		: [variable, environment[variable]]
	if (text === undefined) return undefined
	const result = options.config.read(text)
	if ('value' in result)
		return new ConfigFile(
			result.value,
			{options: Object.keys(options).filter(flag => flag !== 'config'), lists: repeatable},
			environment
		)
	problems.push(`${key} must be ${result.expected}, not ${JSON.stringify(text)}`)
	return undefined
}

/** `--url` has no twin in the environment, for it is no setting. What is wrong with it is told without repeating it: it may hold a password. */
function readCamera(
	url: string | undefined,
	checking: boolean,
	problems: string[]
): CameraSource | undefined {
	if (url === undefined) return undefined
	if (!checking) problems.push('--url belongs to sluice check')
	try {
		return parseCameraSource(url)
	} catch (error) {
		problems.push(asSluiceError(error).detail.replace('rtsp_url', '--url'))
		return undefined
	}
}

function readFlags(
	args: string[],
	problems: string[]
): {flags: Map<string, string>; words: string[]} {
	const switches = {
		help: {type: 'boolean', short: 'h'},
		version: {type: 'boolean', short: 'v'}
	} as const
	const valued = Object.fromEntries(
		[...Object.keys(options), 'url'].map(flag => [
			flag,
			{type: 'string' as const, ...(flag === 'config' && {short: 'c'})}
		])
	)
	const flags = new Map<string, string>()
	const words: string[] = []
	// A bare --share would take the next argument for its value.
	const whole = args.map((arg, index) =>
		arg === '--share' && !/^(on|off|true|false)$/.test(args[index + 1] ?? '') ? '--share=on' : arg
	)
	for (const token of parseArgs({
		args: whole,
		options: {...switches, ...valued},
		strict: false,
		allowPositionals: true,
		tokens: true
	}).tokens) {
		if (token.kind === 'positional') words.push(token.value)
		if (token.kind !== 'option') continue
		if (token.name in switches) flags.set(token.name, '')
		else if (!(token.name in valued))
			problems.push(`${token.rawName} is unknown; sluice --help lists the flags`)
		else if (token.value === undefined) problems.push(`${token.rawName} needs a value`)
		else
			flags.set(
				token.name,
				repeatable.includes(token.name) && flags.has(token.name)
					? `${flags.get(token.name) ?? ''} ${token.value}`
					: token.value
			)
	}
	return {flags, words}
}

export function version(): string {
	const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
		version: string
	}
	return manifest.version
}

export function helpText(): string {
	const rows = Object.entries(options).map(([flag, {placeholder, default: initial, text}]) => [
		`${flag === 'config' ? '-c, ' : ''}--${flag} ${placeholder}`,
		`${text} (${initial === options.pipelines.default ? 'the package’s pipelines/' : initial})`
	])
	rows.push(
		['--url URL', 'of sluice check: the camera to play'],
		['--help', 'this text'],
		['--version', 'the version']
	)
	const width = Math.max(...rows.map(([flag = '']) => flag.length))
	return [
		'sluice: IP cameras in web pages, by RTSP, GStreamer and WebSocket',
		'',
		'usage: sluice [flag…]                    runs the server',
		'       sluice check [template…] [flag…]  says what is wrong with the templates, and what this host lacks for them',
		'       sluice check --url rtsp://…       plays a camera for a few seconds, and says what it sends and what it costs',
		'',
		...rows.map(([flag = '', text = '']) => `  ${flag.padEnd(width)}  ${text}`),
		'',
		'Each flag has a twin in the environment, --open-timeout is SLUICE_OPEN_TIMEOUT, and a key in the file, open-timeout.',
		'A flag wins over its twin, and that over the file.'
	].join('\n')
}
