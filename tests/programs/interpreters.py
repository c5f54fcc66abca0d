"""PATH KIND COUNT: COUNT clones of a template draw in a subinterpreter of that kind. Prints what each drew, as JSON."""

import ast
import json
import os
import random  # noqa: F401 - the main interpreter's, which is guarded too
import sys

import snapsafe_rt  # noqa: F401 - also where it is not activated
from snapsafe_rt.source.vmclock_file import FileSource
from snapsafe_rt.testing.clones import run_clones

try:
    import _interpreters

    create = _interpreters.create
except ImportError:
    import _xxsubinterpreters as _interpreters

    def create(kind):
        return _interpreters.create(isolated=kind == "isolated")


WARM = """
import os, random, _random, secrets
rng, bare = random.Random(), _random.Random()
random.random(), rng.random(), bare.random()
"""
DRAW = """
os.write({}, repr([random.random(), rng.random(), bare.random(), random.getrandbits(64),
                   os.urandom(8).hex(), secrets.token_hex(8)]).encode())
"""
source, kind, count = FileSource(sys.argv[1]), sys.argv[2], int(sys.argv[3])
made = []


def run(code):
    failure = _interpreters.run_string(made[0], code)
    assert failure is None, failure


def prepare():
    made.append(create(kind))
    run(WARM)


def body(number):
    reader, writer = os.pipe()
    run(DRAW.format(writer))
    return os.read(reader, 4096)


clones = run_clones(count, body, prepare=prepare, source=source, parallel=2)
print(json.dumps([ast.literal_eval(clone.decode()) for clone in clones]))
