import {isIP} from 'node:net'
import test from 'ava'
import {HostAddresses} from '../../dist/webrtc/host-addresses.js'

test('addresses are taken as they are, in their order, and names are looked up', async t => {
	const {get} = new HostAddresses(['192.0.2.1', 'localhost', '2001:db8::1'])
	const [first, second = '', third, ...more] = await get()
	t.deepEqual([first, third, more], ['192.0.2.1', '2001:db8::1', []])
	t.not(isIP(second), 0)
	t.deepEqual(await get(), [first, second, third])
})

test('a name without an address leaves the others', async t => {
	t.deepEqual(await new HostAddresses(['192.0.2.1', 'no such name']).get(), ['192.0.2.1'])
})
