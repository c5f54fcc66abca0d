"""Announced snapshots across fork, and in clones of a program that stands still."""

import time

import pytest

from ..helpers.lab import after
from ..helpers.managed import Client

pytestmark = pytest.mark.internals


@pytest.fixture
def log(lab, tmp_path):
    path = tmp_path / "log"
    path.touch()
    lab.env["TEST_LOG"] = str(path)

    def read(count):
        """By process, in order; once there are that many lines, and no more follow."""
        end = time.monotonic() + 20
        while len(lines := path.read_text().splitlines()) < count:
            assert time.monotonic() < end, lines
            time.sleep(0.01)
        assert len(lines) == count, lines
        found = {}
        for line in lines:
            pid, _, name = line.partition(" ")
            found.setdefault(int(pid), []).append(name)
        path.write_text("")
        return found

    return read


def alike(pids, names):
    return dict.fromkeys(pids, names)


CHILD = """
pid = os.fork()
if pid == 0:
    {body}
    signal.pause()
answer = pid"""


@pytest.mark.parametrize("restored", [False, True])
def test_a_child_takes_a_lock_of_its_own(lab, log, restored):
    one = lab.program("logged_pair('a'); logged_pair('b'); locked()")
    children = [one(CHILD.format(body="pass")) for _ in range(5)]
    lab.until_locks(6)
    assert {lock["pid"] for lock in lab.inhibitors()} == {one.pid, *children}
    told = lab.quiesce()
    assert told["late"] == []
    every = {one.pid, *children}
    assert log(12) == alike(every, ["before b", "before a"])
    lab.call("Unquiesce", restored=restored)
    kind = "clone" if restored else "original"
    assert log(12) == alike(every, [f"{kind} a", f"{kind} b"])
    lab.until_locks(6)
    one(f"for pid in {children}: os.kill(pid, signal.SIGKILL), os.waitpid(pid, 0)")
    lab.until_locks(1)


def test_a_child_forked_in_the_middle_goes_on_where_its_parent_was(lab, log):
    one = lab.program("""
go = threading.Event()
inside = threading.Event()
logged_pair("a")
@snapsafe_rt.register_before_snapshot
def waits():
    inside.set()
    go.wait(20)
    logged("waited")()
logged_pair("c")
locked()
asking = threading.Thread(target=ask, args=("Quiesce",))
asking.start()
inside.wait(20)""")
    child = one(CHILD.format(body="go.set()"))
    assert log(3) == {one.pid: ["before c"], child: ["waited", "before a"]}
    one("go.set(); asking.join(20)")
    assert log(2) == {one.pid: ["waited", "before a"]}
    lab.call("Unquiesce")
    assert log(4) == alike([one.pid, child], ["original a", "original c"])
    one(f"os.kill({child}, signal.SIGKILL); os.waitpid({child}, 0)")


@pytest.mark.parametrize("restored", [False, True])
def test_a_child_forked_while_its_parent_stands_still(lab, log, restored):
    one = lab.program("logged_pair('a'); locked()")
    lab.quiesce()
    assert log(1) == {one.pid: ["before a"]}
    one("phase('quiesced')")
    child = one(CHILD.format(body="pass"))
    time.sleep(0.3)  # nothing may happen
    assert log(0) == {}
    assert lab.inhibitors() == []
    lab.call("Unquiesce", restored=restored)
    kind = "clone" if restored else "original"
    assert log(2) == alike([one.pid, child], [f"{kind} a"])
    lab.until_locks(2)
    one(f"os.kill({child}, signal.SIGKILL); os.waitpid({child}, 0)")


@pytest.mark.parametrize("failed", [False, True])
def test_a_child_forked_while_the_end_is_told_is_told_the_rest(lab, log, failed):
    """Also of a snapshot that a callback refused. Afterwards the child is asked as any other."""
    one = lab.program(f"FAILED = {failed}")
    one("""
sys.unraisablehook = lambda args: None
go, inside, fails = threading.Event(), threading.Event(), FAILED
def waits():
    inside.set()
    go.wait(20)
    logged("waited")()
def refuses():
    if fails: raise ValueError
logged_pair("a")
snapsafe_rt.register_at_snapshot(after_in_original=waits)
logged_pair("c")
snapsafe_rt.register_before_snapshot(refuses)
locked()
asking = threading.Thread(target=lambda: ask("Quiesce", "Unquiesce") if not FAILED else refused())
def refused():
    try: ask("Quiesce")
    except AssertionError: pass
asking.start()
assert inside.wait(20)""")
    child = one(CHILD.format(body="go.set(); fails = False"))
    assert log(5) == {one.pid: ["before c", "before a", "original a"], child: ["waited", "original c"]}
    one("go.set(); asking.join(20); fails = False")
    assert log(2) == {one.pid: ["waited", "original c"]}
    lab.until_locks(2)
    assert lab.quiesce()["late"] == []
    assert log(4) == alike([one.pid, child], ["before c", "before a"])
    lab.call("Unquiesce")
    assert log(6) == alike([one.pid, child], ["original a", "waited", "original c"])
    one(f"os.kill({child}, signal.SIGKILL); os.waitpid({child}, 0)")


def test_a_child_that_runs_an_event_first_is_told_the_rest_as_well(lab, log):
    """What would tell it finds the delivery lock taken when it is woken, and nothing else wakes it."""
    one = lab.program("""
go, inside = threading.Event(), threading.Event()
def waits():
    inside.set()
    go.wait(20)
    logged("waited")()
def slow():
    time.sleep(0.3)
    logged("slow")()
logged_pair("a")
snapsafe_rt.register_at_snapshot(after_in_original=waits, after_in_clone=slow)
locked()
asking = threading.Thread(target=ask, args=("Quiesce", "Unquiesce"))
asking.start()
assert inside.wait(20)""")
    child = one(CHILD.format(body="go.set(); snapsafe_rt.notify_restored()"))
    found = log(5)
    assert found.pop(one.pid) == ["before a", "original a"]
    assert {pid: sorted(names) for pid, names in found.items()} == {child: ["clone a", "slow", "waited"]}
    one("go.set(); asking.join(20)")
    assert log(1) == {one.pid: ["waited"]}
    lab.until_locks(2)
    one(f"os.kill({child}, signal.SIGKILL); os.waitpid({child}, 0)")


def test_a_child_forked_by_a_callback(lab, log):
    one = lab.program("""
@snapsafe_rt.register_before_snapshot
def forks():
    pid = os.fork()
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)
logged_pair("a")
locked()""")
    for _ in range(3):
        assert lab.quiesce()["late"] == []
        assert log(1) == {one.pid: ["before a"]}
        lab.call("Unquiesce")
        assert log(1) == {one.pid: ["original a"]}
        one("locked()")


def test_a_program_that_forks_often_keeps_its_lock(lab):
    one = lab.program("pair('a'); locked()")
    one("""
for _ in range(50):
    pid = os.fork()
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)""")
    lab.until_locks(1)
    assert lab.quiesce()["late"] == []
    assert one("answer = taken()") == ["before a"]
    lab.call("Unquiesce")
    assert after(one) == ["original a"]


CLONES = """
import sys
import snapsafe_rt
from announced import *
from snapsafe_rt import entropy
from snapsafe_rt.source import vmclock_file
from snapsafe_rt.core import native
from snapsafe_rt.testing.clones import run_clones

COUNT, KEPT = 20, {}
published = sys.argv[1]

def renew():
    KEPT["id"] = entropy(8)
    calls.append("renewed")

def prepare():
    KEPT["id"] = entropy(8)
    if REGISTERED:
        pair("a")
        snapsafe_rt.register_at_snapshot(after_in_clone=renew)
        locked()
        ask("Quiesce")
        phase("quiesced")
        assert taken() == ["before a"]
        # In a clone of a process the calling thread alone goes on, and here nothing may wait for another one.
        from snapsafe_rt.restore import watcher
        assert native.wait_quiet(10000)  # what ran the callbacks goes on looking where no thread is left to do it
        watcher._ended = True  # what has begun since starts none
        native.plan_watching([], False, None)
        assert native.wait_quiet(10000)
        watcher._planned, watcher._ended = watcher._NOTHING, False
        ask("Unquiesce")

def body(number):
    if REGISTERED:
        from snapsafe_rt.snapshot.lifecycle import program
        program.woken(True)
        expected = ["clone a", "renewed"] if MOVED else ["original a"]
        assert calls == expected, calls
        program.woken(True)
        snapsafe_rt.check()
        assert calls == expected and program.now.phase == "running", calls
        assert snapsafe_rt.epoch() == MOVED
    return KEPT["id"]

clones = run_clones(COUNT, body, prepare=prepare, source=vmclock_file.FileSource(published) if MOVED else None)
print(len(set(clones)))
"""


@pytest.mark.parametrize(("registered", "moved", "distinct"), [(True, 1, 20), (True, 0, 1), (False, 1, 1)])
def test_clones_of_a_program_that_stands_still(lab, run_python, compile_native, registered, moved, distinct):
    """Each runs its callbacks once; without them all keep the id of their template."""
    said = run_python(
        f"REGISTERED, MOVED = {registered}, {moved}\n" + CLONES,
        lab.manager.file,
        env={**lab.env, "LD_PRELOAD": str(compile_native("wipe_off.c")), "SNAPSAFE_TEST_WIPE": "ignored"},
    )
    assert int(said) == distinct


def test_forks_one_after_the_other_draw_no_warning(lab):
    """Each gives up the lock, and what takes it again is a thread at work for a moment: the next fork waits for that,
    though not for ever (without that: 20 to 30 warnings). The twin is a fork beside a callback, for which none may
    wait: CPython warns of it."""
    one = lab.program("snapsafe_rt.register_before_snapshot(int); locked()")
    one("""
import warnings
warnings.resetwarnings(); warnings.simplefilter("always")
said = []
warnings.showwarning = lambda message, *_: said.append(str(message))
def fork():
    pid = os.fork()
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)
for _ in range(200): fork()
assert len(said) <= 2, said
""")
    one("""
inside, forked = threading.Event(), threading.Event()
def wait(): inside.set(); forked.wait(10)
snapsafe_rt.register_before_snapshot(wait)
locked()
""")
    with Client(lab.manager.socket) as client:
        client.send({"method": "org.snapsafe.Manager.Quiesce"})
        one("""
assert inside.wait(10)
fork()
forked.set()
assert any("multi-threaded" in text for text in said) == (sys.version_info >= (3, 12)), said
""")
        assert client.receive()["parameters"]["late"] == []
