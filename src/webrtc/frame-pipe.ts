/**
 * How frames travel from the server to the WebRTC worker: on a pipe of their own, for worker-channel.ts is for short messages.
 * One here is a header and a frame's bytes.
 */
import {Buffer} from 'node:buffer'
import type {Writable} from 'node:stream'
import {maxFrameBytes} from '../pipeline/gdp.js'
import {PacketReader} from '../base/packet-reader.js'

/** In one order. */
export type OnWebRtcPipe<Bytes extends Uint8Array = Uint8Array> =
	/** One access unit of a source, once for all of its viewers. Behind missing ones the first is a key frame. */
	| {type: 'frame'; source: number; timeMs: number; keyFrame: boolean; data: Bytes}
	/** The source has no viewers any more: no frame of it follows. */
	| {type: 'forget'; source: number}

/** Kind, source, time and length; numbers are little-endian. */
const headerBytes = 17
const sourceAt = 1
const timeAt = 5
const lengthAt = 13
/** To copy so much is cheaper than to write two buffers. */
const copiedBytes = 64 * 1024
const kinds = {forget: 0, frame: 1, keyFrame: 2}

/** @param done called when the pipe has taken all of it, or, with an error, cannot */
export function writeToPipe(
	pipe: Writable,
	message: OnWebRtcPipe,
	done: (error?: Error | null) => void
): void {
	const header = Buffer.alloc(headerBytes)
	header.writeUInt32LE(message.source, sourceAt)
	if (message.type === 'forget') {
		pipe.write(header, done)
		return
	}
	const {timeMs, keyFrame, data} = message
	header[0] = keyFrame ? kinds.keyFrame : kinds.frame
	header.writeDoubleLE(timeMs, timeAt)
	header.writeUInt32LE(data.byteLength, lengthAt)
	if (data.byteLength <= copiedBytes) {
		pipe.write(Buffer.concat([header, data]), done)
		return
	}
	pipe.cork()
	pipe.write(header)
	pipe.write(data, done)
	pipe.uncork()
}

/** Reads what writeToPipe() wrote; its `read()` throws where a frame is too large. */
export function pipeReader(onMessage: (message: OnWebRtcPipe<Buffer>) => void): PacketReader {
	return new PacketReader({
		headerBytes,
		bytesBehind: header => {
			const bytes = header.readUInt32LE(lengthAt)
			if (bytes > maxFrameBytes)
				throw new Error(`a frame of ${bytes} bytes, where ${maxFrameBytes} are taken`)
			return bytes
		},
		onPacket: (header, data) => {
			const source = header.readUInt32LE(sourceAt)
			if (header[0] === kinds.forget) onMessage({type: 'forget', source})
			else
				onMessage({
					type: 'frame',
					source,
					timeMs: header.readDoubleLE(timeAt),
					keyFrame: header[0] === kinds.keyFrame,
					data
				})
		}
	})
}
