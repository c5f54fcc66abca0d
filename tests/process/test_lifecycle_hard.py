"""Programs that are asked before a snapshot, and everything that may come in between."""

import pytest

from ..helpers.lab import after
from ..helpers.managed import Client


@pytest.mark.parametrize("forks", ["callback", "thread"])
def test_a_fork_while_callbacks_run_keeps_the_lock(lab, forks):
    one = lab.program(
        """
go = threading.Event()
pair("a")
def slow():
    if FORKS == "callback": child()
    go.wait()
    calls.append("slow")
def child():
    pid = os.fork()
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)
snapsafe_rt.register_before_snapshot(slow)
locked()""".replace("FORKS", repr(forks))
    )
    with Client(lab.manager.socket) as client:
        client.send({"method": "org.snapsafe.Manager.Quiesce"})
        one("phase('before')")
        if forks == "thread":
            one("child()")
        client.peer.settimeout(1)
        try:
            early = client.receive()
        except TimeoutError:
            early = None
        assert early is None, early
        one("go.set()")
        client.peer.settimeout(30)
        assert client.receive()["parameters"]["late"] == []
    assert after(one, "quiesced") == ["slow", "before a"]
    lab.call("Unquiesce")
    assert after(one) == ["original a"]


def test_no_thread_to_be_had_while_all_stand_still(lab):
    one = lab.program("""
import resource
pair("a")
locked()
os.setuid(54321)
assert until(lambda: snapsafe_rt.status().watching["how"] != "starting")
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))""")
    lab.quiesce()
    lab.call("Unquiesce")
    one("assert until(lambda: 'original a' in calls), (calls, lifecycle(), snapsafe_rt.status().watching)")


def test_a_socket_without_the_file_beside_it(lab):
    """A container that only the socket is mounted into: it could not be told when the snapshot is over."""
    link = lab.folder / "elsewhere"
    link.symlink_to(lab.manager.socket)
    one = lab.program("pair('a')", env={"TEST_MANAGER": str(link)})
    asked = lab.program("pair('b'); locked()")
    said = "share the folder, not the socket"
    one(f"assert until(lambda: {said!r} in lifecycle()['reason']), lifecycle()")
    assert [lock["pid"] for lock in lab.inhibitors()] == [asked.pid]
    lab.quiesce()
    before, begun = one("answer = stays(lambda: (native.inspect_watcher().wakeups, len(threads())))")
    assert begun == before
    assert one("answer = taken()") == []
    lab.call("Unquiesce")
    link.with_name("elsewhere.state").symlink_to(f"{lab.manager.socket}.state")
    one("snapsafe_rt.unregister(print); from snapsafe_rt.restore import watcher; watcher.update(); locked()")


def test_no_room_for_the_word_that_all_are_ready(lab):
    """Programs would take it that the time is over for which others are waited, and go on before Unquiesce."""
    one = lab.program("""
go = threading.Event()
pair("a")
snapsafe_rt.register_before_snapshot(go.wait)
locked()""")
    with Client(lab.manager.socket) as client:
        client.send({"method": "org.snapsafe.Manager.Quiesce"})
        one("phase('before')")
        (lab.folder / "socket.state.new").mkdir()
        one("go.set()")
        answer = client.receive()
    assert answer.get("error", "").endswith(".NotPublished"), answer
    assert "socket.state" in answer["parameters"]["reason"]
    one("phase('running')")
    assert one("answer = taken()") == ["before a", "original a"]
    assert not one("answer = lifecycle()")["lock"]  # it could not be told of the end
    (lab.folder / "socket.state.new").rmdir()
    found = lab.call("Describe")["parameters"]
    assert (found["state"], found["lastSnapshot"]["ended"]) == ("running", "not told")
    lab.until_locks(1)  # nobody asks the program, which would look
    assert lab.quiesce()["late"] == []
    lab.call("Unquiesce")
    assert after(one) == ["before a", "original a"]


def test_a_manager_whose_stderr_nobody_reads_any_more(bare):
    bare.start(under=("bash", "-c", 'exec "$@" 2> >(exec true)', "bash"))
    one = bare.program("go = threading.Event(); snapsafe_rt.register_before_snapshot(go.wait); locked()")
    assert [late["pid"] for late in bare.quiesce(timeout=0.1)["late"]] == [one.pid]  # it says that on stderr, too
    bare.call("Unquiesce")
    one("go.set(); locked()")
    assert bare.quiesce()["late"] == []


@pytest.mark.parametrize(
    "text",
    [
        '{"state":"quiesced","snapshot":1e999,"until":0}',
        '{"state":"quiesced","snapshot":7,"until":NaN}',
        "[" * 4096,
        "",
        "null",
    ],
)
def test_whatever_the_state_file_says_nobody_waits_for_ever(lab, text):
    one = lab.program("""
announcers.GRACE_SECONDS = announcers.QUIESCING_SECONDS = 0.2
sys.unraisablehook = lambda args: raised.append(repr(args.exc_value))
raised = []
pair("a")
locked()""")
    lab.quiesce()
    one("phase('quiesced')")
    (lab.folder / "socket.state").write_text(text)
    one("assert until(lambda: len(calls) == 2), (calls, lifecycle())")
    assert one("answer = taken(), raised") == [["before a", "original a"], []]
    lab.call("Unquiesce")
    one("locked()")


def test_a_program_that_never_stops_forking_goes_on(lab):
    """Each fork restarts the watcher, which comes to no tick."""
    one = lab.program("""
pair("a")
locked()
stop = threading.Event()
def fork():
    while not stop.wait(0.002):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
forks = threading.Thread(target=fork)""")
    lab.quiesce()
    one("phase('quiesced'); forks.start(); time.sleep(0.2)")
    lab.call("Unquiesce")
    one("assert until(lambda: calls == ['before a', 'original a']), (calls, lifecycle())")
    one("stop.set(); forks.join(); locked()")


@pytest.mark.parametrize(
    "odd",
    [
        "snapsafe_rt.deactivate(); snapsafe_rt.activate()",
        "snapsafe_rt.check(); snapsafe_rt.notify_restored()",
        "snapsafe_rt.register_before_snapshot(print); snapsafe_rt.unregister(print)",
        "pair('later')",
        "subprocess.run(['true'], preexec_fn=os.getpid, check=True)",
        "snapsafe_rt.status(); os.closerange(3, 256)",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (0, 256))",
        "lab = Manager(settings.MANAGER).call('Describe')",
    ],
)
def test_whatever_a_callback_does_the_program_goes_on(lab, odd):
    one = lab.program(f"""
import resource, subprocess
from snapsafe_rt import settings
from snapsafe_rt.manager.client import Manager
def odd():
    {odd}
    calls.append("odd")
pair("a")
snapsafe_rt.register_before_snapshot(odd)
locked()""")
    told = lab.quiesce()
    assert told["late"] == [], told
    lab.call("Unquiesce")
    one("resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))")
    one("assert until(lambda: lifecycle()['phase'] == 'running' and len(calls) >= 2), (calls, lifecycle())")
    assert one("answer = taken()")[0] == "odd"
    one("locked(); snapsafe_rt.unregister(odd)")
    assert lab.quiesce()["late"] == []
    lab.call("Unquiesce")
    assert after(one)[-1].startswith("original")


@pytest.mark.parametrize("raised", ["SystemExit(3)", "KeyboardInterrupt()", "Wordless()"])
def test_no_exception_ends_the_program(lab, raised):
    one = lab.program("""
class Wordless(Exception):
    def __str__(self): raise ValueError""")
    one(f"sys.unraisablehook = lambda args: None; pair('a'); pair('b', {raised}); locked()")
    assert lab.call("Quiesce")["error"].endswith("CallbackFailed")
    assert after(one) == ["before b", "before a", "original a"]


@pytest.mark.parametrize("phase", ["before", "quiesced", "late"])
def test_the_interpreter_ends_in_each_phase(lab, phase):
    one = (
        lab.program("snapsafe_rt.register_before_snapshot(threading.Event().wait); locked()")
        if phase == "before"
        else None
    )
    if phase == "quiesced":
        one = lab.program("pair('a'); locked()")
    with Client(lab.manager.socket) as client:
        client.send({"method": "org.snapsafe.Manager.Quiesce"})
        if phase == "late":
            client.receive()
            one = lab.program("pair('a')")
        one(f"phase({phase!r})")
        one.say("sys.exit(3)")
        assert one.process.wait(30) == 3
    lab.manager.until(lambda told: told["state"] in ("quiesced", "running"))


def test_a_child_forked_in_the_middle_is_told_the_end_it_was_not_there_for(lab):
    """It is stopped before it could ask for a lock, and by the time that it has one the snapshot is over."""
    one = lab.program("""
reader, writer = os.pipe()
child, stops = 0, False
os.register_at_fork(after_in_child=lambda: stops and os.kill(os.getpid(), signal.SIGSTOP))
def forks():
    global child, stops
    stops = True
    child = os.fork()
    if child == 0:
        until(lambda: len(calls) == 2)
        os.write(writer, repr((calls, lifecycle()["phase"])).encode())
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    stops = False
snapsafe_rt.register_before_snapshot(forks)
pair("a")
locked()""")
    assert lab.quiesce()["late"] == []
    lab.call("Unquiesce")
    assert after(one) == ["before a", "original a"]
    one("os.kill(child, signal.SIGCONT)")
    told = one("answer = os.read(reader, 1000).decode(); os.waitpid(child, 0)")
    assert "['before a', 'original a']" in told, told


@pytest.mark.parametrize("how", ["request", "check", "acheck"])
@pytest.mark.parametrize("kind", ["before", "after_in_original"])
def test_a_check_on_the_loop_that_callbacks_around_a_snapshot_run_on(lab, kind, how):
    """A restore comes while one of them runs: a clone of a program that was late. Neither waits for the other."""
    one = lab.program(f"KIND, HOW = {kind!r}, {how!r}")
    one("""
import asyncio
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
began, go = threading.Event(), threading.Event()
async def check():
    return snapsafe_rt.check()
async def slow():
    began.set()
    while not go.is_set(): await asyncio.sleep(0.001)
    if HOW == "check": calls.append(snapsafe_rt.check())
    if HOW == "acheck": calls.append(await snapsafe_rt.acheck())
    calls.append("slow")
async def register():
    snapsafe_rt.register_at_snapshot(**{KIND: slow})
asyncio.run_coroutine_threadsafe(register(), loop).result()
pair("a")
locked()""")
    with Client(lab.manager.socket) as client:
        client.send({"method": "org.snapsafe.Manager.Quiesce", "parameters": {"timeout": 0.1, "hold": True}})
        client.receive()
        if kind == "after_in_original":
            lab.call("Unquiesce")
    one("assert began.wait(20)")
    lab.device.bump()
    one("assert until(events.pending)")
    if how == "request":
        one("assert asyncio.run_coroutine_threadsafe(check(), loop).result(20) == 1")
    one("go.set(); assert until(lambda: 'slow' in calls), (calls, lifecycle())")
    if kind == "before":
        one("phase('quiesced')")
        lab.call("Unquiesce")
    one("assert until(lambda: not events.pending()), lifecycle()")
    told = [call for call in after(one) if call != "before a"]
    assert told == ([] if how == "request" else [1]) + (
        ["slow", "clone a"] if kind == "before" else ["slow", "original a", "clone a"]
    )


@pytest.mark.parametrize("kind", ["before", "after_in_clone"])
def test_a_check_in_a_callback_on_a_hub(lab, kind):
    pytest.importorskip("gevent")
    one = lab.program(f"KIND = {kind!r}")
    one("""
from gevent import monkey
monkey.patch_all()
import gevent
begun = []
def callback():
    begun.append(True)
    gevent.sleep(0)
    while not events.pending(): gevent.sleep(0.001)
    calls.append(snapsafe_rt.check())
def work():
    snapsafe_rt.register_at_snapshot(**{KIND: callback})
    gevent.sleep(3600)
gevent.spawn(work)
gevent.sleep(0)
def called():
    with gevent.Timeout(20, False):
        while not calls: gevent.sleep(0.001)
    return calls
""")
    if kind == "before":
        one("""
with gevent.Timeout(20):
    while not lifecycle()["lock"]: gevent.sleep(0.001)""")
        lab.call("Quiesce", timeout=0)
        one("""
with gevent.Timeout(20):
    while not begun: gevent.sleep(0.001)""")  # else the restore may come first
    lab.device.bump()
    assert one("answer = called()") == [1]
