"""Threads that draw at full speed; after a restore each keeps what it draws first, and reports it. And again."""

import os
import threading

import channel
import surfaces

# REAL_TIME: the kernel's own work waits for a thread that draws, so the kernel notices a restore late.
REAL_TIME = channel.setting("REAL_TIME", 0)
THREADS, COUNT = channel.setting("THREADS", 2), channel.setting("COUNT", 10000)
# By default one of each generator, the quickest.
NAMES = channel.setting("NAMES", "urandom,uuid4,token_bytes,getrandbits,ssl")
SURFACES = surfaces.select(*NAMES.split(","))
DRAWS = surfaces.prepare(SURFACES)

marker = channel.watch_marker()
started = threading.Event()
done = threading.Barrier(THREADS + 1)
results = [None] * THREADS


def spin(before):
    """Draws until the marker has moved. What was under way then is thrown away: it may have been finished before."""
    while True:
        for draw in DRAWS.values():
            draw()
            if marker[0] != before:
                return


def urgent(on):
    if REAL_TIME:
        os.sched_setscheduler(0, os.SCHED_FIFO if on else os.SCHED_OTHER, os.sched_param(int(on)))


def thread(number):
    before = marker[0]
    started.wait()
    while True:
        urgent(True)
        spin(before)
        before = marker[0]
        kept = [[] for _ in DRAWS]
        steps = [(draw, values.append) for draw, values in zip(DRAWS.values(), kept, strict=True)]
        for _ in range(COUNT):
            for draw, keep in steps:
                keep(draw())
        urgent(False)
        results[number] = kept
        done.wait()
        done.wait()


for number in range(THREADS):
    threading.Thread(target=thread, args=(number,), daemon=True).start()
channel.send(ready=True, status=channel.status())
started.set()
while True:
    done.wait()
    columns = [values for column in zip(*results, strict=True) for values in column]
    blob = b"".join(channel.eight_bytes(value) for values in columns for value in values)
    channel.send(blob, surfaces=[one.words for one in SURFACES], each=THREADS * COUNT, status=channel.status())
    done.wait()
