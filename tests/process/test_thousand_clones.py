"""A thousand clones of one template draw from everything, and nothing is drawn twice.

They are as near to clones of a machine as clones of a process come: preloaded libraries replay getrandom(2) and the
clock, so kernel and time repeat as well, nothing is wiped on fork, nobody can reseed the kernel, and all find the same
new generation. Without activation the same script repeats every value.
"""

import json
import os

import pytest

pytestmark = pytest.mark.xdist_group("heavy")

CLONES = int(os.environ.get("SNAPSAFE_TEST_CLONES", "1000"))
TWINS = 40

SCRIPT = """
    import json, os, random, sys, threading, uuid, secrets, sqlite3, ssl, tempfile, _random
    from os import urandom as bound_urandom
    from random import random as bound_random
    from snapsafe_rt.cli.demo_program import surfaces
    from snapsafe_rt.source.vmclock_file import FileSource
    from snapsafe_rt.testing.clones import run_clones

    source, count, rotated = FileSource(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"

    class Subclass(random.Random):
        pass

    def digest(state):
        return hash(state)      # of a tuple of ints: PYTHONHASHSEED has no part in it

    draws = {key: surface.draw for key, surface in surfaces().items()}
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    draws["sqlite"] = lambda: connection.execute("SELECT hex(randomblob(8))").fetchone()[0]
    subclass, bare, system, instances = Subclass(), _random.Random(), random.SystemRandom(), []
    instances += [random.Random() for _ in range(1000)]
    gauss = random.Random()
    draws |= {
        "bound random": bound_random,
        "getrandbits": lambda: random.getrandbits(64),
        "randint": lambda: random.randint(0, 1 << 62),
        "randbytes": lambda: random.randbytes(8).hex(),
        "sample": lambda: tuple(random.sample(range(1 << 40), 2)),
        "getstate": lambda: digest(random.getstate()),
        "gauss of an instance": lambda: gauss.gauss(0, 1),
        "gauss of SystemRandom": lambda: system.gauss(0, 1),
        "SystemRandom": system.random,
        "subclass": subclass.random,
        "bare": bare.random,
        "1000 instances": lambda: tuple(instance.random() for instance in instances),
        "bound urandom": lambda: bound_urandom(8).hex(),
        "getrandom": lambda: os.getrandom(8).hex(),
        "token_urlsafe": lambda: secrets.token_urlsafe(8),
        "clock sequence": lambda: uuid.uuid1().clock_seq,
        "node": lambda: uuid.uuid1().node,
    }
    if hasattr(uuid, "uuid8"):
        draws |= {"uuid6": uuid.uuid6, "uuid8": uuid.uuid8}
    names = sorted(draws)

    def prepare():
        for name in names:
            draws[name]()
        for rng in (gauss, system, random._inst):   # with a second value pending
            if rng.gauss_next is None:
                rng.gauss(0, 1)

    def draw(number):
        first = number % len(names) if rotated else 0     # each is the first to draw in some clones
        return json.dumps({name: str(draws[name]()) for name in names[first:] + names[:first]}).encode()

    def in_thread(number):
        found = []
        thread = threading.Thread(target=lambda: found.append(draw(number)))
        thread.start()
        thread.join()
        return found[0]

    def in_child(number):
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            with os.fdopen(writer, "wb") as stream:
                stream.write(draw(number))
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            found = stream.read()
        assert os.waitpid(child, 0)[1] == 0
        return found

    def body(number):
        return (draw, in_thread, in_child)[(number // len(names) if rotated else number) % 3](number)

    clones = run_clones(count, body, prepare=prepare, source=source)
    print(json.dumps([clones.same_pid, [json.loads(clone) for clone in clones]]))
"""


def drawn(run_python, source, machine, count, *, activated):
    environment = source.env | machine
    text = run_python(
        SCRIPT, source.path, count, activated, env=environment, activated=activated, dev=False, timeout=900
    )
    same_pid, clones = json.loads(text)
    if not same_pid:
        pytest.skip("this kernel lets nobody make pid namespaces: what looks at its pid would prove nothing")
    return clones


@pytest.fixture
def machine(compile_native):
    """Kernel bytes, clock and memory that are in every clone alike."""
    libraries = ":".join(str(compile_native(name)) for name in ("wipe_off.c", "replay.c"))
    return {"LD_PRELOAD": libraries, "SNAPSAFE_TEST_WIPE": "ignored"}


@pytest.mark.timeout(1000)
def test_nothing_is_drawn_twice(run_python, synchronous_source, machine):
    clones = drawn(run_python, synchronous_source, machine, CLONES, activated=True)
    assert len(clones) == CLONES
    assert len(clones[0]) >= 30
    for name in clones[0]:
        column = [clone[name] for clone in clones]
        if name == "clock sequence":  # 14 bits: 970 of 1,000 random ones differ
            assert len(set(column)) > 0.9 * CLONES
        else:
            assert len(set(column)) == CLONES, f"{name}: {CLONES - len(set(column))} values were drawn before"
    instances = zip(*(clone["1000 instances"].split(",") for clone in clones), strict=True)
    assert all(len(set(column)) == CLONES for column in instances)


def test_everything_is_drawn_twice_without_us(run_python, synchronous_source, machine):
    """The twin. In a new thread and in a forked child OpenSSL begins afresh, from what only the real kernel has."""
    clones = drawn(run_python, synchronous_source, machine, 3 * TWINS, activated=False)
    for which in range(3):
        same = [clones[number] for number in range(which, 3 * TWINS, 3)]
        repeated = {name for name in same[0] if len({clone[name] for clone in same}) == 1}
        differ = set(same[0]) - repeated
        assert differ <= (set() if which == 0 else {"ssl", "tls", "ec"}), differ


INTERPRETERS = """
    import json, os, sys
    import random, snapsafe_rt
    from snapsafe_rt.source.vmclock_file import FileSource
    from snapsafe_rt.testing.clones import run_clones
    try:
        import _interpreters
        create = _interpreters.create
    except ImportError:
        import _xxsubinterpreters as _interpreters
        create = lambda kind: _interpreters.create(isolated=kind == "isolated")
    source, kind, count = FileSource(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    made = []

    def run(code):
        failure = _interpreters.run_string(made[0], code)
        assert failure is None, failure

    def prepare():
        made.append(create(kind))
        run("import os, random, _random, secrets; rng, bare = random.Random(), _random.Random(); random.random(); "
            "rng.random(); bare.random()")

    def body(number):
        reader, writer = os.pipe()
        run(f"os.write({writer}, repr([random.random(), rng.random(), bare.random(), random.getrandbits(64), "
            f"os.urandom(8).hex(), secrets.token_hex(8)]).encode())")
        return os.read(reader, 4096)

    clones = run_clones(count, body, prepare=prepare, source=source, parallel=2)
    print(json.dumps([eval(clone) for clone in clones]))
"""


@pytest.mark.parametrize("kind", ["legacy", "isolated"])
def test_subinterpreters(run_python, synchronous_source, machine, kind):
    def columns(activated):
        text = run_python(
            INTERPRETERS,
            synchronous_source.path,
            kind,
            60,
            env=synchronous_source.env | machine,
            activated=activated,
            dev=False,
        )
        return [len(set(column)) for column in zip(*json.loads(text), strict=True)]

    assert columns(True) == [60] * 6
    assert columns(False) == [1] * 6
