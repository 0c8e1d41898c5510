// A worker that cannot load GStreamer.
console.error('cannot open shared object file: libgstreamer-1.0.so.0')
process.exitCode = 1
