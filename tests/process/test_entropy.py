"""The fence: after a restore, and at start, kernel bytes are mixed with a stream that no other clone has."""

import os

import pytest

from ..conftest import PROGRAMS

pytestmark = pytest.mark.internals

HEAD = """
    import json, os, random, sys
    import snapsafe_rt
    from snapsafe_rt.core import native

    def fence():
        return snapsafe_rt.status().fence["state"]
"""


@pytest.fixture
def replayed(compile_native):
    """Kernel bytes are the same in each process, and nobody may reseed the kernel."""
    return {"LD_PRELOAD": str(compile_native("replay.c"))}


DRAWS = {
    "os.urandom": "os.urandom(16)",
    "one byte at a time": "b''.join(os.urandom(1) for _ in range(32))",
    "os.getrandom": "os.getrandom(16)",
    "entropy": "snapsafe_rt.entropy(16)",
    "one byte of entropy": "b''.join(snapsafe_rt.entropy(1) for _ in range(32))",
    "Random()": "random.Random().getrandbits(128)",
    "_random.Random()": "__import__('_random').Random().getrandbits(128)",
    "seed()": "random.seed() or random.random()",
    "uuid4": "__import__('uuid').uuid4()",
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_kernel_that_repeats(run_python, source_file, replayed, draw):
    """A process may have been started right after a restore: from the start on nothing relies on the kernel alone."""
    script = f"{HEAD}\n    print({draw})"
    guarded = {run_python(script, env=source_file.env | replayed) for _ in range(4)}
    assert len(guarded) == 4
    if "snapsafe_rt" not in draw:
        stock = {run_python(f"{HEAD}\n    print({draw})", env=replayed, activated=False) for _ in range(4)}
        assert len(stock) == 1, "the twin"


def test_up_at_start_and_after_each_restore(run_python, source_file, replayed):
    script = """
    assert fence() == "cpu"
    native.epoch()
    assert snapsafe_rt.notify_restored() == 1 and fence() == "cpu"
    left = snapsafe_rt.status().fence["seconds_left"]
    assert 290 < left <= 300, left
    """
    run_python(HEAD + script, env=source_file.env | replayed)


@pytest.mark.skipif(os.geteuid() != 0, reason="reseeding the kernel takes CAP_SYS_ADMIN")
def test_privilege_lowers_it(run_python, source_file):
    script = """
    snapsafe_rt.notify_restored()
    status = snapsafe_rt.status()
    assert status.fence["state"] == "down" and status.fence["kernel_reseeded"], status.fence
    """
    run_python(HEAD + script, env=source_file.env)


@pytest.mark.skipif(os.geteuid() != 0, reason="reseeding the kernel takes CAP_SYS_ADMIN")
def test_privilege_without_entropy_does_not_lower_it(run_python, source_file):
    """Clocks and jitter alone do not make the kernel surely unique."""
    script = """
    native.disable_cpu_for_testing(True)
    snapsafe_rt.notify_restored()
    status = snapsafe_rt.status()
    assert status.fence["state"] == "degraded" and not status.fence["kernel_reseeded"], status.fence
    assert not status.protected
    """
    run_python(HEAD + script, env=source_file.env)


def test_the_managers_word_lowers_it(run_python, source_file, replayed):
    """ "Kernel reseeded for generation" counts for the generation that is shown, and for no other."""
    script = """
    from stage import write
    write(0x800, 7)
    assert fence() == "cpu"
    write(0x68, 8)
    assert snapsafe_rt.epoch() == 1 and fence() == "cpu"
    write(0x800, 8)
    assert fence() == "down"
    write(0x68, 9)
    assert snapsafe_rt.epoch() == 2 and fence() == "cpu"
    """
    run_python(HEAD + script, source_file.path, env=source_file.env | replayed)


def test_the_managers_word_does_not_outlive_its_restore(run_python, source_file, replayed):
    """A restore that moves no counter makes the word a thing of the past, until there is another one."""
    script = """
    from stage import write
    write(0x800, 1)
    assert fence() == "down"
    assert snapsafe_rt.notify_restored() == 1 and fence() == "cpu"
    write(0x68, 2)
    write(0x800, 2)
    assert snapsafe_rt.epoch() == 2 and fence() == "down"
    write(0x68, 3)
    write(0x800, 3)
    assert snapsafe_rt.notify_restored() == 3 and fence() == "down"     # the restore did move it
    """
    run_python(HEAD + script, source_file.path, env=source_file.env | replayed)


DEGRADED = """
    native.disable_cpu_for_testing(True)
    native.raise_fence()
    assert fence() == "degraded"
"""


def test_degraded_is_told_and_is_not_called_protected(run_python, source_file, replayed):
    script = """
    status = snapsafe_rt.status()
    assert not status.protected and status.degraded
    assert all("degraded" in row.note for row in status.rows if row.protection in ("guarded", "refreshed"))
    assert not status.problems, status.problems     # there is a libcrypto for the hash
    print(os.urandom(16), os.urandom(16), snapsafe_rt.entropy(100))
    """
    drawn = [run_python(HEAD + DEGRADED + script, env=source_file.env | replayed) for _ in range(4)]
    assert len(set(drawn)) == 4


def test_host_entropy_stands_in_for_the_cpu(run_python, source_file, replayed):
    script = """
    try:
        snapsafe_rt.notify_restored("text")
    except TypeError:
        pass
    else:
        raise AssertionError("text is not bytes")
    assert snapsafe_rt.notify_restored(sys.argv[1].encode()) == 1
    assert fence() == "host" and snapsafe_rt.status().protected
    print(os.urandom(16).hex(), snapsafe_rt.entropy(16).hex())
    assert snapsafe_rt.notify_restored() == 2 and fence() == "degraded"     # the stream was of its epoch alone
    """

    def drawn(host):
        return run_python(HEAD + DEGRADED + script, host, env=source_file.env | replayed)

    assert len({drawn("a"), drawn("b"), drawn("c")}) == 3


def test_host_stream_runs_dry(run_python, source_file, replayed):
    script = """
    snapsafe_rt.notify_restored(b"host")
    for _ in range(64):
        snapsafe_rt.entropy(1024)
    assert fence() == "degraded"
    """
    run_python(HEAD + DEGRADED + script, env=source_file.env | replayed)


def test_entropy_arguments(run_python, source_file):
    script = """
    assert snapsafe_rt.entropy(0) == b"" and len(snapsafe_rt.entropy(1 << 20)) == 1 << 20
    for wrong, error in ((-1, ValueError), ("x", TypeError), (1.5, TypeError), (1 << 70, OverflowError)):
        try:
            snapsafe_rt.entropy(wrong)
        except error:
            pass
        else:
            raise AssertionError(wrong)
    """
    run_python(HEAD + script, env=source_file.env)


def test_per_generation(run_python, source_file):
    run_python(PROGRAMS / "per_generation.py", source_file.path, env=source_file.env)


def test_source_without_a_source(run_python, shm_path):
    """Nothing is detected then, and status() does not claim that anything is protected."""
    path = shm_path / "none"
    script = """
    status = snapsafe_rt.status()
    assert status.active and status.source is None and not status.protected
    assert "random" in status.unprotected and "os" in status.unprotected
    state = random.getstate()
    assert snapsafe_rt.notify_restored() == 1 and random.getstate() != state
    """
    run_python(HEAD + script, env={"SNAPSAFE_SOURCES": f"vmclock:{path}"})


@pytest.mark.parametrize("told", [False, True], ids=["noticed", "notified"])
def test_other_thread_asks_while_a_restore_is_noted(run_python, source_file, compile_native, told):
    """What the file says of the generation before does not lower the fence for the one that comes."""
    script = PROGRAMS / "fence_asked_meanwhile.py"
    preload = " ".join(str(compile_native(name)) for name in ("fence_seam.c", "replay.c"))
    assert int(run_python(script, source_file.path, told, env=source_file.env | {"LD_PRELOAD": preload})) == 10


def test_restored_while_another_restore_is_noted(run_python, source_file, replayed):
    """The second comes when states may be of the first one's epoch already: it is not taken for the first."""
    script = """
    import ctypes
    armed = ctypes.c_ulong.in_dll(ctypes.CDLL(None), "replay_armed")
    armed.value = 2
    assert native.advance() == 1 and armed.value == 0
    assert snapsafe_rt.epoch() == 2
    """
    run_python(HEAD + script, env=source_file.env | replayed | {"SNAPSAFE_TEST_BUMP": str(source_file.path)})
