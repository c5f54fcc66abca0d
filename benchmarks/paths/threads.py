"""Threads that draw at once; those in libcrypto hold no GIL."""

from benchmarks.case import Case

TOGETHER = """
import threading
def together(work, count):
    barrier = threading.Barrier(count + 1)
    def one():
        barrier.wait()
        work()
    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    barrier.wait()
    begin = clock()
    for thread in threads:
        thread.join()
    return (clock() - begin) / (count * DRAWS)
"""
RANDOM = (
    TOGETHER
    + """
import random
DRAWS = 5_000
def work(draw=random.random):
    for _ in range(DRAWS):
        draw()
"""
)
OPENSSL = (
    TOGETHER
    + """
import ctypes, _ssl
DRAWS = 5_000
maps = [line.split()[-1] for line in open("/proc/self/maps") if "libcrypto" in line]
rand_bytes = ctypes.CDLL(maps[0]).RAND_bytes
def work():
    buffer = ctypes.create_string_buffer(16)
    for _ in range(DRAWS):
        rand_bytes(buffer, 16)
"""
)

CASES = [
    Case("2 threads, random.random()", "together(work, 2)", RANDOM, own=True, ratio=1.05, calls=1),
    Case("8 threads, random.random()", "together(work, 8)", RANDOM, own=True, ratio=1.05, calls=1),
    Case("2 threads in RAND_bytes(16) without the GIL", "together(work, 2)", OPENSSL, own=True, ratio=1.05, calls=1),
]
