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
    one("assert until(lambda: 'original a' in calls, 5), (calls, lifecycle(), snapsafe_rt.status().watching)")


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
    begin = one("time.sleep(0.2); answer = native.inspect_watcher().wakeups, len(threads())")
    assert one("time.sleep(1); answer = native.inspect_watcher().wakeups, len(threads())") == begin
    assert one("answer = taken()") == []
    lab.call("Unquiesce")
    link.with_name("elsewhere.state").symlink_to(f"{lab.manager.socket}.state")
    one("snapsafe_rt.unregister(print); from snapsafe_rt import watching; watching.update(); locked()")


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
announcing.GRACE_SECONDS = announcing.QUIESCING_SECONDS = 0.2
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
