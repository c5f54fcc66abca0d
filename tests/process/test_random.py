"""random: each way to draw is looked at, and nothing else differs."""

import pytest

from ..conftest import PROGRAMS
from ..helpers.random_scripts import HEAD, differs

pytestmark = pytest.mark.internals

DRAWS = {
    "random": "rng.random()",
    "getrandbits": "rng.getrandbits(64)",
    "randint": "rng.randint(0, 1 << 60)",
    "randbytes": "rng.randbytes(16)",
    "sample": "rng.sample(range(1 << 40), 3)",
    "uniform": "rng.uniform(0, 1)",
    "gauss": "rng.gauss(0, 1)",
    "normalvariate": "rng.normalvariate(0, 1)",
    "choices": "rng.choices(range(1 << 40), k=3)",
    "getstate": "rng.getstate()",
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_each_draw_first(run_python, source_file, draw):
    """Whichever method is the first to draw after the restore."""
    run_python(HEAD + differs("rng = random.Random()", draw), source_file.path, env=source_file.env)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_each_draw_repeats_without_us(run_python, source_file, draw):
    """The twin: not activated, the same script finds the value that the template would have drawn."""
    script = HEAD + differs("rng = random.Random()", draw)
    trace = run_python(script, source_file.path, activated=False, status=1, stream="stderr")
    assert "drew what the template would have drawn" in trace


def test_bare_instances(run_python, source_file):
    """_random.Random seeds in C: its seed is known from tp_init, on 3.10 from tp_new."""
    script = """
    bare, chosen = _random.Random(), _random.Random(42)
    class Sub(_random.Random):
        pass
    subclass = Sub(42)
    sequence = [_random.Random(42) for _ in range(1)][0]
    expected = [sequence.random() for _ in range(4)]
    before = bare.getstate()
    assert chosen.random() == subclass.random() == expected[0]
    bump()
    assert bare.getstate() != before
    assert [chosen.random(), subclass.random()] == expected[1:2] * 2
    assert _random.Random(42).random() == expected[0]      # made in the new epoch
    bump()
    assert [chosen.random(), subclass.random()] == expected[2:3] * 2
    made = _random.Random()
    before = made.getstate()
    bump()
    assert made.getstate() != before
    """
    run_python(HEAD + script, source_file.path, env=source_file.env)


def test_bound_before_activation(run_python, source_file):
    """`from random import random` holds a bound method of the global instance: it is guarded as it is."""
    script = """
    from random import random as draw, getrandbits, gauss, randint, getstate
    gauss(0, 1)
    identity = id(draw)
    snapsafe_rt.activate(["vmclock:" + path])
    twins = [getstate(), getstate()]
    bump()
    second = gauss(0, 1)
    assert draw is random.random and id(draw) == identity
    assert getstate() not in twins and snapsafe_rt.epoch() == 1
    twin = random.Random(0)
    twin.setstate(twins[0])
    assert second != twin.gauss(0, 1), "the pending value came out of the snapshot"
    assert draw() != twin.random() and getrandbits(64) != twin.getrandbits(64)
    """
    run_python(HEAD + script, source_file.path, activated=False)


def test_older_than_activation_is_stale_at_once(run_python, source_file, machine):
    """It may have been seeded by a kernel that repeats itself. How it was seeded nobody saw; renewing what was chosen
    is the safe mistake."""
    script = """
    old = random.Random()
    if sys.argv[2] == "True":
        snapsafe_rt.activate(["vmclock:" + path])
    print(random.random(), old.random(), random.gauss(0, 1))
    """
    draws = [run_python(HEAD + script, source_file.path, True, activated=False, env=machine).split() for _ in range(3)]
    assert len({number for drawn in draws for number in drawn}) == 9
    stock = [run_python(HEAD + script, source_file.path, False, activated=False, env=machine).split() for _ in range(3)]
    assert len({number for drawn in stock for number in drawn}) == 3


SEEDS = """
    from snapsafe_rt.report import remote
    def row():
        found = []
        for status in (snapsafe_rt.status(), remote.inspect(os.getpid())):
            [one] = [row for row in status.rows if row.name == "random"]
            found.append((one.protection, status.protected, one.note))
        assert found[0][:2] == found[1][:2], found
        return found[0]
    def foreign():
        import subprocess
        code = "import pickle, random, sys; sys.stdout.buffer.write(pickle.dumps(random.Random()))"
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return pickle.loads(subprocess.run([sys.executable, "-c", code], stdout=-1, env=env, check=True).stdout)
"""


def test_a_seeded_global_generator_is_told(run_python, source_file):
    """Inside and from outside, from the seed on and while it is so."""
    script = """
    assert row()[:2] == ("guarded", True), row()
    random.seed(0)
    level, protected, note = row()
    assert level == "kept" and protected and "global" in note and "SNAPSAFE_SEEDED" in note, row()
    random.seed()
    assert row()[0] == "guarded"
    random.seed(1)
    assert row()[0] == "kept"
    random.seed(os.urandom(16))
    assert row()[0] == "guarded"
    random.Random(7).random()  # one of the program's own
    assert row()[0] == "guarded"
    """
    run_python(HEAD + SEEDS + script, source_file.path, env=source_file.env)


def test_a_seeded_global_generator_that_is_renewed_is_guarded(run_python, source_file):
    script = """
    random.seed(0)
    assert row()[0] == "guarded", row()
    """
    run_python(HEAD + SEEDS + script, source_file.path, env=source_file.env | {"SNAPSAFE_SEEDED": "reseed"})


def test_a_state_that_was_made_elsewhere_is_told(run_python, source_file):
    """It is kept, for it may be a chosen one's; and the process is not called protected."""
    script = """
    rng = foreign()
    level, protected, note = row()
    assert level == "unprotected" and not protected and "1 generators" in note, row()
    state = rng.getstate()
    bump()
    assert rng.getstate() == state
    rng.seed()
    assert row()[:2] == ("guarded", True), row()
    """
    run_python(HEAD + SEEDS + script, source_file.path, env=source_file.env)


def test_a_state_that_was_made_elsewhere_can_be_renewed(run_python, source_file):
    script = """
    rng = foreign()
    assert row()[:2] == ("guarded", True), row()
    expected = stock(rng, random.Random.random)
    bump()
    assert rng.random() != expected
    """
    run_python(HEAD + SEEDS + script, source_file.path, env=source_file.env | {"SNAPSAFE_SEEDED": "reseed"})


def test_gauss_of_system_random(run_python, source_file):
    script = """
    rng = random.SystemRandom()
    rng.gauss(0, 1)
    assert rng.gauss_next is not None
    pending = rng.gauss_next
    bump()
    assert rng.gauss(0, 1) != pending
    """
    run_python(HEAD + script, source_file.path, env=source_file.env)
    trace = run_python(HEAD + script, source_file.path, activated=False, status=1, stream="stderr")
    assert "assert rng.gauss(0, 1) != pending" in trace or "AssertionError" in trace


def test_gauss_of_what_only_says_that_it_is_a_random(run_python, source_file):
    """A mock with a spec has the __class__ of a Random and none of its memory: nothing is read or written there."""
    script = """
    class Pretender:
        __slots__ = ("gauss_next",)
        __class__ = random.Random
        def random(self):
            return 0.25
    them = [Pretender() for _ in range(100)]
    beside = [bytearray(b"x" * 64) for _ in range(1000)]
    drawn = set()
    for _ in range(2):
        bump()
        for one in them:
            one.gauss_next = None
            assert isinstance(one, random.Random)
            drawn.add(random.Random.gauss(one, 0, 1))
    assert len(drawn) == 1
    assert set(map(bytes, beside)) == {b"x" * 64}
    """
    run_python(HEAD + script, source_file.path, env=source_file.env)


def test_gauss_of_a_copy_over_a_random_written_in_python(run_python, source_file, tmp_path):
    """A library may ship the standard library's module over a _random of its own, whose instances have no room for a
    tag: nothing is written into them."""
    script = """
    import importlib.util, pathlib, random as stock
    package = pathlib.Path(sys.argv[2]) / "pure"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "_random.py").write_text(
        "class Random:\\n"
        "    def __init__(self, *a): pass\\n"
        "    def seed(self, *a): pass\\n"
        "    def random(self): return 0.25\\n"
        "    def getrandbits(self, k): return 1\\n"
        "    def getstate(self): return ()\\n"
        "    def setstate(self, s): pass\\n"
    )
    text = pathlib.Path(stock.__file__).read_text().replace("import _random", "from pure import _random")
    (package / "random.py").write_text(text)
    sys.path.insert(0, sys.argv[2])
    from pure import random as pure
    beside = [bytearray(b"x" * 64) for _ in range(1000)]
    drawn = set()
    for _ in range(50):
        bump()
        one = pure.Random()
        drawn.add((one.gauss(0, 1), one.gauss(0, 1)))
    assert len(drawn) == 1, drawn
    assert set(map(bytes, beside)) == {b"x" * 64}
    """
    run_python(HEAD + script, source_file.path, tmp_path, env=source_file.env)


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "stock"])
@pytest.mark.parametrize("how", ["ends", "raises", "goes on"])
def test_gauss_in_the_middle_of_which_another_thread_draws(run_python, source_file, guarded, how):
    """The other one renews the instance before the second value, which is of the old state, is left in it; there it is
    found by the next call, while the first still goes on or when it has ended."""
    env = source_file.env | {"SNAPSAFE": str(int(guarded))}
    drawn = run_python(PROGRAMS / "gauss_in_the_middle.py", source_file.path, how, env=env).split()
    assert len(drawn) == 6
    assert len(set(drawn)) == (6 if guarded else 2), drawn


def test_a_thousand_instances(run_python, source_file):
    """Each is renewed by its own next user, also after a second restore, and getstate() of one spoils no other."""
    script = """
    rngs = [random.Random() for _ in range(1000)]
    for restore in range(2):
        states = [rng.getstate() for rng in rngs]
        bump()
        assert not {state[1] for state in states} & {rng.getstate()[1] for rng in rngs}
    states = [rng.getstate() for rng in rngs]
    for rng, state in zip(rngs, states):
        rng.seed(1)
        rng.setstate(state)
    bump()
    assert not {state[1] for state in states} & {rng.getstate()[1] for rng in rngs}
    """
    run_python(HEAD + script, source_file.path, env=source_file.env)


def test_a_state_from_before_the_restore_is_stale(run_python, source_file):
    script = """
    state = random.getstate()
    bump()
    random.random()
    random.setstate(state)
    assert random.getstate() != state
    seed = os.urandom(16)
    bump()
    random.seed(seed)
    state = random.getstate()
    random.seed(seed)
    assert random.getstate() != state
    """
    run_python(HEAD + script, source_file.path, env=source_file.env)


def test_seeded_reseed(run_python, source_file):
    script = """
    rng = random.Random(42)
    state = rng.getstate()
    bump()
    assert rng.getstate() != state
    assert random.Random(42).random() == 0.6394267984578837
    """
    run_python(HEAD + script, source_file.path, env={**source_file.env, "SNAPSAFE_SEEDED": "reseed"})


def test_module_imported_again(run_python, source_file):
    """ddtrace unloads `random` after activation; the program then gets a fresh copy."""
    script = """
    del sys.modules["random"], sys.modules["_random"]
    import random
    for module in (random, sys.modules["random"]):
        module.gauss(0, 1)
        state = module.getstate()
        bump()
        assert module.getstate() != state and module._inst.gauss_next is None
    chosen = sys.modules["_random"].Random(42)
    first = sys.modules["_random"].Random(42).random()
    bump()
    assert chosen.random() == first
    assert snapsafe_rt.status().protected
    """
    run_python(HEAD + script, source_file.path, env=source_file.env)


def test_subclass_with_hostile_setattr(run_python, source_file):
    """Clearing the pending gauss value runs none of the program's code."""
    script = """
    class Hostile(random.Random):
        armed = False
        def __setattr__(self, name, value):
            assert not self.armed, "called"
            super().__setattr__(name, value)
    rng = Hostile()
    rng.gauss(0, 1)
    Hostile.armed = True
    bump()
    rng.random()
    Hostile.armed = False
    assert rng.gauss_next is None
    """
    run_python(HEAD + script, source_file.path, env=source_file.env)


def test_threads_and_children(run_python, source_file):
    script = """
    states = [random.getstate()]
    bump()
    def draw(into):
        into.append(random.getstate())
    thread = threading.Thread(target=draw, args=(states,))
    thread.start()
    thread.join()
    assert states[0] != states[1]
    bump()
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, repr(random.random()).encode())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert float(os.read(reader, 99)) != random.random()
    """
    run_python(HEAD + script, source_file.path, env=source_file.env)


def test_errors_are_stocks(run_python, source_file):
    script = """
    import random, _random
    from stage import error
    rng = _random.Random()
    print([error(rng.getrandbits, -1), error(rng.getrandbits, "x"), error(rng.setstate, 1), error(rng.setstate, ()),
           error(rng.seed, 1, 2), error(rng.seed, []), error(rng.random, 1), error(random.seed, []),
           error(_random.Random, 1, 2), error(_random.Random, [])])
    """
    assert run_python(script, env=source_file.env) == run_python(script, activated=False)
