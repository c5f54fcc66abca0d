"""The generation moves while a draw is under way: what was drawn under the old one never gets out."""

import os

import pytest

from ..conftest import PROGRAMS

pytestmark = pytest.mark.internals

# SNAPSAFE_TEST_DRAWS: how many draws in all; .ci/run asks for ten million.
DRAWS = int(os.environ.get("SNAPSAFE_TEST_DRAWS", "400000"))

GUARDED = {
    "random": ("_random", "random", ""),
    "getrandbits": ("_random", "getrandbits", "64"),
    "getstate": ("_random", "getstate", ""),
    "urandom": ("posix", "urandom", "16"),
}


@pytest.mark.xdist_group("heavy")
@pytest.mark.parametrize("draw", GUARDED.values(), ids=GUARDED)
def test_no_stale_value(run_python, shm_path, source_file, compile_native, draw):
    library = compile_native("race.c")
    count = DRAWS if draw[1] != "getstate" else DRAWS // 20

    def stale(activated):
        return int(
            run_python(
                PROGRAMS / "race.py",
                library,
                source_file.path,
                activated,
                count,
                *draw,
                activated=False,
                dev=False,
                timeout=900,
            )
        )

    assert stale(True) == 0
    assert stale(False) > 0, "the twin: without a guard this must find stale values, or it finds nothing"
