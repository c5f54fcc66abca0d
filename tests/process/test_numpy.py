"""numpy.random in clones and while the generation moves; each with the twin that shows what is repeated without us."""

import importlib.util
import os

import pytest

from ..conftest import PROGRAMS, need
from ..helpers.generators import check_guarded, drawn

pytest.importorskip("numpy")

CLONES = int(os.environ.get("SNAPSAFE_TEST_CLONES", "1000"))
DRAWS = int(os.environ.get("SNAPSAFE_TEST_DRAWS", "400000"))  # .ci/run asks for ten million
TWINS = 20
PROGRAM = "numpy_clones.py"


@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(1000)
def test_no_clone_draws_what_another_drew(run_python, synchronous_source):
    """And those with a chosen seed go on bit for bit."""
    check_guarded(drawn(run_python, PROGRAM, synchronous_source, CLONES), 80, 40)


def test_all_clones_draw_the_same_without_us(run_python, synchronous_source):
    clones = drawn(run_python, PROGRAM, synchronous_source, TWINS, activated=False)
    for name in clones[0][0]:
        assert len({clone[0][name] for clone in clones}) == 1, name
    assert all(all(clone[1].values()) for clone in clones)


@pytest.mark.skipif(importlib.util.find_spec("randomgen") is None, reason="randomgen is not installed")
@pytest.mark.parametrize("activated", [True, False])
def test_bit_generators_of_another_library(run_python, synchronous_source, activated):
    """Which have their own random_raw(), and states that are set in their own way."""
    clones = drawn(run_python, "numpy_randomgen.py", synchronous_source, TWINS, activated=activated)
    assert len(clones[0][0]) > 60
    for name in clones[0][0]:
        assert len({clone[0][name] for clone in clones}) == (TWINS if activated else 1), name
    assert all(all(clone[1].values()) for clone in clones)
    assert not activated or clones[0][2][0] == "guarded", clones[0][2]


NUMBA = """
    import sys
    import numba, numpy.random as r
    from drawing import distinct

    drawn = numba.njit(lambda one: one.random())
    one, chosen, stock = r.default_rng(), r.default_rng(5), r.default_rng(5)
    assert drawn(chosen) == stock.random()
    expected = repr(stock.random()).encode()
    drawn(one)

    def draw():
        assert repr(drawn(chosen)).encode() == expected
        return repr(drawn(one)).encode()

    print(distinct(draw, None, 20))
"""


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed")
@pytest.mark.parametrize("activated", [True, False])
def test_what_numba_compiles_draws_by_pointers(run_python, source_file, activated):
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    options = {"options": ["-W", "ignore"], "dev": False, "timeout": 300}
    found = run_python(NUMBA, source_file.path, env=env, activated=activated, **options)
    assert int(found) == (20 if activated else 1)


@pytest.mark.xdist_group("heavy")
@pytest.mark.parametrize("how", ["calls", "pointers"])
def test_no_stale_value(run_python, source_file, compile_native, how):
    """By calls of four threads, and by pointers of one that has no GIL: judged by time stamps."""
    library = compile_native("race.c")

    def stale(activated, count):
        program = PROGRAMS / "numpy_race.py"
        arguments = library, source_file.path, activated, count, how
        return int(run_python(program, *arguments, activated=False, dev=False, timeout=900))

    assert stale(True, DRAWS) == 0
    assert stale(False, max(DRAWS, 2_000_000)) > 0, "without a guard this must find stale values, or it finds nothing"


MOVED = """
    import sys, threading
    import numpy, numpy.random as r
    from snapsafe_rt.source.vmclock_file import FileSource
    source = FileSource(sys.argv[1])
    N = 20_000_000
    ours = r.default_rng(3) if sys.argv[2] == "kept" else r.default_rng()
    stock = r.Generator(r.PCG64(1))
    stock.bit_generator.state = ours.bit_generator.state
    out = numpy.zeros(N)
    began = threading.Event()
    def move():
        while out[0] == 0:  # the fill is under way
            pass
        source.bump()
    thread = threading.Thread(target=move)
    thread.start()
    ours.random(out=out)
    thread.join()
    print(int((out == stock.random(N)).sum()) / N)
"""


@pytest.mark.parametrize("kind", ["system", "kept"])
@pytest.mark.parametrize("activated", [True, False])
def test_a_restore_in_the_middle_of_a_fill(run_python, source_file, kind, activated):
    """All of it is drawn again; not where the program chose."""
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    same = float(run_python(MOVED, source_file.path, kind, env=env, activated=activated))
    assert same == (0 if activated and kind == "system" else 1)


HELD = """
    import sys, threading
    import numpy.random as r
    from snapsafe_rt.source.vmclock_file import FileSource
    source = FileSource(sys.argv[1])
    one = r.default_rng()
    source.bump()
    with one.bit_generator.lock:  # a plain Lock before numpy 2.4: who waited for it here would wait for ever
        first = one.bit_generator.state
        one.bit_generator.ctypes
    assert isinstance(one.random(), float)
    one.bit_generator.state = first
    print(one.bit_generator.random_raw())
"""


def test_who_has_the_lock_may_read_the_state(run_python, source_file):
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    drawn = {run_python(HELD, source_file.path, env=env, timeout=30) for _ in range(3)}
    assert len(drawn) == 3


def test_a_wait_for_the_lock_can_be_interrupted(run_python, source_file):
    """Ctrl-C while a draw waits for another thread's fill raises there, and is not swallowed."""
    script = """
    import signal, sys, threading
    import numpy.random as r
    from snapsafe_rt.source.vmclock_file import FileSource
    source = FileSource(sys.argv[1])
    one = r.default_rng()
    source.bump()
    taken, ended = threading.Event(), threading.Event()
    def hold():
        with one.bit_generator.lock:
            taken.set()
            ended.wait()
    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        one.random()
    except KeyboardInterrupt:
        print("raised")
    ended.set()
    thread.join()
    one.random()
    """
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    assert run_python(script, source_file.path, env=env, timeout=30) == "raised\n"


def test_an_error_of_numpys_is_passed_on(run_python, source_file):
    script = """
    import sys
    import numpy.random as r
    from snapsafe_rt.source.vmclock_file import FileSource
    one, source = r.default_rng(), FileSource(sys.argv[1])
    for call in (lambda: one.integers(5, 1), lambda: one.random(dtype="i4"), lambda: r.RandomState().choice([]),
                 lambda: r.default_rng(-1), lambda: r.RandomState(2**40)):
        source.bump()
        try:
            call()
        except (TypeError, ValueError) as error:
            print(type(error).__name__, error)
    """
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    ours, stock = (run_python(script, source_file.path, env=env, activated=activated) for activated in (True, False))
    assert ours == stock
    assert len(ours.splitlines()) == 5


@pytest.mark.xdist_group("heavy")
def test_numpys_own_tests(run_python, source_file, tmp_path):
    """While restores come: all that they demand of a chosen seed holds."""
    if importlib.util.find_spec("numpy.random.tests") is None:
        pytest.skip("this numpy comes without its tests")
    env = source_file.env | {"SNAPSAFE_WATCH": "0", "PYTEST_ADDOPTS": f"--rootdir={tmp_path}"}
    out = run_python(PROGRAMS / "numpy_own_tests.py", source_file.path, env=env, dev=False, timeout=900)
    assert int(out.split()[-1]) > 1000


DRAW_BY_NUMPY = {
    "scipy": "from scipy import stats\ndraw = lambda: repr(stats.norm.rvs()).encode()",
    "pandas": (
        "import pandas\nrows = pandas.Series(range(10**6))\ndraw = lambda: repr(rows.sample(3).tolist()).encode()"
    ),
    "sklearn": "from sklearn.utils import shuffle\ndraw = lambda: repr(shuffle(list(range(50)))).encode()",
    "dask": (
        "import dask.array, numpy\nstate = dask.array.random.RandomState()\n"
        "draw = lambda: repr(state.random_sample(3).compute(scheduler='sync')).encode()"
    ),
}


@pytest.mark.parametrize("activated", [True, False])
@pytest.mark.parametrize("library", DRAW_BY_NUMPY)
def test_what_draws_by_numpy_follows(run_python, source_file, library, activated):
    need(library)
    text = f"from drawing import distinct\n{DRAW_BY_NUMPY[library]}\nprint(distinct(draw, draw, 20))"
    env = source_file.env | {"SNAPSAFE_WATCH": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    options = {"options": ["-W", "ignore"], "dev": False, "timeout": 300}
    assert int(run_python(text, source_file.path, env=env, activated=activated, **options)) == (20 if activated else 1)
