"""The harness itself: its clones are what a restored snapshot is, and what goes wrong in one is noticed."""

import ctypes
import os
import random
import signal
import ssl
import struct
import subprocess
import sys
import threading
import time

import pytest

from snapsafe_rt.source.vmclock_file import FileSource
from snapsafe_rt.testing import clones
from snapsafe_rt.testing.clones import CloneError, run_clones

from ..conftest import PACKAGE
from ..helpers.running import wait_asleep

WAYS = list(clones.WAYS)


@pytest.fixture(params=WAYS)
def way(request):
    """Each way that this kernel permits to this user."""
    try:
        run_clones(1, lambda number: b"", isolation=request.param)
    except CloneError as error:
        pytest.skip(str(error))
    return request.param


def children():
    try:
        return os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None


@pytest.fixture(autouse=True)
def unharmed():
    """Whatever a test does: no child, no descriptor and no namespace is left in the process that asked for clones."""

    def state():
        namespaces = [os.readlink(f"/proc/self/ns/{name}") for name in ("pid_for_children", "user")]
        return len(os.listdir("/proc/self/fd")), namespaces, os.getpgid(0), signal.getsignal(signal.SIGINT)

    before = state()
    yield
    assert state() == before
    assert children() is None


def test_clones_are_the_same_memory_and_no_handler_tells_them(way):
    forked = []

    def prepare():
        os.register_at_fork(after_in_child=lambda: forked.append(1))
        forked.clear()
        random.random()
        ssl.RAND_bytes(8)

    def body(number):
        return f"{random.random()} {len(forked)} {os.getpid()} {ssl.RAND_bytes(8).hex()}".encode()

    made = run_clones(20, body, prepare=prepare, isolation=way)
    drawn, handlers, pids, crypto = (set(column) for column in zip(*(clone.split() for clone in made), strict=True))
    assert made.isolation == way
    assert len(drawn) == 1
    assert handlers == {b"0"}
    if way == "none":
        assert not made.same_pid
        assert len(pids) == 20
    else:
        assert made.same_pid
        assert pids == {b"1"}
        assert len(crypto) == 1  # OpenSSL looks at the pid, and at nothing else


def test_results_come_in_the_order_of_their_numbers():
    seen = []
    made = run_clones(50, lambda number: b"%d" % number, progress=seen.append)
    assert made == [b"%d" % number for number in range(50)]
    assert seen == list(range(1, 51))


@pytest.mark.parametrize("count", [0, 1])
def test_few_are_no_special_case(count):
    assert run_clones(count, lambda number: b"x") == [b"x"] * count


def test_a_thousand_take_seconds():
    began = time.monotonic()
    made = run_clones(1000, lambda number: b"%d" % os.getpid())
    assert len(made) == 1000
    assert time.monotonic() - began < 100  # about one second on two idle cores


def test_pipes_are_drained_beyond_what_they_hold():
    def body(number):
        os.write(2, b"e" * 300_000)
        return bytes([number]) * 300_000

    assert run_clones(4, body) == [bytes([number]) * 300_000 for number in range(4)]


def test_no_more_than_so_many_live_at_once():
    def body(number):
        began = time.monotonic_ns()
        time.sleep(0.02)  # a life that others can overlap
        return struct.pack("qq", began, time.monotonic_ns())

    lives = [struct.unpack("qq", clone) for clone in run_clones(30, body, parallel=3)]
    at_once = max(sum(began <= moment < ended for began, ended in lives) for moment, _ in lives)
    assert 1 < at_once <= 3


# ---- what goes wrong ----


def test_an_exception_shows_its_traceback(way):
    def body(number):
        if number == 2:
            raise LookupError("of clone two")
        return b""

    with pytest.raises(
        CloneError, match=r"(?s)clone 2 exited with 1:\nTraceback .*LookupError: of clone two"
    ) as caught:
        run_clones(5, body, isolation=way)
    assert caught.value.clone.number == 2


def test_a_crash_shows_its_signal_and_what_was_said(way):
    def body(number):
        os.write(2, b"last words\n")
        ctypes.string_at(0)
        return b""

    stack = r"(?:Current thread .*|Stack )\(most recent call first.*in body"
    said = rf"(?s)clone \d was killed by signal 11 .*last words.*{stack}"
    with pytest.raises(CloneError, match=said):
        run_clones(3, body, isolation=way)


@pytest.mark.parametrize("leave", [lambda: os._exit(3), lambda: sys.exit(3)])
def test_leaving_early_is_a_failure(leave):
    with pytest.raises(CloneError, match=r"clone 0 exited with [13]"):
        run_clones(1, lambda number: leave())


def test_a_clone_that_hangs_is_ended_in_time(way):
    began = time.monotonic()
    with pytest.raises(CloneError, match=r"^clone \d did not finish in time"):
        run_clones(3, lambda number: time.sleep(60) or b"", timeout=3, isolation=way)
    assert time.monotonic() - began < 20


def test_a_grandchild_that_holds_the_pipes_is_not_waited_for(way):
    def body(number):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        return b"done"

    began = time.monotonic()
    assert run_clones(2, body, isolation=way) == [b"done"] * 2
    assert time.monotonic() - began < 20


def test_prepare_that_fails_shows_its_traceback(way):
    with pytest.raises(CloneError, match=r"(?s)prepare failed:\nTraceback .*ZeroDivisionError"):
        run_clones(1, lambda number: b"", prepare=lambda: 1 / 0, isolation=way)


def test_prepare_that_dies_or_hangs_is_reported(monkeypatch):
    with pytest.raises(CloneError, match="prepare died"):
        run_clones(1, lambda number: b"", prepare=lambda: os._exit(0))
    with pytest.raises(CloneError, match="prepare gave no sign for 6 s"):
        run_clones(1, lambda number: b"", prepare=lambda: time.sleep(60), timeout=1)


def test_the_first_that_is_permitted_is_taken(monkeypatch):
    reader, writer = os.pipe()

    def unshare(flags):
        os.write(writer, b"%x " % flags)
        if flags:
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(clones, "_unshare", unshare)
    made = run_clones(2, lambda number: b"%d" % os.getpid())
    assert made.isolation == "none"
    assert len(set(made)) == 2
    assert os.read(reader, 100).split() == [b"20000000", b"30000000", b"0"]
    with pytest.raises(CloneError, match=r"no clones can be made here: namespace: .*not permitted"):
        run_clones(2, lambda number: b"", isolation="namespace")
    os.close(reader)
    os.close(writer)


def test_an_ordinary_user_makes_them_too(run_python):
    """Even one who became it just now, to whom /proc/self does not belong."""
    assert run_python(
        """
        import os
        from snapsafe_rt.testing.clones import run_clones
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        made = run_clones(5, lambda number: b"%d %d" % (os.getpid(), os.getuid()))
        assert made.isolation in ("user", "none"), made.isolation
        assert len(set(made)) == (1 if made.same_pid else 5), made
        print(set(made) == {b"1 %d" % os.getuid()} or made.isolation)
        """,
        activated=False,
    ).strip() in ("True", "none")


def test_other_threads_of_the_caller_do_not_matter(run_python):
    run_python(
        """
        import threading
        from snapsafe_rt.testing.clones import run_clones
        stop = threading.Event()
        others = [threading.Thread(target=stop.wait) for _ in range(4)]
        for thread in others:
            thread.start()
        assert run_clones(5, lambda number: b"%d" % threading.active_count()) == [b"1"] * 5
        stop.set()
        """,
        activated=False,
    )


def test_in_a_thread_of_the_caller():
    made = []
    thread = threading.Thread(target=lambda: made.extend(run_clones(3, lambda number: b"x")))
    thread.start()
    thread.join(60)
    assert made == [b"x"] * 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_the_caller(way, tmp_path, number):
    script = f"""
import os, time
from snapsafe_rt.testing.clones import run_clones
def body(number):
    # Its pid outside of its namespace: the one that this /proc shows.
    with open(f"{{number}}", "w") as file:
        file.write(os.readlink("/proc/self"))
    os.rename(f"{{number}}", f"{{number}}.pid")
    time.sleep(60)  # until it is ended
run_clones(3, body, isolation={way!r}, parallel=3)
"""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as caller:
        until = time.monotonic() + 30
        while len(list(tmp_path.glob("*.pid"))) < 3:
            assert time.monotonic() < until
            time.sleep(0.01)
        pids = [path.read_text() for path in tmp_path.glob("*.pid")]
        assert all(os.path.exists(f"/proc/{pid}") for pid in pids)
        wait_asleep(caller)
        caller.send_signal(number)
    until = time.monotonic() + 30
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        assert time.monotonic() < until, "a clone lives on"
        time.sleep(0.01)


# ---- with a source ----


def test_all_clones_find_the_same_new_generation(way, source_file):
    source = FileSource(str(source_file.path))
    before = source.generation
    made = run_clones(50, lambda number: b"%d" % source.generation, source=source, isolation=way)
    assert len(set(made)) == 1
    assert int(made[0]) > before


def test_a_clone_of_a_clone(source_file, run_python):
    """Restored, snapshotted again, restored: every copy draws its own, and counts both restores."""
    run_python(
        """
        import random, sys, time
        import snapsafe_rt
        from snapsafe_rt.source.vmclock_file import FileSource
        from snapsafe_rt.testing.clones import clone_here, run_clones

        source = FileSource(sys.argv[1])

        def body(number):
            first = random.random()
            again = source.generation + 10**9
            def inner(number):
                source.bump(again)
                return f"{random.random()} {snapsafe_rt.epoch()}".encode()
            copies = clone_here(5, inner)
            assert not any(copy.status for copy in copies), copies
            return f"{first} 1 ".encode() + b" ".join(copy.output for copy in copies)

        made = run_clones(5, body, source=source, prepare=random.random, parallel=1)
        words = b" ".join(made).split()
        assert len(words) == 60
        assert len(set(words[::2])) == 30, words
        assert snapsafe_rt.status().active
        """,
        source_file.path,
        env=source_file.env,
    )
