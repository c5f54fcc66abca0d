"""Processes that are nearly always inside of one long draw. Each tells of the one that the snapshot fell into, and of
the next, 8 bytes of every 512."""

import os
import random
import ssl

import channel

SIZE, STRIDE = 1 << 20, 512
DRAWS = {
    "os.urandom": lambda: os.urandom(SIZE),
    "random.getrandbits": lambda: random.getrandbits(8 * SIZE),
    "ssl.RAND_bytes": lambda: ssl.RAND_bytes(SIZE),
}


def child(draw, pipe):
    before = marker[0]
    while True:
        value = None  # unmapped here: after the draw, 4 of 100 snapshots fell into that for ssl
        value = draw()
        if marker[0] != before:
            break
    for drawn in (value, draw()):
        drawn = drawn if isinstance(drawn, bytes) else drawn.to_bytes(SIZE, "little")
        os.write(pipe, b"".join(drawn[at : at + 8] for at in range(0, SIZE, STRIDE)))
    os._exit(0)


def read(pipe, size):
    data = b""
    while len(data) < size:
        data += os.read(pipe, size - len(data))
    return data


marker = channel.watch_marker()
pipes = []
for draw in DRAWS.values():
    draw()
    reading, writing = os.pipe()
    if os.fork() == 0:
        child(draw, writing)
    pipes.append(reading)
channel.send(ready=True, status=channel.status())
channel.send(
    b"".join(read(pipe, 2 * SIZE // STRIDE * 8) for pipe in pipes), surfaces=list(DRAWS), status=channel.status()
)
channel.wait_for_host()
