"""PATH: numpy.random's own tests; the generation moves before each of them. In the middle of one it would show, for
some compare two generators with the system's seed."""

import sys

import pytest

from snapsafe_rt.source.vmclock_file import FileSource

source = FileSource(sys.argv[1])


class Moves:
    moved = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item):
        source.bump()
        Moves.moved += 1


# That one builds an extension module, by tools that it does not look for.
options = ["-q", "-p", "no:cacheprovider", "-W", "ignore", "--deselect", "tests/test_extending.py::test_cython"]
status = pytest.main(["--pyargs", "numpy.random", *options], plugins=[Moves()])
print("moved", Moves.moved)
sys.exit(status)
