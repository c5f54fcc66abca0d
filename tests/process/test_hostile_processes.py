"""A process that wants to hide, to hold up who looks at all of them, or to use up memory: it speaks of itself alone."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from snapsafe_rt.report import patience, procfs, remote

from ..conftest import PACKAGE
from ..helpers.prometheus import of, parse

pytestmark = pytest.mark.any_python

# A program that forges a status page: `text` of it, and how the words of its header are made.
FORGED = """
import ctypes, mmap, os, struct, sys

LENGTH = {length}
fd = os.memfd_create("snapsafe")
os.ftruncate(fd, LENGTH)
page = mmap.mmap(fd, LENGTH, flags=mmap.MAP_PRIVATE)
at = ctypes.addressof(ctypes.c_char.from_buffer(page))
words = ctypes.create_string_buffer(1 << 16)
zero = ctypes.addressof(words)
table = ctypes.create_string_buffer(2 << 20)
pointer = zero + 4096
ctypes.c_uint64.from_address(pointer).value = ctypes.addressof(table)
text = ({text}).encode()[: LENGTH - 256]
header = struct.pack("<8sIIIIQ7QII", b"SNAPSAFE", 3, LENGTH, {sequence}, len(text), os.getpid(), *[zero] * 7, 88, 1)
header += struct.pack("<QIIIIII", zero, 0, 0, 0, 0, 0, 0) * 2 + struct.pack("<4Q", *[zero] * 4)
page[: len(header)] = header
page[256 : 256 + len(text)] = text
print("ready", flush=True)
sys.stdin.read()
"""
ROWS = "'snapsafe\\t9\\t3\\t1.0\\t1\\t\\n' + 'row\\tos\\tguarded\\tx\\t0\\t0\\n'"


@pytest.fixture
def forged():
    started = []

    def start(text=ROWS, sequence=0, length=32768, arguments=(), more=""):
        script = FORGED.format(text=text, sequence=sequence, length=length) + more
        process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process.pid

    yield start
    for process in started:
        process.communicate()


def test_the_forged_page_is_read(forged):
    """The twin of those below: it is taken for a record, and what it says is not called protection."""
    one = remote.inspect(forged())
    assert one.recorded
    assert one.active
    assert not one.protected


def test_one_that_writes_without_end_is_waited_for_a_while(forged, monkeypatch):
    pids = [forged(sequence=1) for _ in range(4)]
    patience.begin()
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.5)
    found = [remote.inspect(pid) for pid in pids]
    once = patience.waited()
    found += [remote.inspect(pid) for pid in pids]
    assert patience.waited() - once < 0.1, "all of one user's together"
    patience.begin()
    assert not any(one.protected for one in found)


def test_a_thousand_places_to_compare(forged):
    """Each of which is looked for in a table of a megabyte."""
    words = "'?%x>deadbeef=1' % pointer"
    pid = forged(text=f"{ROWS} + ''.join('site\\tos\\twhat\\t' + {words} + '\\n' for _ in range(500))")
    reads = []
    read = procfs.Memory.read

    def counted(self, address, size):
        reads.append(size)
        return read(self, address, size)

    procfs.Memory.read = counted
    try:
        one = remote.inspect(pid)
    finally:
        procfs.Memory.read = read
    assert not one.protected
    assert procfs._MEMORY_MOST < sum(reads) < 2 * procfs._MEMORY_MOST, "it was enough"


def test_more_mapped_than_is_looked_at(forged, monkeypatch):
    pid = forged()
    monkeypatch.setattr(procfs, "MAPS_MOST", 4096)
    one = remote.inspect(pid)
    assert (one.active, one.protected, one.is_python) == (False, False, True)
    assert one.why_not == "it has more mapped than is looked at"


def test_a_command_line_of_megabytes(forged):
    pid = forged(arguments=["\x1b]0;x\x07\n" * 15_000])
    one = remote.inspect(pid)
    assert one.program.isprintable()
    assert len(one.program) < 10 * procfs._COMMAND_MOST


def test_the_others_are_seen_all_the_same(forged, living, source_file, tmp_path):
    honest = living(env=source_file.env)
    evil = [
        forged(text=f"{ROWS} + 'event\\t1\\t\"}} 1\\t-1e308\\t1e308\\t9\\tx\\n' * 200"),
        forged(text="'\\x00\\n\\t' * 9000"),
        forged(text="''", length=1 << 20),
        forged(arguments=['"} 1\nsnapsafe_protected{pid="1"} 1\n']),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "snapsafe_rt", "metrics"],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = parse(done.stdout)
    assert of(found, "snapsafe_protected", pid=str(honest.pid)) == [1]
    assert of(found, "snapsafe_protected", pid="1") in ([], [0])
    for pid in evil:
        assert of(found, "snapsafe_protected", pid=str(pid)) == [0]
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 200_000


def test_the_table_stays_one(forged, living, source_file):
    living(env=source_file.env)
    long = "'x' * 9000"
    forged(text=f"'snapsafe\\t9\\t3\\t1.0\\t0\\t' + {long} + '\\n'")
    forged(text=f"{ROWS} + 'source\\t0\\t0\\t' + {long} + '\\t\\t\\n' + 'event\\t1\\t' + {long} + '\\t1\\t2\\t0\\n'")
    for more in ([], ["--by", "user"]):
        done = subprocess.run(
            [sys.executable, "-m", "snapsafe_rt", "status", "--all", *more],
            env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
        assert max(map(len, done.stdout.splitlines())) < 4000


namespaces = pytest.mark.skipif(
    subprocess.run(["unshare", "-U", "-r", "-p", "-f", "true"], capture_output=True, check=False).returncode != 0,
    reason="no user namespaces",
)


@namespaces
def test_in_namespaces_of_its_own(living, source_file):
    """Another id for itself, root of its own: it is shown by our id and our user, and judged as any other."""
    one = living(env=source_file.env, under=("unshare", "-U", "-r", "-p", "-f"))
    inside = one("import os; answer = os.getpid(), os.getuid()")
    assert inside == [1, 0]
    [pid] = map(int, Path(f"/proc/{one.process.pid}/task/{one.process.pid}/children").read_text().split())
    found = remote.inspect(pid)
    assert (found.pid, found.user) == (pid, os.getuid())
    assert found.active
