"""asyncpg: after a restore each connection of the pool is replaced when it is acquired.

snapsafe run python examples/reconnect/asyncpg_pool.py postgresql://me@db.example/postgres
"""

import asyncio
import sys

import asyncpg

import snapsafe_rt


async def main():
    pool = await asyncpg.create_pool(sys.argv[1], min_size=1)
    snapsafe_rt.register_after_restore(pool.expire_connections)  # in a coroutine, so it will run on this loop
    while await asyncio.to_thread(sys.stdin.readline):
        await snapsafe_rt.acheck()
        print(await pool.fetchval("SELECT pg_backend_pid()"), flush=True)


asyncio.run(main())
