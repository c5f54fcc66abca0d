"""A thousand clones of one template draw from everything, and nothing is drawn twice.

They are as near to clones of a machine as clones of a process come: preloaded libraries replay getrandom(2) and the
clock, so kernel and time repeat as well, nothing is wiped on fork, nobody can reseed the kernel, and all find the same
new generation. Without activation the same script repeats every value.
"""

import json
import os

import pytest

from ..conftest import PROGRAMS

pytestmark = [pytest.mark.internals, pytest.mark.xdist_group("heavy")]

CLONES = int(os.environ.get("SNAPSAFE_TEST_CLONES", "1000"))
TWINS = 40


def drawn(run_python, source, machine, count, *, activated):
    environment = source.env | machine
    script, options = PROGRAMS / "thousand_clones.py", {"env": environment, "dev": False, "timeout": 900}
    text = run_python(script, source.path, count, activated, activated=activated, **options)
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
        if name == "clock_seq":  # 14 bits: 970 of 1,000 random ones differ
            assert len(set(column)) > 0.9 * CLONES
        else:
            assert len(set(column)) == CLONES, f"{name}: {CLONES - len(set(column))} values were drawn before"
    instances = zip(*(clone["instances"].split(",") for clone in clones), strict=True)
    assert all(len(set(column)) == CLONES for column in instances)


def test_everything_is_drawn_twice_without_us(run_python, synchronous_source, machine):
    """The twin. In a new thread and in a forked child OpenSSL begins afresh, from what only the real kernel has."""
    clones = drawn(run_python, synchronous_source, machine, 3 * TWINS, activated=False)
    for which in range(3):
        same = [clones[number] for number in range(which, 3 * TWINS, 3)]
        repeated = {name for name in same[0] if len({clone[name] for clone in same}) == 1}
        differ = set(same[0]) - repeated
        assert differ <= (set() if which == 0 else {"ssl", "tls", "ec"}), differ


@pytest.mark.parametrize("kind", ["legacy", "isolated"])
def test_subinterpreters(run_python, synchronous_source, machine, kind):
    def columns(activated):
        text = run_python(
            PROGRAMS / "interpreters.py",
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
