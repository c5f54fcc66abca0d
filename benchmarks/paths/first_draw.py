"""The first draw after a restore, to the value: whoever draws renews what it draws from, and nothing else."""

from benchmarks.case import Case

DRAW = """
import random, os
from snapsafe_rt.source.vmclock_file import publish
alive = [random.Random() for _ in range({instances})]
path = os.environ["BENCHMARK_SOURCE"]
turn = -1

def first(draw):
    publish(path)
    begin = clock()
    draw()
    return clock() - begin

def instance():
    global turn
    turn = (turn + 1) % len(alive)
    random.random()
    return first(alive[turn].random)
"""
ONE, MANY = DRAW.format(instances=1), DRAW.format(instances=100_000)

CASES = [
    Case("first random.random(), 1 instance", "first(random.random)", ONE, own=True, most=60_000, calls=5),
    Case(
        "first random.random(), 100,000 instances",
        "first(random.random)",
        MANY,
        own=True,
        most=60_000,
        calls=5,
        processes=2,
    ),
    Case(
        "first draw of an instance, 100,000 instances", "instance()", MANY, own=True, most=60_000, calls=5, processes=2
    ),
]
