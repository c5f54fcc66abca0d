"""aiohttp: after a restore the process's TCP connections are ended; aiohttp sees that, and connects anew.

snapsafe run python examples/reconnect/aiohttp_session.py https://www.example.org
"""

import asyncio
import sys

import aiohttp

import snapsafe_rt
from snapsafe_rt import recipes


async def main():
    recipes.connections()  # in a coroutine, so it will run on this loop
    async with aiohttp.ClientSession() as session:
        while await asyncio.to_thread(sys.stdin.readline):
            await snapsafe_rt.acheck()
            async with session.get(sys.argv[1]) as answer:
                text = await answer.text()
            print(text, flush=True)


asyncio.run(main())
