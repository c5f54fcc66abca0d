"""SQLAlchemy's AsyncEngine: as sqlalchemy_sync.py.

snapsafe run python examples/reconnect/sqlalchemy_async.py postgresql+asyncpg://me@db.example/postgres
"""

import asyncio
import sys

import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

import snapsafe_rt


async def main():
    engine = create_async_engine(sys.argv[1])
    snapsafe_rt.register_after_restore(engine.sync_engine.dispose, close=False)  # of the AsyncEngine it would wait
    while await asyncio.to_thread(sys.stdin.readline):
        await snapsafe_rt.acheck()
        async with engine.begin() as connection:
            found = await connection.scalar(sqlalchemy.text("SELECT pg_backend_pid()"))
        print(found, flush=True)


asyncio.run(main())
