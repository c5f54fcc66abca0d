"""psycopg_pool 3.3: after a restore the pool's connections are replaced.

    snapsafe run python examples/reconnect/psycopg3_pool.py "host=db.example user=me"

An AsyncConnectionPool has the same method: register it in the coroutine that opens the pool.
"""

import sys

import psycopg_pool

import snapsafe_rt

with psycopg_pool.ConnectionPool(sys.argv[1], min_size=1) as pool:
    snapsafe_rt.register_after_restore(pool.drain)
    for _ in sys.stdin:
        snapsafe_rt.check()
        with pool.connection() as connection:
            (found,) = connection.execute("SELECT pg_backend_pid()").fetchone()
        print(found, flush=True)
