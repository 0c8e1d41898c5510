/** What a program costs, as Linux accounts it in /proc: for it and for all processes under it. */
import {readdirSync, readFileSync} from 'node:fs'
import path from 'node:path'

/** The unit of times in /proc, which Linux fixes at 100 a second for programs, whatever the kernel uses inside. */
const TICKS_PER_SECOND = 100

/** On the machines that this runs on; Linux tells it only through libc. */
const PAGE_BYTES = 4096

/**
 * @param {number} root
 * @returns {number[]} the process and its descendants, the process first
 */
export function processTree(root) {
	const children = new Map()
	for (const name of readdirSync('/proc')) {
		const stat = /^\d+$/.test(name) ? statOf(Number(name)) : undefined
		if (stat) children.set(stat.parent, [...(children.get(stat.parent) ?? []), Number(name)])
	}
	const tree = [root]
	for (const pid of tree) tree.push(...(children.get(pid) ?? []))
	return tree
}

/**
 * CPU time that a process tree has used, in seconds. It includes children that have ended, for their
 * time moves to their parent when they do; so the difference of two readings is exact.
 *
 * @param {number} root
 */
export function cpuSeconds(root) {
	return (
		processTree(root).reduce((sum, pid) => sum + (statOf(pid)?.ticks ?? 0), 0) / TICKS_PER_SECOND
	)
}

/**
 * The same by process, without children that have ended.
 *
 * @param {number} root
 * @returns {Map<number, {name: string, seconds: number}>} by process id
 */
export function cpuByProcess(root) {
	return new Map(
		processTree(root).flatMap(pid => {
			const stat = statOf(pid)
			return stat ? [[pid, {name: nameOf(pid), seconds: stat.ticks / TICKS_PER_SECOND}]] : []
		})
	)
}

/** What the kernel holds in buffers of TCP connections, of all programs, in MB. No process' memory counts it. */
export function tcpBuffersMb() {
	const [, pages] = /^TCP:.* mem (\d+)/m.exec(read('/proc/net/sockstat') ?? '') ?? []
	return (Number(pages ?? 0) * PAGE_BYTES) / 1e6
}

/**
 * UDP packets that the kernel has dropped in the network of a process, since that was made: at the full sockets of receivers that
 * read too slowly, and at senders'.
 *
 * @param {number} pid
 * @returns {{receive: number, send: number}}
 */
export function udpErrors(pid) {
	const [names, values] = [...(read(`/proc/${pid}/net/snmp`) ?? '').matchAll(/^Udp: (.*)$/gm)].map(
		([, line]) => line.split(' ')
	)
	const of = name => Number(values?.[names.indexOf(name)] ?? 0)
	return {receive: of('RcvbufErrors'), send: of('SndbufErrors')}
}

/**
 * Memory of each process of a tree in MB (10⁶ bytes): PSS, where a page that several processes share
 * counts in parts, so that the sum is what the tree takes.
 *
 * @param {number} root
 * @returns {{name: string, pssMb: number, privateMb: number}[]} the root first
 */
export function memoryOf(root) {
	return processTree(root).flatMap(pid => {
		const rollup = read(`/proc/${pid}/smaps_rollup`)
		if (!rollup) return []
		const megabytes = pattern =>
			[...rollup.matchAll(pattern)].reduce(
				(sum, [, kilobytes]) => sum + (Number(kilobytes) * 1024) / 1e6,
				0
			)
		return [
			{
				name: nameOf(pid),
				pssMb: megabytes(/^Pss:\s+(\d+)/gm),
				privateMb: megabytes(/^Private_(?:Clean|Dirty):\s+(\d+)/gm)
			}
		]
	})
}

/**
 * CPU time of the whole machine since it started, in seconds over all cores.
 *
 * @returns {{busy: number, stolen: number}} `stolen` is what the hypervisor gave to other machines while we wanted it
 */
export function machineSeconds() {
	const [user, nice, system, , , irq, softirq, steal] = read('/proc/stat')
		.split('\n')[0]
		.split(/\s+/)
		.slice(1)
		.map(Number)
	return {
		busy: (user + nice + system + irq + softirq) / TICKS_PER_SECOND,
		stolen: steal / TICKS_PER_SECOND
	}
}

function statOf(pid) {
	// The name in parentheses may hold anything, so the fields are counted from the last parenthesis.
	const fields = read(`/proc/${pid}/stat`)
		?.replace(/^.*\) /s, '')
		.split(' ')
	return (
		fields && {
			parent: Number(fields[1]),
			ticks: fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0)
		}
	)
}

/** A program's name, or the script's where the program is an interpreter; workers have their folder before it. */
function nameOf(pid) {
	const args = read(`/proc/${pid}/cmdline`)?.split('\0') ?? []
	const program = args.find(argument => /\.(?:m?js|py)$/.test(argument)) ?? args[0] ?? String(pid)
	const name = path.basename(program)
	return name === 'worker-main.js' ? `${path.basename(path.dirname(program))}/${name}` : name
}

/** A file of /proc, or undefined when its process has ended. */
function read(file) {
	try {
		return readFileSync(file, 'utf8')
	} catch (error) {
		if (error.code === 'ENOENT' || error.code === 'ESRCH') return undefined
		throw error
	}
}
