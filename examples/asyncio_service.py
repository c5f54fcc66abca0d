"""An asyncio service that opens its database connection anew after a restore, in a coroutine, on its own loop.

    snapsafe run python examples/asyncio_service.py [--port 8765] [--database notes.db]
    printf 'buy milk\n' | nc -N localhost 8765                  (each line is stored and answered with its id)

Look at: `reopen` is registered while the loop runs, so it runs on that loop. `await acheck()` stands at the start of
each request, before the lock is taken: a request that held the lock while it waited for `reopen` would wait for ever.
"""

import argparse
import asyncio
import json
import random
import signal
import sqlite3
import sys

import snapsafe_rt


class Service:
    def __init__(self, database):
        self.database = database
        self.opened = 0
        self.connection = None
        self.lock = asyncio.Lock()  # whoever uses the connection holds it

    def connect(self):
        # Several threads use it, one at a time: see self.lock.
        connection = sqlite3.connect(self.database, check_same_thread=False)
        connection.execute("create table if not exists notes (id text primary key, text text)")
        return connection

    async def reopen(self):
        """After a restore every clone has the old connection, and all share its other end."""
        async with self.lock:  # waits until the current request is done
            if self.connection:
                await asyncio.to_thread(self.connection.close)
            self.connection = await asyncio.to_thread(self.connect)
            self.opened += 1
        print(f"connection {self.opened} opened, restores: {snapsafe_rt.epoch()}", flush=True)

    def store(self, text):
        note = f"{random.getrandbits(96):024x}"
        with self.connection:
            self.connection.execute("insert into notes values (?, ?)", (note, text))
        return note

    async def answer(self, text):
        restores = await snapsafe_rt.acheck()
        async with self.lock:
            note = await asyncio.to_thread(self.store, text)
            return {"id": note, "connection": self.opened, "restores": restores}

    async def serve(self, reader, writer):
        try:
            while line := await reader.readline():
                answer = await self.answer(line.decode(errors="replace").strip())
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):  # the client left, or its line has no end
            pass
        finally:
            writer.close()


async def main(options):
    service = Service(options.database)
    await service.reopen()
    snapsafe_rt.register_after_restore(service.reopen)  # in a coroutine, so it will run on this loop
    server = await asyncio.start_server(service.serve, "127.0.0.1", options.port)
    print(f"port {server.sockets[0].getsockname()[1]}", flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    server.close()
    async with service.lock:
        service.connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Stores lines in a database, safe to snapshot and clone.")
    parser.add_argument("--port", type=int, default=0, help="default: any free one")
    parser.add_argument("--database", default=":memory:", help="default: one in memory, empty after a restore")
    try:
        asyncio.run(main(parser.parse_args()))
    except KeyboardInterrupt:  # interrupted before the signal handlers were set
        sys.exit(130)
    except (OSError, sqlite3.Error) as error:
        sys.exit(f"asyncio_service.py: {error}; another --port or --database?")
