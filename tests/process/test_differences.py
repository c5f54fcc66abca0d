"""docs/design.md, "What differs from stock without a restore": each line of it is so, and stock is otherwise."""

import re
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.internals

DESIGN = (Path(__file__).parents[2] / "docs/design.md").read_text()

# By the first words of the line: what a script prints of it.
LINES = {
    "calls of": """
        lines = set()
        def trace(frame, event, _):
            if frame.f_code.co_name == "uuid4":
                lines.add(frame.f_lineno - frame.f_code.co_firstlineno)
            return trace
        sys.settrace(trace)
        uuid.uuid4()
        sys.settrace(None)
        print(max(lines, default=0) > 0)
    """,
    "`sys.meta_path`": "print(len([one for one in sys.meta_path if 'snapsafe' in type(one).__module__]))",
    "`sys.modules`": "print('_snapsafe_start' in sys.modules, 'snapsafe_rt' in sys.modules)",
    "`vars()` of a NUID": """
        import types
        module = sys.modules["nats.nuid"] = types.ModuleType("nats.nuid")
        state = "self._prefix = self._seq = self._inc = self._prand = 0"
        text = f"class NUID:\\n  def __init__(self):\\n    {state}\\n  def next(self):\\n    return b''"
        exec(compile(text, "nats/nuid.py", "exec"), vars(module))
        made = module.NUID()
        made.next()
        print(sorted(vars(made)))
    """,
    "threads": """
        import refreshed_library
        print(len(os.listdir("/proc/self/task")))
    """,
    "SIGBUS": """
        import signal
        with open("/proc/self/status") as file:
            caught = int(next(line for line in file if line.startswith("SigCgt")).split()[1], 16)
        print(bool(caught >> signal.SIGBUS - 1 & 1))
    """,
    "libcrypto": """
        import libcrypto
        lib = libcrypto.library()
        lib.RAND_get_rand_method.restype = lib.RAND_OpenSSL.restype = ctypes.c_void_p
        print(lib.RAND_get_rand_method() == lib.RAND_OpenSSL())
    """,
    "SQLite": """
        import sqlite3
        import sqlite_library
        place = sqlite_library.at(sqlite_library.library().sqlite3_vfs_find(None) + sqlite_library.RANDOMNESS)
        with open("/proc/self/maps") as file:
            ranges = [(line, *(int(end, 16) for end in line.split()[0].split("-"))) for line in file]
        print(["_core" in line for line, start, end in ranges if start <= place < end])
    """,
}


def lines_of_the_document():
    table = DESIGN.partition("## What differs from stock without a restore")[2].partition("\n\nAfter a restore")[0]
    return re.findall(r"^\| (.+?) \| .+ \|$", table, re.M)[1:]


def test_each_line_has_a_test():
    found = lines_of_the_document()
    assert len(found) == len(LINES)
    for line, name in zip(found, LINES, strict=True):
        assert line.startswith(name), line


@pytest.mark.parametrize("line", LINES)
def test_what_differs(run_python, source_file, line):
    script = "import ctypes, os, ssl, sys, uuid\n" + textwrap.dedent(LINES[line])
    ours, stock = (
        run_python(script, source_file.path, env=source_file.env, activated=activated, dev=False)
        for activated in (True, False)
    )
    assert ours != stock
