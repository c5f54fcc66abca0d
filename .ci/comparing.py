"""For .ci/matrix and .ci/suites: a source to move, and what the tests of others came to, stock and activated."""

import contextlib
import os
import pathlib
import signal
import struct
import time
import xml.etree.ElementTree

# A program for an activated Python. It moves the source.
MOVES = """
import os, struct, sys, time
path = os.environ["SNAPSAFE_SOURCES"].partition(":")[2]
assert sys.modules["snapsafe_rt._core"].active(), "sitecustomize did not activate"
import snapsafe_rt
before = snapsafe_rt.epoch()
with open(path, "r+b", buffering=0) as source:
    os.pwrite(source.fileno(), struct.pack("<Q", time.time_ns()), 0x68)
assert snapsafe_rt.epoch() == before + 1, f"the source moved, the epoch did not: {snapsafe_rt.status()}"
"""
# A sitecustomize of the program's own, behind ours: with a callback there is the watcher, in each process.
CALLBACK = """
import snapsafe_rt

snapsafe_rt.register_after_restore(int)
"""


def cache() -> pathlib.Path:
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(os.environ.get("SNAPSAFE_CACHE") or pathlib.Path(home, "snapsafe-rt")).absolute()


def make_source(folder: str) -> str:
    """A file in VMClock's layout: see the design's public contract."""
    os.chmod(folder, 0o755)
    page = bytearray(4096)
    struct.pack_into("<IIH", page, 0, 0x4B4C4356, len(page), 1)
    struct.pack_into("<Q", page, 0x18, 1 << 8)
    struct.pack_into("<Q", page, 0x68, time.time_ns())
    path = os.path.join(folder, "vmclock0")
    with open(path, "wb") as file:
        file.write(page)
    os.chmod(path, 0o644)
    return path


def read_junit(path: pathlib.Path) -> dict[str, str]:
    cases: dict[str, str] = {}
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        name = "::".join(filter(None, (case.get("classname"), case.get("name"))))
        tags = {child.tag for child in case}
        outcome = "failed" if tags & {"failure", "error"} else "skipped" if "skipped" in tags else "passed"
        if cases.get(name) != "failed":
            cases[name] = outcome
    return cases


def why(path: pathlib.Path, name: str) -> str:
    """The end of a failed case's text, indented."""
    with contextlib.suppress(OSError, xml.etree.ElementTree.ParseError):
        for case in xml.etree.ElementTree.parse(path).iter("testcase"):
            if "::".join(filter(None, (case.get("classname"), case.get("name")))) == name:
                text = "\n".join("".join(child.itertext()) for child in case if child.tag in ("failure", "error"))
                return "".join(f"\n        {line}" for line in text.splitlines()[-12:])
    return ""


def count(cases: dict[str, str]) -> list[int]:
    outcomes = list(cases.values())
    return [outcomes.count(outcome) for outcome in ("passed", "failed", "skipped")]


def stop(pid: int) -> None:
    """Ends a group of processes."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
