"""How cost grows: instances, threads, restores, callbacks, libraries, processes on one file. See __main__.py.

Each curve is a series of cases, measured in pairs as any other. All should be flat, and `why` tells of the others.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import pairs
from benchmarks.case import Case
from benchmarks.paths import event, first_draw, random_draws, threads

CALLBACKS = """
import snapsafe_rt
for _ in range({x}):
    snapsafe_rt.register_after_restore(lambda: None)

def event():
    begin = clock()
    snapsafe_rt.notify_restored()
    return clock() - begin
"""
CALLED = """
functions = [(lambda: None) for _ in range({x})]

def event():
    begin = clock()
    for function in functions:
        function()
    return clock() - begin
"""
LIBRARIES = """
import ctypes, shutil, subprocess, tempfile
folder = tempfile.TemporaryDirectory()
subprocess.run(
    ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", f"{{folder.name}}/0.so"],
    input="int nothing(void) {{ return 0; }}", text=True, check=True,
)
count = 0

def load():
    global count
    count += 1
    path = shutil.copy(f"{{folder.name}}/0.so", f"{{folder.name}}/{{count}}.so")
    begin = clock()
    ctypes.CDLL(path)
    return clock() - begin

for _ in range({x}):
    load()
"""
PROCESSES = """
children = [child]
while len(children) < {x}:
    children.append(
        subprocess.Popen(
            [sys.executable, "-c", {program}], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
    )
    children[-1].stdout.readline()

def event():
    import time
    time.sleep(0.02)  # until all sleep again
    begin = clock()
    publish(path)
    return max(int(one.stdout.readline()) for one in children) - begin
"""


def processes(program: str, x: int) -> str:
    return event.IDLE.replace("{program}", program) + PROCESSES.format(program=program, x=x)


@dataclass(frozen=True)
class Curve:
    """What `case(x)` costs as x grows. `why`: what makes it grow where it does; "" where it must be flat."""

    name: str
    axis: str
    xs: tuple[int, ...]
    case: Callable[[int], Case]
    why: str = ""


CURVES = (
    Curve(
        "first draw after a restore",
        "Random instances alive",
        (1, 10, 100, 1_000, 10_000, 100_000),
        lambda x: Case("", "instance()", first_draw.DRAW.format(instances=x), own=True, calls=3),
        "many instances do not stay in the CPU's caches, with and without; a restore walks through none of them",
    ),
    Curve(
        "random.random() in n threads",
        "threads",
        (1, 2, 4, 8, 16, 32),
        lambda x: Case("", f"together(work, {x})", threads.RANDOM, own=True, calls=1),
    ),
    Curve(
        "random.random() after n restores",
        "restores",
        (1, 10, 100, 1_000, 10_000),
        lambda x: Case("", "draw()", f"{random_draws.RANDOM}\nrestore({x})"),
    ),
    Curve(
        "a restore event",
        "callbacks, against calling them in a loop",
        (1, 10, 100, 1_000, 10_000),
        lambda x: Case("", "event()", CALLBACKS.format(x=x), own=True, calls=1, rival=CALLED.format(x=x)),
        "each callback is called, and until there are some ten the event itself is what costs",
    ),
    Curve(
        "loading one library more",
        "libraries loaded",
        (1, 10, 100, 300),
        lambda x: Case("", "load()", LIBRARIES.format(x=x), own=True, calls=1),
        "the loader compares the new one with all, as it does without; we look at each library's name once a load",
    ),
    Curve(
        "change of the file to the last process's callback",
        "idle processes on one file, against looking each ms",
        (1, 2, 4, 8, 16, 32),
        lambda x: Case("", "event()", processes("SLEEPER", x), own=True, calls=1, rival=processes("POLLER", x)),
        "all wake at once, so they queue for the CPUs; what a draw costs does not depend on other processes",
    ),
)


def measure(word: str = "") -> list[dict[str, Any]]:
    """Every curve whose name or axis has the word: its points are (x, without, with), medians in ns."""
    found = []
    for curve in CURVES:
        if word not in f"{curve.name} {curve.axis}":
            continue
        points: list[list[float]] = []
        for x in curve.xs:
            print(f"{curve.name}: {x} {curve.axis} ... ", end="", flush=True, file=sys.stderr)
            row = pairs.run(curve.case(x), processes=1, rounds=12)
            points.append([x, row["without"], row["with"]])
            print(f"{row['without']:.0f} ns, {row['with']:.0f} ns", file=sys.stderr)
        found.append({"name": curve.name, "axis": curve.axis, "why": curve.why, "points": points})
    return found
