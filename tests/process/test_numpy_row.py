"""What the row of numpy says, inside and outside; how a program's seeds are told from the system's; and undo."""

import pytest

from ..conftest import PROGRAMS
from ..helpers.generators import check_exchanged, row_outside

pytest.importorskip("numpy")


def outside(one):
    return row_outside(one, "numpy")


@pytest.fixture
def program(living, source_file):
    one = living(env=source_file.env | {"SNAPSAFE_WATCH": "0"})
    one("import numpy.random as r, snapsafe_rt, pickle")
    one(
        "def row(): return next((one.protection, one.note) for one in snapsafe_rt.status().rows if one.name == 'numpy')"
    )
    return one


def test_it_is_guarded_from_its_import_on(living, source_file):
    one = living(env=source_file.env)
    assert outside(one)[0] == "not loaded"
    one("import numpy")
    one("import numpy.random")
    assert outside(one)[0] == "guarded"
    one("import snapsafe_rt; status = snapsafe_rt.status()")
    assert one("answer = [status.protected, status.unprotected, status.unexamined]")[1:] == [[], []]


def test_before_activation(living, source_file):
    """What was made before is stale, whoever chose its seed: nobody saw it."""
    one = living(activated=False, env={"SNAPSAFE_WATCH": "0"})
    one("import numpy.random as r; from numpy.random import rand; early, legacy = r.default_rng(5), r.RandomState(5)")
    one(f"import snapsafe_rt; snapsafe_rt.activate([{source_file.uri!r}])")
    assert one("answer = early.random() != r.default_rng(5).random()")
    assert one("answer = legacy.random_sample() != r.RandomState(5).random_sample()")
    one("rand()")
    assert one("answer = [(x.protection, x.note) for x in snapsafe_rt.status().rows if x.name == 'numpy'][0][1]").count(
        "3 were older than activation"
    )


def test_pointers_that_were_taken_before_activation(living, source_file):
    one = living(activated=False, env={"SNAPSAFE_WATCH": "0"})
    one("import numpy.random as r; early = r.PCG64(); early.ctypes")
    one(f"import snapsafe_rt; snapsafe_rt.activate([{source_file.uri!r}]); early.random_raw()")
    level, note = one("answer = [(x.protection, x.note) for x in snapsafe_rt.status().rows if x.name == 'numpy'][0]")
    assert level == "unprotected"
    assert "handed out before activation" in note


def test_a_global_seed_is_told(program):
    assert program("answer = row()")[0] == outside(program)[0] == "guarded"
    program("r.seed(5)")
    assert outside(program)[0] == "unprotected"  # as far as is seen there before the process looks itself
    assert program("answer = row()")[0] == "kept"
    assert outside(program)[0] == "kept"
    program("r.seed()")
    assert program("answer = row()")[0] == outside(program)[0] == "guarded"


FROM_ELSEWHERE = """
import pickle, numpy.random as r
print([pickle.dumps(one).hex() for one in ({})])
"""


@pytest.mark.parametrize(
    ("made", "level"),
    [
        ("r.default_rng(),", "unprotected"),
        ("r.default_rng(2 ** 100),", "unprotected"),
        ("r.RandomState(5),", "unprotected"),
        ("r.default_rng(5),", "by its seed"),
        ("r.Generator(r.MT19937([1, 2])),", "by its seed"),
    ],
)
def test_what_another_process_made(run_python, program, made, level):
    """It is kept, bit for bit. Was it chosen there? A SeedSequence that comes with it may tell; else it is said."""
    import numpy

    if level == "by its seed":  # pickles have the SeedSequence since 2.0
        level = "guarded" if int(numpy.__version__.split(".")[0]) > 1 else "unprotected"
    data = eval(run_python(FROM_ELSEWHERE.format(made), activated=False))[0]
    program(f"one = pickle.loads(bytes.fromhex({data!r}))")
    assert program("answer = row()")[0] == level
    assert outside(program)[0] == level
    program("del one")
    assert program("answer = row()")[0] == "guarded"


def test_it_draws_what_it_would_have_drawn(run_python, source_file):
    script = """
    import pickle, sys
    import numpy.random as r
    from snapsafe_rt.source.vmclock_file import FileSource
    one = pickle.loads(bytes.fromhex(sys.argv[2]))
    FileSource(sys.argv[1]).bump()
    print(one.random(5).tolist())
    """
    data = eval(run_python(FROM_ELSEWHERE.format("r.default_rng(),"), activated=False))[0]
    ours, stock = (
        run_python(script, source_file.path, data, env=source_file.env | {"SNAPSAFE_WATCH": "0"}, activated=activated)
        for activated in (True, False)
    )
    assert ours == stock


SYSTEMS = [
    "r.default_rng()",
    "r.default_rng(None)",
    "r.default_rng(secrets.randbits(128))",
    "r.default_rng(secrets.randbits(64))",
    "r.default_rng(int.from_bytes(os.urandom(16), 'big'))",
    "r.default_rng(numpy.frombuffer(os.urandom(64), numpy.uint32))",
    "r.default_rng([3, secrets.randbits(128)])",
    "r.default_rng((secrets.randbits(40), 3))",
    "r.default_rng([os.getpid(), time.time_ns()])",
    "r.default_rng(list(os.urandom(16)))",
    "r.default_rng(__import__('struct').unpack('4I', os.urandom(16)))",
    "r.default_rng(numpy.array([3, secrets.randbits(63)]))",
    "r.default_rng(secrets.randbelow(10**6))",
    "r.default_rng(time.time_ns())",
    "r.default_rng(r.SeedSequence().entropy)",
    "r.default_rng(numpy.int64(secrets.randbits(40)))",
    "r.RandomState(secrets.randbits(32))",
    "r.RandomState(secrets.randbelow(2**32))",
    "r.RandomState([secrets.randbits(32) for _ in range(4)])",
    "r.RandomState(int(time.time()))",
    "r.RandomState(numpy.frombuffer(os.urandom(64), numpy.uint32))",
    "r.Generator(r.Philox(key=secrets.randbits(128)))",
    "r.Generator(r.PCG64(r.SeedSequence(secrets.randbits(128)).spawn(1)[0]))",
    "pickle.loads(pickle.dumps(r.default_rng()))",
]
CHOSEN = [
    "r.default_rng(0)",
    "r.default_rng(2 ** 127 + 5)",
    "r.default_rng([1, 2, 3])",
    "r.default_rng([0x8c3c010cb4754c905776bdac5ee7501, 3])",
    "r.default_rng(numpy.array([7, 8]))",
    "r.default_rng(numpy.array([1], numpy.uint32))",
    "r.default_rng([300, 400, 500])",
    "r.default_rng(list(range(20)))",
    "r.RandomState(5)",
    "r.RandomState(numpy.array([7, 8]))",
    "r.Generator(r.Philox(key=5))",
    "r.Generator(r.Philox(key=numpy.array([5, 6], numpy.uint64)))",
    "r.Generator(r.PCG64(r.SeedSequence(5).spawn(1)[0]))",
    "pickle.loads(pickle.dumps(r.default_rng(5)))",
    "copy.deepcopy(r.RandomState(5))",
]
TOLD = """
    import copy, os, pickle, secrets, sys, time
    import numpy, numpy.random as r
    from snapsafe_rt.source.vmclock_file import FileSource
    source = FileSource(sys.argv[1])
    for text in sys.argv[2:]:
        one = eval(text)
        twin = copy.deepcopy(one) if text[-1] != "t" else one
        one.standard_normal(), twin.standard_normal()
        source.bump()
        expected = eval(text)
        expected.standard_normal()
        print(int(one.standard_normal() != twin.standard_normal()), int(one.random() == twin.random()))
"""


def test_whose_seed_it_is(run_python, source_file):
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}

    def changes(texts, **more):
        out = run_python(TOLD, source_file.path, *texts, env=env | more.pop("env", {}), **more)
        return [line == "1 0" for line in out.splitlines()]

    assert changes(SYSTEMS) == [True] * len(SYSTEMS)
    assert changes(CHOSEN) == [False] * len(CHOSEN)
    assert changes(SYSTEMS, activated=False) == [False] * len(SYSTEMS)
    assert changes(CHOSEN, env={"SNAPSAFE_SEEDED": "reseed"}) == [True] * len(CHOSEN)


@pytest.mark.parametrize("inside_first", [True, False])
@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("r.standard_normal = lambda *a: 4", "numpy.random.standard_normal was replaced"),
        ("r.default_rng = r.Generator", "numpy.random.default_rng was replaced"),
        ("take(r.Generator.random, r.Generator.integers)", "random of numpy.random was exchanged"),
        ("take(r.RandomState.rand, r.RandomState.randn)", "rand of numpy.random was exchanged"),
        ("take(r.SeedSequence.spawn, r.Generator.random)", "spawn of numpy.random was exchanged"),
    ],
)
def test_somebody_exchanges_it(program, code, says, inside_first):
    program(
        """
import ctypes
def definition(callable):
    head = object.__basicsize__ + (0 if "cython" in type(callable).__name__ else 24)
    return ctypes.c_void_p.from_address(id(callable) + head).value
def take(one, other):
    here, there = (ctypes.c_void_p.from_address(definition(x) + 8) for x in (one, other))
    here.value = there.value
"""
    )
    check_exchanged(program, "numpy", code, says, inside_first)


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ("import numpy.random.bit_generator as b; b.SeedSequence = type('SeedSequence', (), {})", "cannot be guarded"),
        ("del sys.modules['numpy.random']", "failed half-way"),
    ],
)
def test_numpy_is_not_as_known(living, source_file, before, says):
    """The program runs on unhurt, and the row says that it is not protected, and why."""
    one = living(activated=False, env={"SNAPSAFE_WATCH": "0"})
    one("import sys, numpy.random as r; early = r.default_rng()")
    if "SeedSequence" in before:
        before = "r.SeedSequence = type('SeedSequence', (), {'__init__': lambda *a, **k: None})"
    one(before)
    one(f"import snapsafe_rt; snapsafe_rt.activate([{source_file.uri!r}]); early.random()")
    level, note = one("answer = [(x.protection, x.note) for x in snapsafe_rt.status().rows if x.name == 'numpy'][0]")
    assert level == "unprotected"
    assert says in note


def test_undo_is_exact(run_python, source_file):
    env = {"SNAPSAFE_WATCH": "0"}
    assert run_python(PROGRAMS / "numpy_undone.py", source_file.uri, env=env, activated=False) == "[]\n[]\n"


def test_a_program_without_numpy_loads_nothing_of_it(run_python, source_file):
    script = "import sys, random, uuid; print('snapsafe_rt.guards.numpy' in sys.modules)"
    assert run_python(script, env=source_file.env) == "False\n"
