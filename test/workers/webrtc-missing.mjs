// A WebRTC worker on a host that node-datachannel has no binary for.
process.send({type: 'unavailable', message: 'Cannot find module \'@node-datachannel/linux-riscv64\''})
process.exitCode = 1
process.disconnect()
