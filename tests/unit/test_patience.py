"""Another process looks, and is left where it gets no answer."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from snapsafe_rt.errors import Failure
from snapsafe_rt.guards import scan
from snapsafe_rt.report import patience, procfs

from ..conftest import PACKAGE
from ..helpers.looking import end_lookers, impatient

pytestmark = pytest.mark.any_python

OWN = os.getpid()


@pytest.fixture(autouse=True)
def quick():
    with impatient(0.2, 0.1):
        yield
    end_lookers()


def look(pid):
    """Never answers of an odd one."""
    if pid % 2:
        signal.pause()
    return pid, os.getpid()


def test_each_has_its_answer_and_one_child_looks():
    told = list(patience.answers([2, 4, 6], look))
    assert [pid for pid, _ in told] == [2, 4, 6]
    assert [pid for _, (pid, _) in told] == [2, 4, 6]
    [child] = {child for _, (_, child) in told}
    assert child != OWN


def test_one_that_is_silent_is_passed_over():
    told = dict(patience.answers([2, 3, 4, 5, 6], look))
    assert [pid for pid, one in told.items() if isinstance(one, procfs.Silent)] == [3, 5]
    assert [told[pid][0] for pid in (2, 4, 6)] == [2, 4, 6]
    assert str(told[3]).startswith("process 3 does not answer: ")
    with pytest.raises(procfs.Silent, match="process 3 "):
        patience.answer(3, look)


def test_an_answer_that_drips_or_is_large_is_whole():
    assert patience.answer(2, lambda pid: b"x" * (5 << 20)) == b"x" * (5 << 20)


def test_what_it_raises_is_raised():
    def refuse(pid):
        raise procfs.NotPermitted(f"not {pid}")

    with pytest.raises(procfs.NotPermitted, match="not 2"):
        patience.answer(2, refuse)


def test_one_whose_looker_dies_is_not_looked_at_and_the_others_are():
    def die(pid):
        if pid == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return pid

    told = dict(patience.answers([2, 3, 4], die))
    assert (told[2], told[4]) == (2, 4)
    assert isinstance(told[3], procfs.Silent)


def test_the_processes_of_one_user_have_one_budget(monkeypatch):
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(patience, "ENOUGH_SECONDS", 0.3)
    told = list(patience.answers([OWN] * 20, lambda pid: signal.pause()))
    assert all(isinstance(one, procfs.Silent) for _, one in told)
    user = os.getuid()
    assert 0.3 <= patience._waited[user] < 0.3 + 20 * 0.15


def test_what_was_found_in_files_is_known_afterwards():
    key = (1, 2, 3, 4, OWN)

    def find(pid):
        scan.cache[key] = scan.NOTHING
        patience._waited[pid] = 1.0

    try:
        assert patience.answer(2, find) is None
        assert scan.cache[key] == scan.NOTHING
        assert patience._waited == {2: 1.0}
    finally:
        scan.cache.pop(key, None)


def test_no_zombie_is_left():
    patience.answer(2, look)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    with pytest.raises(procfs.Silent):
        patience.answer(3, look)
    while patience.left:  # it was killed, and ends
        patience.begin()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_no_process_can_be_started(monkeypatch):
    def refuse():
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fork", refuse)
    with pytest.raises(Failure, match="no process can be started that looks at others: Resource"):
        patience.answer(2, look)
    assert len(os.listdir("/proc/self/fd")) == before


PROGRAM = """
import os, signal
from snapsafe_rt.report import patience
def look(pid):
    os.kill(os.getppid(), signal.SIGINT)
    signal.pause()
patience.answer(2, look)
"""


def test_an_interrupt_ends_it():
    """And nobody who waits for the end of its output waits for the child."""
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=60)
    assert done.stderr.endswith("KeyboardInterrupt\n")
