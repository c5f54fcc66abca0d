"""For scripts, by *: run(kind, code) in a subinterpreter of that kind, and code that shows what is guarded in it."""

# ruff: noqa: F401
import _random
import os
import random
import sys
import textwrap

import snapsafe_rt

try:
    import _interpreters

    create = _interpreters.create
except ImportError:
    import _xxsubinterpreters as _interpreters

    def create(kind):
        return _interpreters.create(isolated=kind == "isolated")


def run(kind, code):
    interpreter = create(kind)
    failure = _interpreters.run_string(interpreter, code)
    _interpreters.destroy(interpreter)
    return failure


path = sys.argv[1] if len(sys.argv) > 1 else ""
code = """
import os, struct, sys
import random, _random, snapsafe_rt
fd = os.open(PATH, os.O_RDWR)
def bump():
    os.pwrite(fd, struct.pack("<Q", struct.unpack("<Q", os.pread(fd, 8, 0x68))[0] + 1), 0x68)
states = [random.getstate(), random.Random().getstate(), _random.Random().getstate()]
bare = _random.Random()
before = bare.getstate()
bump()
assert random.getstate() not in states and bare.getstate() != before
sequence = random.Random(42)
first = sequence.random()
bump()
assert first == 0.6394267984578837 and sequence.random() == 0.025010755222666936
active = snapsafe_rt.status().active
os.write(1, repr(active).encode())
os.close(fd)
"""
code = textwrap.dedent(code).replace("PATH", repr(path))
