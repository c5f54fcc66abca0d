"""numba: a seed that the program chose for compiled functions, and functions that were compiled before activation.

test_library_guards.py shows that no two clones draw the same."""

import pytest

pytest.importorskip("numba")

OPTIONS = {"options": ["-W", "ignore"], "dev": False, "timeout": 300}


@pytest.fixture
def stale(source_file, machine):
    return source_file.env | machine | {"SNAPSAFE_WATCH": "0"}


SEEDED = """
import numba, numpy, random, sys
from drawing import distinct
numpy_seed, drawn = numba.njit(lambda n: numpy.random.seed(n)), numba.njit(lambda: numpy.random.random())
random_seed, other = numba.njit(lambda n: random.seed(n)), numba.njit(lambda: random.random())
draw, draw_other = (lambda: repr(drawn()).encode()), (lambda: repr(other()).encode())
def prepare():  # here, for who is cloned is a fork
    numpy_seed(5)
    return draw(), draw_other()
print(distinct(draw, prepare, 20), distinct(draw_other, prepare, 20))
"""


@pytest.mark.parametrize(("setting", "expected"), [("keep", ["1", "20"]), ("reseed", ["20", "20"])])
def test_a_generator_of_numba_that_the_program_seeded_is_kept(run_python, source_file, stale, setting, expected):
    """The one of `random`, which it did not seed, is not."""
    env = stale | {"SNAPSAFE_SEEDED": setting}
    assert run_python(SEEDED, source_file.path, env=env, **OPTIONS).split() == expected


def test_a_chosen_seed_of_numba_does_not_outlive_a_fork(run_python, source_file, stale):
    """In a forked child numba seeds itself anew: what it has there is nobody's choice."""
    text = """
import numba, numpy, os, sys
from drawing import distinct, run_clones, source
seed, drawn = numba.njit(lambda n: numpy.random.seed(n)), numba.njit(lambda: numpy.random.random())
seed(5)
drawn()
if os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
draw = lambda: repr(drawn()).encode()
print(distinct(draw, draw, 20))
"""
    assert run_python(text, source_file.path, env=stale, **OPTIONS).split() == ["20"]


def test_functions_that_numba_compiled_before_activation_are_said(run_python, source_file):
    """They draw past us; the same program activated at its start is the twin."""
    text = """
import numba, numpy
print(numba.njit(lambda: numpy.random.random())() < 1)
import snapsafe_rt
snapsafe_rt.activate()
print(*((row.protection, row.note) for row in snapsafe_rt.status().rows if row.name == "numba"))
"""
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    assert "'unprotected', 'it compiled functions before" in run_python(text, env=env, activated=False, **OPTIONS)
    assert "'refreshed'" in run_python(text, env=env, **OPTIONS)
