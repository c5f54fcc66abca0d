"""Programs that are asked before a snapshot and told after it, with the real manager."""

import contextlib
import os
import time

import pytest

from ..helpers.lab import after
from ..helpers.managed import Client


def test_last_in_first_out_before_and_first_in_first_out_after(lab):
    one = lab.program("""
pair("a")
snapsafe_rt.register_before_snapshot(calls.append, "before b")
snapsafe_rt.register_after_restore(calls.append, "clone b")
pair("c")
locked()""")
    assert [(lock["what"], lock["mode"], lock["pid"]) for lock in lab.inhibitors()] == [("snapshot", "delay", one.pid)]
    told = lab.quiesce()
    assert told["late"] == []
    assert told["snapshot"] == 1
    assert lab.inhibitors() == []
    assert one("answer = taken()") == ["before c", "before b", "before a"]
    assert one("answer = lifecycle()")["phase"] == "quiesced"
    lab.call("Unquiesce")
    assert after(one) == ["original a", "original c"]
    assert one("answer = lifecycle()")["last_snapshot"]["came_of"] == "original"
    assert lab.quiesce()["late"] == []
    assert one("answer = taken()") == ["before c", "before b", "before a"]
    lab.call("Unquiesce", restored=True)
    assert after(one) == ["clone a", "clone b", "clone c"]
    last = one("answer = lifecycle()")["last_snapshot"]
    assert (last["number"], last["came_of"], last["errors"]) == (2, "clone", [])
    assert one("answer = snapsafe_rt.epoch()") == 1


@pytest.mark.parametrize("settings", [{"SNAPSAFE_LIFECYCLE": "off"}, {"SNAPSAFE_WATCH": "0"}, {"SNAPSAFE": "0"}])
def test_who_does_not_want_is_not_asked(lab, settings):
    """The twin of the above: without the lock the snapshot is taken of a program that knows nothing."""
    one = lab.program("pair('a')", env=settings)
    asked = lab.program("pair('b'); locked()")
    assert [lock["pid"] for lock in lab.inhibitors()] == [asked.pid]
    lab.quiesce()
    lab.call("Unquiesce", restored=True)
    assert after(asked) == ["before b", "clone b"]
    told = one("answer = lifecycle()")
    assert not told["lock"]
    assert told["last_snapshot"] is None
    expected = {"SNAPSAFE_LIFECYCLE": "off", "SNAPSAFE_WATCH": "SNAPSAFE_WATCH=0", "SNAPSAFE": "not active"}
    [(name, value)] = settings.items()
    assert value in told["kind"] or expected[name] in told["reason"], told
    assert not [call for call in one("answer = taken()") if call != "clone a"]


def test_what_nobody_registers_costs_nothing(lab, run_python):
    run_python(
        """
    import os, sys
    import snapsafe_rt
    from restored import descriptors, threads, until
    before = descriptors(), threads()
    assert len(before[1]) == 1
    snapsafe_rt.epoch(), snapsafe_rt.check()
    assert (descriptors(), threads()) == before
    def as_before():  # the runner reads files when first woken
        return until(lambda: descriptors() == before[0])
    snapsafe_rt.register_after_restore(print)
    assert as_before(), descriptors()
    assert not {"snapsafe_rt.snapshot.lifecycle", "json", "jeepney"} & set(sys.modules)
    snapsafe_rt.register_before_snapshot(print)
    assert "snapsafe_rt.snapshot.lifecycle" in sys.modules and as_before(), descriptors()
    """,
        env=lab.env,
    )
    assert lab.inhibitors() == []


def test_a_restore_that_a_draw_noticed_first_is_told_once(lab):
    """Nobody says that it was one: the generation does."""
    one = lab.program("""
import random
pair("a")
locked()
snapsafe_rt.register_before_snapshot(lambda: answers.append(random.Random(1).random()))
answers = []
def draw():
    while True: os.urandom(8)
threading.Thread(target=draw, daemon=True).start()""")
    lab.call("Quiesce", hold=True)
    assert after(one, "quiesced") == ["before a"]
    lab.device.bump()
    one("assert until(lambda: native.inspect_epoch().restores == 1)")
    assert one("answer = taken(), lifecycle()['phase']") == [[], "quiesced"]  # the file systems may still be frozen
    one("""
checked = []
waiting = threading.Thread(target=lambda: checked.append((snapsafe_rt.check(), taken())))
waiting.start()""")
    said = one("""
try: snapsafe_rt.check(0.1)
except TimeoutError as error: answer = str(error)""")
    assert "waits for the end of a snapshot" in said
    lab.call("Unquiesce")
    one("waiting.join(20)")
    assert one("answer = checked") == [[1, ["clone a"]]]  # the barrier held
    assert after(one) == []
    assert one("answer = lifecycle()")["last_snapshot"]["came_of"] == "clone"


def test_the_manager_notices_a_restore_and_lets_go_on(lab):
    one = lab.program("pair('a'); locked()")
    lab.quiesce()
    lab.device.bump()
    assert after(one) == ["before a", "clone a"]
    lab.call("Unquiesce")  # too late: an error, and no second restore
    assert after(one) == []
    assert one("answer = snapsafe_rt.epoch()") == 1


def test_a_failing_callback_refuses_the_snapshot(lab):
    one = lab.program("""
sys.unraisablehook = lambda args: unraised.append(str(args.exc_value))
unraised = []
pair("a")
pair("b", ValueError("no\\u20ac"))
pair("c")
snapsafe_rt.register_at_snapshot(after_in_original=note("original d"))
locked()""")
    other = lab.program("pair('other'); locked()")
    told = lab.call("Quiesce")
    assert told["error"].endswith("CallbackFailed"), told
    [failed] = told["parameters"]["failed"]
    assert failed["pid"] == one.pid
    assert failed["errors"] == ["announced.before b: ValueError: no\\u20ac"]
    assert after(one) == ["before c", "before b", "before a", "original a", "original c", "original d"]
    assert after(other) == ["before other", "original other"]
    assert one("answer = unraised") == ["no\u20ac"]
    last = one("answer = lifecycle()")["last_snapshot"]
    assert last["came_of"] == "failed"
    assert len(last["errors"]) == 1
    assert lab.call("Describe")["parameters"]["state"] == "running"


def test_it_runs_again_when_what_was_done_is_undone_and_not_before(lab):
    """The thread that looks for the snapshot's end sees it while the other is held off the CPU."""
    one = lab.program("""
sys.unraisablehook = lambda args: None
pair("a")
pair("b", ValueError())
from snapsafe_rt.snapshot.lifecycle import program
run = program._run
program._run = lambda *args: ((time.sleep(0.3) if program.now.phase == "late" else None), run(*args))[1]
locked()""")
    assert lab.call("Quiesce")["error"].endswith("CallbackFailed")
    assert after(one) == ["before b", "before a", "original a"]
    assert one("answer = lifecycle()")["last_snapshot"]["came_of"] == "failed"


def test_who_saw_the_end_of_one_snapshot_does_not_end_the_next(lab):
    one = lab.program("""
pair("a")
from snapsafe_rt.snapshot.lifecycle import program
runner, saw, go, looked = [], threading.Event(), threading.Event(), threading.Event()
snapsafe_rt.register_before_snapshot(lambda: runner or runner.append(threading.get_ident()))
still_on, look = type(program.announcer).still_on, program.look
def held(self):  # the thread that ran the callbacks: once it has seen the end
    if runner != [threading.get_ident()] or saw.is_set():
        return still_on(self)
    assert until(lambda: not still_on(self))
    saw.set()
    assert go.wait(20)
    return False
def looks():
    look()
    if runner == [threading.get_ident()]: looked.set()
type(program.announcer).still_on, program.look = held, looks
locked()""")
    assert lab.quiesce()["late"] == []
    lab.call("Unquiesce")
    one("assert saw.wait(20)")
    assert after(one) == ["before a", "original a"]
    assert lab.quiesce()["late"] == []
    one("phase('quiesced'); go.set(); assert looked.wait(20)")
    assert after(one, "quiesced") == ["before a"]
    lab.call("Unquiesce")
    assert after(one) == ["original a"]


def test_many_long_errors_fit_into_a_message(lab):
    one = lab.program("""
sys.unraisablehook = lambda args: None
for number in range(40): pair(str(number), ValueError('"\\U0001f600' * 2000))
locked()""")
    [failed] = lab.call("Quiesce")["parameters"]["failed"]
    assert len(failed["errors"]) == 8
    assert failed["errors"][-1] == "33 more"
    assert len(after(one)) == 40


def test_a_callback_that_hangs_is_named_and_the_program_goes_on(lab):
    one = lab.program("""
go = threading.Event()
pair("a")
snapsafe_rt.register_before_snapshot(go.wait)
pair("c")
locked()""")
    assert [late["pid"] for late in lab.quiesce(timeout=0.2)["late"]] == [one.pid]
    one("assert until(lambda: 'wait' in lifecycle()['reason']), lifecycle()")
    assert one("answer = taken()") == ["before c"]
    lab.call("Unquiesce")
    assert one("answer = lifecycle()")["phase"] == "before"
    one("go.set()")
    assert after(one) == ["before a", "original a", "original c"]
    assert lab.quiesce()["late"] == []


def test_a_manager_that_comes_late_goes_and_comes_again(bare):
    bare.start().close()  # for its file
    one = bare.program("pair('a')")
    one("assert until(lambda: 'no manager' in lifecycle()['reason']), lifecycle()")
    assert one("answer = native.inspect_watcher().how") is not None
    for _ in range(3):
        manager = bare.start()
        bare.until_locks(1)
        assert one("answer = locked()")
        bare.quiesce()
        bare.call("Unquiesce")
        assert after(one) == ["before a", "original a"]
        manager.close()  # killed
        one("assert until(lambda: not lifecycle()['lock'])")


def test_a_manager_that_is_killed_while_all_stand_still(bare):
    """The one that comes after it says that all run; if none comes, nobody waits longer than it had said."""
    bare.start()
    one = bare.program("pair('a'); locked()")
    bare.quiesce()
    bare.manager.close()
    bare.start()
    assert after(one) == ["before a", "original a"]
    bare.manager.close()
    bare.start(options=("--quiesced-max", "0.3"))
    one("locked(); announcers.GRACE_SECONDS = 0.2")
    bare.quiesce()
    bare.manager.close()
    assert one("phase('running'); answer = taken()") == ["before a", "original a"]


def test_a_manager_that_ends_while_all_stand_still(lab):
    one = lab.program("pair('a'); locked()")
    lab.quiesce()
    lab.manager.end()
    assert one("phase('running'); answer = taken()") == ["before a", "original a"]


def test_an_orchestrator_that_dies_while_others_are_waited_for(lab):
    one = lab.program("pair('a'); locked()")
    slow = lab.program("go = threading.Event(); snapsafe_rt.register_before_snapshot(go.wait); locked()")
    with Client(lab.manager.socket) as client:
        client.send({"method": "org.snapsafe.Manager.Quiesce"})
        assert after(one, "quiesced") == ["before a"]
    assert after(one) == ["original a"]
    slow("go.set(); locked()")


def test_who_comes_while_all_stand_still_waits_for_the_end(lab):
    lab.quiesce()
    one = lab.program("pair('a')")
    one("phase('late')")
    assert lab.inhibitors() == []
    lab.call("Unquiesce")
    assert after(one) == []
    lab.quiesce()
    assert after(one, "quiesced") == ["before a"]


@pytest.mark.parametrize("with_manager", [True, False])
def test_idle_means_no_wakeup(bare, with_manager):
    if with_manager:
        bare.start()
    one = bare.program("pair('a')")
    if with_manager:
        one("locked()")
    one("""
assert until(lambda: snapsafe_rt.status().watching['how'] == 'inotify'), snapsafe_rt.status().watching
def seen(): return native.inspect_watcher().wakeups, switches()
before, after = stays(seen, 1.5)
assert after == before, (before, after)
assert len(before[1]) == 2""")


def held(pid):
    """What the kernel knows of the process, and of its watcher, whose table is its own."""
    found = set()
    for tid in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError):  # a thread that ended, or closed it, meanwhile
            for fd in os.listdir(f"/proc/{pid}/task/{tid}/fd"):
                found.add(os.readlink(f"/proc/{pid}/task/{tid}/fd/{fd}").partition(":[")[0])
    return found


def test_who_stands_still_holds_nothing(lab):
    one = lab.program("pair('a'); locked(); assert until(lambda: snapsafe_rt.status().watching['how'] == 'inotify')")
    assert {"anon_inode:inotify", "socket"} <= held(one.pid)  # the twin
    before = set(one("answer = at_rest(lambda: sorted(descriptors().values()))"))
    lab.quiesce()
    one("phase('quiesced')")
    # A pipe from the test, and what a Python has: nothing of ours, a moment after the manager was told.
    end = time.monotonic() + 10
    while {"anon_inode:inotify", "socket", "anon_inode:[signalfd]"} & held(one.pid):
        assert time.monotonic() < end, held(one.pid)
    # The state's file is read once more when the machine stands still.
    one(f"assert until(lambda: set(descriptors().values()) == {before!r}), descriptors()")
    lab.call("Unquiesce")
    after(one)
    one("assert until(lambda: snapsafe_rt.status().watching['how'] == 'inotify')")
    assert {"anon_inode:inotify", "socket"} <= held(one.pid)


def test_cycles_leak_nothing(lab):
    cycles = int(os.environ.get("SNAPSAFE_TEST_CYCLES", "30"))  # CI: 1000
    one = lab.program("pair('a'); locked()")
    size = "answer = *at_rest(lambda: (len(descriptors()), len(threads()))), resident()"

    def run(count):
        for number in range(count):
            assert lab.quiesce()["late"] == []
            lab.call("Unquiesce", restored=number % 2 == 0)
            assert len(after(one)) == 2

    run(10)
    before = one(size), len(os.listdir(f"/proc/{lab.manager.pid}/fd"))
    run(cycles)
    now = one(size), len(os.listdir(f"/proc/{lab.manager.pid}/fd"))
    assert now[0][:2] == before[0][:2], (before, now)
    assert now[1] == before[1], (before, now)
    assert now[0][2] - before[0][2] < 1024, (before, now)  # KiB


@pytest.mark.parametrize("how", ["sys.exit(3)", "os._exit(3)"])
def test_exit_while_a_callback_hangs(lab, how):
    one = lab.program("snapsafe_rt.register_before_snapshot(threading.Event().wait); locked()")
    with Client(lab.manager.socket) as client:
        client.send({"method": "org.snapsafe.Manager.Quiesce"})
        one("phase('before')")
        one.say(how)
        assert one.process.wait(10) == 3
        told = client.receive()["parameters"]
    assert told["late"] == []
    assert told["seconds"] < 4.9  # not by the manager's limit of 5


def test_deactivate_in_each_phase(lab):
    one = lab.program("pair('a'); locked(); snapsafe_rt.deactivate()")
    assert lab.inhibitors() == []
    one("snapsafe_rt.activate(); locked()")
    lab.quiesce()
    assert after(one, "quiesced") == ["before a"]
    one("snapsafe_rt.deactivate()")
    lab.call("Unquiesce", restored=True)
    one("assert snapsafe_rt.check() == 0")
    assert one("answer = taken()") == []
    one("snapsafe_rt.activate(); locked()")
    one("snapsafe_rt.deactivate(); snapsafe_rt.activate(); locked()")
    one("snapsafe_rt.register_before_snapshot(snapsafe_rt.deactivate)")
    assert lab.quiesce()["late"] == []
    one("assert until(lambda: not state.active and len(threads()) == 1), threads()")
    assert lab.inhibitors() == []


def test_the_last_unregistered_lets_go_of_the_lock(lab):
    one = lab.program("snapsafe_rt.register_before_snapshot(print); locked(); snapsafe_rt.unregister(print)")
    assert lab.inhibitors() == []
    one("assert until(lambda: len(threads()) == 1), threads()")
    assert one("answer = lifecycle()")["lock"] is False


def test_asyncio(lab):
    one = lab.program("""
import asyncio
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
def here(name):
    async def callback():
        await asyncio.sleep(0.01)
        await snapsafe_rt.acheck()
        calls.append((name, asyncio.get_running_loop() is loop))
    return callback
async def register():
    snapsafe_rt.register_at_snapshot(before=here("b1"), after_in_original=here("o1"), after_in_clone=here("c1"))
    snapsafe_rt.register_at_snapshot(before=here("b2"), after_in_original=here("o2"), after_in_clone=here("c2"))
asyncio.run_coroutine_threadsafe(register(), loop).result()
locked()""")
    lab.quiesce()
    assert after(one, "quiesced") == [["b2", True], ["b1", True]]
    lab.call("Unquiesce")
    assert after(one) == [["o1", True], ["o2", True]]
    lab.quiesce()
    lab.call("Unquiesce", restored=True)
    assert after(one) == [["b2", True], ["b1", True], ["c1", True], ["c2", True]]


def test_gevent(lab):
    pytest.importorskip("gevent")
    one = lab.program("""
from gevent import monkey
monkey.patch_all()
import gevent
def start():
    def work():
        pair("g")
        gevent.sleep(3600)
    gevent.spawn(work)
    gevent.sleep(0.05)
start()
locked()
def turn(seconds): gevent.sleep(seconds)
""")
    with Client(lab.manager.socket) as client:
        client.send({"method": "org.snapsafe.Manager.Quiesce"})
        one("turn(0.5)")
        assert client.receive()["parameters"]["late"] == []
    assert one("answer = taken()") == ["before g"]
    lab.call("Unquiesce")
    one("turn(0.5)")
    assert one("answer = taken()") == ["original g"]


def test_status_from_outside_tells_the_lock_and_the_last_snapshot(lab):
    from snapsafe_rt.report import remote

    one = lab.program("pair('a'); locked()")
    told = remote.inspect(one.pid).lifecycle
    assert told["lock"], told
    assert told["kind"] == "snapsafe", told
    assert told["last_snapshot"] is None, told
    assert not told["reason"], told
    lab.quiesce()
    one("phase('quiesced')")
    told = remote.inspect(one.pid).lifecycle
    assert not told["lock"], told
    assert told["phase"] == "quiesced", told
    assert told["last_snapshot"]["ended"] is None, told
    lab.call("Unquiesce")
    after(one)
    told = remote.inspect(one.pid).lifecycle
    assert told["lock"], told
    assert told["last_snapshot"]["came_of"] == "original", told
    os.kill(lab.manager.pid, 9)
    one("assert until(lambda: not lifecycle()['lock'])")
    assert not remote.inspect(one.pid).lifecycle["lock"]


def test_what_only_the_event_renews_does_not_wait_for_the_end(lab):
    """A clone whose orchestrator has more to do first: its threads draw meanwhile. Callbacks wait, as they must."""
    one = lab.program("""
from refreshed_library import drawn as ids
pair("a"); locked()
first = ids()""")
    lab.quiesce(hold=True)
    one("phase('quiesced')")
    assert one("answer = ids() == first")
    lab.device.bump()
    one("assert until(lambda: ids() != first); second = ids()")
    assert one("answer = taken()") == ["before a"]
    assert one("answer = lifecycle()")["phase"] == "quiesced"
    lab.call("Unquiesce")
    assert after(one) == ["clone a"]
    assert one("answer = ids() != first")
