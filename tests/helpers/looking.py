"""For tests that look at another process: its rows, what it costs, whether it is at rest; and code for it that writes
into its record."""

import contextlib
import os
import re
import time
from pathlib import Path

import pytest

from snapsafe_rt.report import patience

POKE = """
def poke(offset, value, size=4):
    with open("/proc/self/maps") as maps:
        start = next(int(line.partition("-")[0], 16) for line in maps if "memfd:snapsafe" in line)
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(start + offset)
        memory.write(value.to_bytes(size, "little"))
"""


def rows(status):
    return {row.name: row.protection for row in status.rows}


@contextlib.contextmanager
def impatient(first, again):
    """Who looks at others waits so many seconds for the first one that does not answer, and for the next ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "ANSWER_SECONDS", first)
        patch.setattr(patience, "AGAIN_SECONDS", again)
        patience.begin()
        yield
        patience.begin()


def end_lookers():
    """Waits for those that were killed."""
    while patience.left:
        os.waitpid(patience.left.pop(), 0)


def own_memory(pid):
    """KiB that a process has for itself. What it has mapped of files, its interpreter above all, depends on the version
    and on what the page cache held."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))


def ticks(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def at_rest(*pids):
    """Waits until all threads of these processes sleep at the same moment: what was begun has come to its end, and what
    the test did would have woken one (helpers/restored.py says why)."""
    until = time.monotonic() + 30
    while True:
        before, after = looks(pids), looks(pids)
        if before == after and all(state == "S" for state, *_ in after.values()):
            return
        assert time.monotonic() < until, f"they never slept: {after}"


def looks(pids):
    """Of each thread: its state, and how often it was given the CPU."""
    found = {}
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # it has just ended
                text = (task / "status").read_text()
                found[task] = re.findall(r"^(?:State|\w+ctxt_switches):\s+(\w+)", text, re.MULTILINE)
    return found
