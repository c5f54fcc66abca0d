"""redis-py: after a restore the connections that wait in the pool are dropped, and the next command connects anew.

    snapsafe run python examples/reconnect/redis_py.py redis://db.example

A redis.asyncio client has the same method: register it in a coroutine.
"""

import sys

import redis

import snapsafe_rt

client = redis.Redis.from_url(sys.argv[1])
snapsafe_rt.register_after_restore(client.connection_pool.disconnect, inuse_connections=False)

for _ in sys.stdin:
    snapsafe_rt.check()
    print(client.incr("requests"), flush=True)
