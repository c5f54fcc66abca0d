"""What valgrind runs: counted.py MARKS EXPECTED, then lines of JSON [name, setup, statement] on stdin.

Each statement is run CALLS times between two marks. EXPECTED as of worker.py.
"""

import ctypes
import json
import sys

from benchmarks import helpers
from benchmarks.worker import UNROLLED, compiled

CALLS = 2_000


def main(marks: str, expected: str) -> None:
    if helpers.activated() != (expected == "1"):
        sys.exit("snapsafe_rt is not as it should be here")
    library = ctypes.CDLL(marks)
    for line in sys.stdin:
        name, setup, statement, stays = json.loads(line)
        measure, names = compiled(setup, statement, own=False)
        measure(CALLS // UNROLLED)  # what is done once only
        library.begin()
        measure(CALLS // UNROLLED)
        library.end(name.encode())
        if expected == "1" and not eval(stays, names):
            sys.exit(f"what was to be counted was not: {stays}")


if __name__ == "__main__":
    main(*sys.argv[1:])
