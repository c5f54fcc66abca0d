"""A draw asks the kernel for bytes and for the time, and for nothing else: a filter that kills for any other call lets
it pass, also the first one after a restore, and as root."""

import pytest

from snapsafe_rt.core import native

from ..conftest import PROGRAMS

CONFINED = PROGRAMS / "confined.py"
KILLED = -31  # SIGSYS

# What asks the kernel for nothing in CPython: (prepared before there is a filter, draw).
QUIET = {
    "random": ("import random; random.random()", "random.random()"),
    "first draw": ("import random", "random.getrandbits(64)"),
    "older instance": ("import random; rng = random.Random()", "rng.random()"),
    "gauss": ("import random; random.gauss(0, 1)", "random.gauss(0, 1)"),
    "randint": ("import random", "random.randint(0, 1 << 60)"),
    "getstate": ("import random", "hash(random.getstate())"),
    "seed of a number": ("import random", "random.seed(7 << 33) or random.random()"),
    "seed of a clock": ("import random, time", "random.seed(time.time_ns()) or random.random()"),
    "MIME boundary": ("import email.generator", "email.generator._make_boundary()"),
}

# What asks it for bytes, and what libraries ask besides, with or without us.
ASKING = {
    "urandom": ("import os", "os.urandom(8)", ""),
    "Random()": ("import random", "random.Random().random()", ""),
    "seed()": ("import random", "random.seed() or random.random()", ""),
    "entropy": ("import snapsafe_rt; snapsafe_rt.entropy", "snapsafe_rt.entropy(8)", ""),
    "uuid4": ("import uuid; uuid.uuid4()", "uuid.uuid4()", ""),
    "first uuid4": ("import uuid", "uuid.uuid4()", ""),
    "secrets": ("import secrets", "secrets.token_hex(4)", ""),
    "RAND_bytes": ("import ssl; ssl.RAND_bytes(8)", "ssl.RAND_bytes(8)", "getpid,gettid"),
    "sqlite3": (
        "import sqlite3; db = sqlite3.connect(':memory:'); db.execute('select random()').fetchone()",
        "db.execute('select random()').fetchone()",
        "getpid,fcntl",
    ),
    "per_generation": (
        "import os, snapsafe_rt; made = snapsafe_rt.per_generation(lambda: os.urandom(4)); made()",
        "made()",
        "",
    ),
}


@pytest.mark.parametrize(("prepare", "draw"), QUIET.values(), ids=QUIET)
def test_draws_that_are_no_system_call(run_python, source_file, prepare, draw):
    if not native.inspect_entropy().cpu:
        pytest.skip("this CPU has no random instruction: then the kernel is asked")
    drawn = run_python(CONFINED, source_file.path, False, "", prepare, draw, env=source_file.env).split("\n")
    assert len(set(drawn)) == (1 if "7 << 33" in draw else 3), drawn


@pytest.mark.parametrize("source", ["source_file", "synchronous_source"])
@pytest.mark.parametrize(("prepare", "draw", "more"), ASKING.values(), ids=ASKING)
def test_draws_that_ask_for_bytes(run_python, request, source, prepare, draw, more):
    source = request.getfixturevalue(source)
    drawn = run_python(CONFINED, source.path, True, more, prepare, draw, env=source.env).split("\n")
    assert len(set(drawn)) == 3, drawn


@pytest.mark.parametrize("draw", ["os.getppid()", "(random.random(), native.renew_kernel())"])
def test_the_filter_kills(run_python, source_file, draw):
    """The twin: another call, and what a draw did before it was left to the restore event."""
    prepare = "import os, random; from snapsafe_rt.core import native"
    run_python(CONFINED, source_file.path, True, "", prepare, draw, env=source_file.env, status=KILLED)


def test_a_watcher_is_woken_by_a_futex(run_python, source_file):
    """Threads that wait are CPython's way to its lock, too."""
    prepare = "import random, snapsafe_rt; snapsafe_rt.register_after_restore(int)"
    run_python(CONFINED, source_file.path, True, "futex", prepare, "random.random()", env=source_file.env)


def test_the_event_makes_the_kernel_reseed(run_python, source_file):
    """Not the draw before it, which notices the restore."""
    script = """
    import os, random, sys
    import snapsafe_rt
    from snapsafe_rt.core import native
    from stage import bump
    snapsafe_rt.check()
    bump()
    random.random()
    assert snapsafe_rt.epoch() == 1 and not native.inspect_entropy().kernel_reseeded
    snapsafe_rt.check()
    assert native.inspect_entropy().kernel_reseeded == (os.geteuid() == 0 and native.inspect_entropy().cpu)
    """
    run_python(script, source_file.path, env=source_file.env)
