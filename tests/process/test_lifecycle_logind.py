"""SNAPSAFE_LIFECYCLE=logind, with a real dbus-daemon and a service that has logind's interface. systemd-logind itself
needs a machine."""

import time

import pytest

pytest.importorskip("jeepney")

from ..helpers.lab import STAGE, after
from ..helpers.logind import Logind

pytestmark = pytest.mark.any_python

OURS = "sleep/python/register_before_snapshot()/delay"


@pytest.fixture
def logind(shm_path):
    try:
        one = Logind(shm_path)
    except FileNotFoundError:
        pytest.skip("no dbus-daemon: apt install dbus")
    yield one
    one.close()


@pytest.fixture
def program(logind, source_file, living):
    def start(code="", env=None, **more):
        settings = {**source_file.env, **logind.env, "SNAPSAFE_LIFECYCLE": "logind", **(env or {})}
        one = living(env=settings, **more)
        one(STAGE + code)
        return one

    return start


def until(logind, text):
    end = time.monotonic() + 20
    while logind("locks") != text:
        assert time.monotonic() < end, logind("locks")


def test_sleep_without_and_with_a_restore(logind, program, source_file):
    logind.start()
    one = program("pair('a'); pair('b'); locked()")
    assert logind("locks") == f"1 {OURS}"
    assert logind("sleep") == "asleep"  # it waited for the callbacks
    assert one("phase('quiesced'); answer = taken()") == ["before b", "before a"]
    source = one("answer = snapsafe_rt.status().source['source']")
    logind("wake")
    assert after(one) == ["original a", "original b"]
    assert logind("locks") == f"1 {OURS}"
    logind("sleep")
    source_file.bump()
    logind("wake")
    assert after(one) == ["before b", "before a", "clone a", "clone b"]
    assert source == source_file.uri  # nothing was let go of
    assert one("answer = lifecycle()")["last_snapshot"]["came_of"] == "clone"


def test_a_restore_is_an_end_even_if_nobody_says_so(logind, program, source_file):
    logind.start()
    one = program("pair('a'); locked()")
    logind("sleep")
    one("phase('quiesced')")
    source_file.bump()
    assert after(one) == ["before a", "clone a"]
    logind("wake silently")
    logind("sleep")
    assert one("phase('quiesced'); answer = taken()") == ["before a"]


def test_the_end_is_seen_by_who_hears_of_it_too_late(logind, program):
    """PrepareForSleep(false) came before the connection was made again: the property tells."""
    logind.start()
    one = program("pair('a'); locked()")
    for _ in range(5):
        logind("sleep")
        logind("wake")
        assert after(one) == ["before a", "original a"]


def test_a_lock_that_is_refused(logind, program):
    logind.start()
    logind("refuse org.freedesktop.DBus.Error.AccessDenied")
    one = program("pair('a')")
    one("assert until(lambda: 'AccessDenied' in lifecycle()['reason']), lifecycle()")
    logind("refuse org.freedesktop.login1.OperationInProgress")
    late = program("pair('a')")
    logind("refuse ")
    logind("wake")
    late("locked()")
    assert logind("locks") == f"1 {OURS}"


def test_no_bus_at_first_and_none_later(logind, program):
    one = program("pair('a')")
    one("assert until(lambda: 'no system bus' in lifecycle()['reason']), lifecycle()")
    logind.start()
    one("locked()")
    assert logind("locks") == f"1 {OURS}"
    logind("sleep")
    one("phase('quiesced')")
    for process in (logind.bus, logind.service):
        process.kill()
        process.wait()
    assert one("phase('running'); answer = taken()") == ["before a", "original a"]


def test_a_child_takes_a_lock_of_its_own(logind, program):
    logind.start()
    one = program("""
pair("a")
locked()
child = os.fork()
if child == 0:
    signal.pause()""")
    until(logind, f"2 {OURS} {OURS}")
    one("os.kill(child, signal.SIGKILL); os.waitpid(child, 0); snapsafe_rt.unregister(calls.append); locked()")
    until(logind, f"1 {OURS}")
    one("snapsafe_rt.deactivate()")
    until(logind, "0")


def test_idle_means_no_wakeup_and_status_tells_from_outside(logind, program):
    from snapsafe_rt.report import remote

    logind.start()
    one = program("pair('a'); locked(); assert until(lambda: snapsafe_rt.status().watching['how'] == 'inotify')")
    told = remote.inspect(one.pid).lifecycle
    assert told["lock"], told
    assert told["kind"] == "logind", told
    assert not told["reason"], told
    before, after = one("answer = stays(lambda: native.inspect_watcher().wakeups)")
    assert after == before


def test_without_jeepney_status_says_what_to_install(logind, program, tmp_path):
    (tmp_path / "jeepney.py").write_text("raise ImportError\n")
    logind.start()
    one = program("sys.path.insert(0, " + repr(str(tmp_path)) + "); pair('a')")
    assert "pip install 'snapsafe-rt[dbus]'" in one("answer = lifecycle()")["reason"]
    assert logind("locks") == "0"
    assert "jeepney" not in one("answer = [name for name in sys.modules if os.environ]")
