"""grpc.aio: after a restore there is a new channel. The old one has a second for its calls.

    snapsafe run python examples/reconnect/grpc_aio.py service.example:50051

gRPC shares connections between the channels of a process, so that a new channel to the same address would go on with
the dead one. OWN is against that.
"""

import asyncio
import sys

import grpc

import snapsafe_rt

OWN = [("grpc.use_local_subchannel_pool", 1)]


class Client:
    def __init__(self, address):
        self.address = address
        self.channel = grpc.aio.insecure_channel(address, options=OWN)
        snapsafe_rt.register_after_restore(self.renew)

    async def renew(self):
        old, self.channel = self.channel, grpc.aio.insecure_channel(self.address, options=OWN)
        await old.close(grace=1)

    async def ask(self):
        # A program with a .proto makes its stub of the channel here; this one speaks in bytes.
        return await self.channel.unary_unary("/example.Numbers/Next")(b"")


async def main():
    client = Client(sys.argv[1])
    while await asyncio.to_thread(sys.stdin.readline):
        await snapsafe_rt.acheck()
        print((await client.ask()).decode(), flush=True)


asyncio.run(main())
