"""PATH: starts and stops tracemalloc, while restore events begin in another thread all the time."""

import subprocess
import sys
import tracemalloc

import snapsafe_rt

EVENTS = 150
MOVES = """
import sys, time
from snapsafe_rt.source.vmclock_file import publish

while True:
    publish(sys.argv[1])
    time.sleep(0.002)  # less often than an event takes
"""

ran = 0


def count():
    global ran
    ran += 1


snapsafe_rt.register_after_restore(count)
mover = subprocess.Popen([sys.executable, "-c", MOVES, sys.argv[1]])
try:
    while ran < EVENTS:
        tracemalloc.start()
        [str(number) * 3 for number in range(200)]
        tracemalloc.stop()
finally:
    mover.kill()
    mover.wait()
print(ran >= EVENTS)
