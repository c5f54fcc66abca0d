"""Sleeps until a restore calls it back or the harness asks; then tells what it sees. Draws nothing by itself."""

import random
import ssl
import time

import channel

import snapsafe_rt

calls = 0


def restored():
    global calls
    calls += 1
    channel.send(callback=calls, cause=snapsafe_rt.cause())


def look():
    return {
        "random": random.getrandbits(64),
        "ssl": ssl.RAND_bytes(8).hex(),
        "status": channel.status(),
        "calls": calls,
        "clocks": {"wall clock": time.time(), "CLOCK_MONOTONIC": time.monotonic()},
    }


snapsafe_rt.register_after_restore(restored)
look()
channel.send(ready=True, **look())
while True:
    channel.wait_for_host()
    channel.send(**look())
