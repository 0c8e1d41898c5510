/** The address that Sluice and the server that it replaces have in common. */

/** @returns {(camera: string) => string} the WebSocket of a camera */
export const watchUrl = (host, port) => camera =>
	`ws://${host}:${port}/ws/stream?rtsp_url=${encodeURIComponent(camera)}`
