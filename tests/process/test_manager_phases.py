"""A snapshot that is announced, against the manager that runs: whoever dies, hangs, comes twice or sends nonsense,
nobody waits for ever, the state is right afterwards, and no descriptor is left open."""

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from ..conftest import PACKAGE
from ..helpers.looking import at_rest, own_memory, ticks
from ..helpers.managed import Client, Manager

pytestmark = pytest.mark.any_python

root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


# Imported before the folder may be out of reach.
STRANGER = f"""
import json, os, sys
sys.path.insert(0, {str(PACKAGE.parent)!r})
from tests.helpers.managed import Client
os.setgroups([]); os.setgid(65534); os.setuid(65534)
"""


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.fixture
def start(shm_path, outer):
    """start("--quiesced-max", 1): a manager. When the test is over and its clients are gone it has no descriptor more
    than it began with."""
    started = []

    def start(*options, **more):
        one = Manager(shm_path, outer.uri, options=[str(option) for option in options], **more)
        with Client(one.socket) as client:
            client.call("Describe")
            at_rest(one.pid)  # what it began with is closed by now
            one.descriptors = descriptors(one.pid) - 1
        started.append(one)
        return one

    try:
        yield start
        for one in started:
            if one.process.poll() is None:
                one.until(lambda now: now["clients"] == 1)
                end = time.monotonic() + 10  # the one that asked is let go of a moment later
                while descriptors(one.pid) != one.descriptors and time.monotonic() < end:
                    time.sleep(0.01)
                assert descriptors(one.pid) == one.descriptors
    finally:
        for one in started:
            one.close()


@pytest.fixture
def manager(start):
    return start()


@pytest.fixture
def connect():
    """connect(manager): a client, whose connection ends with the test at the latest."""
    with contextlib.ExitStack() as stack:
        yield lambda manager: stack.enter_context(Client(manager.socket))


def state_file(manager):
    return manager.socket.with_name("socket.state")


def state(manager):
    return json.loads(state_file(manager).read_text())


def until_state(manager, wanted):
    return manager.until(lambda now: now["state"] == wanted)


def send(client, method, **parameters):
    client.send({"method": f"org.snapsafe.Manager.{method}", "parameters": parameters})


def error(answer):
    return answer["error"].rpartition(".")[2]


class Holder:
    """Holds a delay lock, and waits for the announcement."""

    def __init__(self, client, who="holder"):
        self.client = client
        assert client.call("Inhibit", who=who, why="a test", mode="delay")["parameters"]["state"] in (
            "running",
            "quiescing",
        )
        send(client, "Prepare")

    def announced(self):
        return self.client.receive()["parameters"]

    def ready(self, *errors):
        assert self.client.call("Ready", errors=list(errors)) == {"parameters": {}}
        self.client.peer.close()


@pytest.fixture
def hold(connect):
    return lambda manager, who="holder": Holder(connect(manager), who)


# ---- as it should be ----


def test_one_snapshot(manager, connect, hold, outer):
    watching = connect(manager)
    watching.send({"method": "org.snapsafe.Manager.Monitor", "more": True})
    first = watching.receive()
    generation = manager.describe()["generation"]
    running = {"state": "running", "snapshot": 0, "generation": generation}
    assert first == {"parameters": running, "continues": True}
    assert manager.call("Monitor") == {"parameters": running}  # without more: one answer
    assert stat.S_IMODE(state_file(manager).stat().st_mode) == 0o644
    assert state(manager) == {"state": "running", "snapshot": 0, "until": 0}
    one, other = hold(manager, "one"), hold(manager, "other")
    listed = manager.call("ListInhibitors")["parameters"]["inhibitors"]
    lock = {"what": "snapshot", "why": "a test", "mode": "delay", "uid": os.getuid(), "pid": os.getpid()}
    assert listed == [lock | {"who": "one"}, lock | {"who": "other"}]
    asking = connect(manager)
    send(asking, "Quiesce", timeout=4)
    told = one.announced()
    assert told["snapshot"] == 1
    assert told["state"] == "quiescing"
    assert 3 < told["seconds"] <= 4
    assert other.announced()["snapshot"] == 1
    at = state(manager)
    assert (at["state"], at["snapshot"]) == ("quiescing", 1)
    assert at["until"] == pytest.approx(time.time() + 4, abs=3)
    one.ready()
    assert state(manager)["state"] == "quiescing"
    other.ready()
    answer = asking.receive()["parameters"]
    assert answer == {"snapshot": 1, "late": [], "seconds": answer["seconds"], "frozen": False}
    assert state(manager)["state"] == "quiesced"
    assert manager.describe()["inhibitors"] == 0
    done = manager.call("Unquiesce")["parameters"]
    assert (done["restored"], done["generation"]) == (False, generation)
    last = done["snapshot"]
    assert (last["number"], last["late"], last["restored"], last["ended"]) == (1, [], False, "unquiesced")
    assert all(0 <= last[name] < 60 for name in ("quiesceSeconds", "quiescedSeconds", "unquiesceSeconds"))
    assert manager.describe()["lastSnapshot"] == last
    assert state(manager) == {"state": "running", "snapshot": 1, "until": 0}
    told = [watching.receive()["parameters"]["state"] for _ in range(4)]
    assert told == ["quiescing", "quiesced", "unquiescing", "running"]
    assert manager.end() == (0, "", "")
    assert not state_file(manager).exists()


def test_a_clone_goes_on_by_itself(manager, connect, outer):
    """The file moves first: who sees the state knows of the restore."""
    watching = connect(manager)
    watching.send({"method": "org.snapsafe.Manager.Monitor", "more": True})
    before = watching.receive()["parameters"]["generation"]
    manager.call("Quiesce")
    outer.bump()
    told = [watching.receive()["parameters"] for _ in range(4)]
    assert [one["state"] for one in told] == ["quiescing", "quiesced", "unquiescing", "running"]
    assert told[1]["generation"] == before < told[2]["generation"] == told[3]["generation"]
    answer = manager.call("Unquiesce")
    assert error(answer) == "NotQuiesced"
    assert answer["parameters"]["snapshot"]["ended"] == "restored"


def test_hold_waits_for_the_word(manager, outer):
    manager.call("Quiesce", hold=True)
    published = manager.describe()["published"]
    outer.bump()
    manager.until(lambda now: now["published"] == published + 1)
    assert state(manager)["state"] == "quiesced"
    done = manager.call("Unquiesce", restored=True)["parameters"]
    assert done["restored"] is True
    assert manager.describe()["published"] == published + 1  # once is enough


def test_what_nobody_noticed_is_found_at_the_end(manager, outer):
    """The manager had no time yet: Unquiesce looks by itself, before the state moves."""
    manager.call("Quiesce")
    before = manager.describe()["generation"]
    with Client(manager.socket) as client:
        client.call("Describe")  # is accepted
        os.kill(manager.pid, signal.SIGSTOP)
        send(client, "Unquiesce")
        outer.bump()
        os.kill(manager.pid, signal.SIGCONT)
        answer = client.receive()
    assert answer["parameters"]["restored"] is True
    assert manager.describe()["generation"] > before
    assert manager.describe()["published"] == 2


def test_a_late_sign_of_what_was_told(manager, outer):
    """Told by the orchestrator, then by the source: one restore. The next one is one again."""
    manager.call("Quiesce")
    told = manager.call("Unquiesce", restored=True)["parameters"]
    assert told["restored"] is True
    published = manager.describe()["published"]
    outer.bump()
    at_rest(manager.pid)
    found = manager.describe()
    assert (found["published"], found["generation"]) == (published, told["generation"])
    outer.bump()
    manager.until(lambda now: now["published"] == published + 1)
    # Not even the first, if another snapshot was announced in between: it may be one of that.
    manager.call("Quiesce")
    manager.call("Unquiesce", restored=True)
    manager.call("Quiesce")
    outer.bump()
    manager.until(lambda now: now["published"] == published + 3 and now["state"] == "running")
    # And who starts next finds nothing that it would have to publish.
    manager.end()


def test_a_snapshot_that_nobody_announced(manager, outer):
    outer.bump()
    found = manager.until(lambda now: now["published"] == 2)
    assert (found["state"], found["lastSnapshot"]) == ("running", None)
    assert manager.call("Unquiesce") == {"error": "org.snapsafe.Manager.NotQuiesced", "parameters": {"snapshot": None}}


# ---- who is late, fails, or blocks ----


def test_who_hangs_is_named(manager, connect, hold):
    hold(manager, "hangs\n\x1b[31m")
    fine = hold(manager, "fine")
    asking = connect(manager)
    began = time.monotonic()
    send(asking, "Quiesce", timeout=3)
    fine.announced()
    fine.ready()
    answer = asking.receive()["parameters"]
    assert [one["who"] for one in answer["late"]] == ["hangs\\n\\x1b[31m"]
    assert 3 <= time.monotonic() - began < 10
    assert 3 <= answer["seconds"] < 10
    assert manager.describe()["lastSnapshot"]["late"] == ["hangs\\n\\x1b[31m"]
    assert "parameters" in manager.call("Unquiesce")
    code, _, said = manager.end()
    assert (code, said.count("\n")) == (0, 1)
    assert "waited 3 s in vain for hangs\\n" in said


def test_no_longer_than_the_manager_allows(start, hold):
    one = start("--inhibit-delay-max", 0.3)
    hold(one)
    began = time.monotonic()
    answer = one.call("Quiesce", timeout=1000)["parameters"]
    assert len(answer["late"]) == 1
    assert time.monotonic() - began < 10
    assert one.describe()["inhibitDelayMax"] == 0.3
    one.call("Unquiesce")


def test_a_callback_fails(manager, connect, hold):
    bad, good = hold(manager, "bad"), hold(manager, "good")
    asking = connect(manager)
    send(asking, "Quiesce")
    bad.announced()
    good.announced()
    bad.ready("ValueError: no", "x" * 1000)
    good.ready()
    answer = asking.receive()
    assert error(answer) == "CallbackFailed"
    [failed] = answer["parameters"]["failed"]
    assert failed == {"who": "bad", "pid": os.getpid(), "errors": ["ValueError: no", "x" * 256]}
    assert state(manager)["state"] == "running"
    assert manager.describe()["lastSnapshot"]["ended"] == "failed"


def test_a_block_lock_refuses(manager, connect, hold):
    waiting = hold(manager)
    blocking = connect(manager)
    assert blocking.call("Inhibit", who="backup", why="is being made", mode="block") == {
        "parameters": {"state": "running"}
    }
    told = {"who": "backup", "why": "is being made", "uid": os.getuid(), "pid": os.getpid()}
    assert manager.call("Quiesce") == {"error": "org.snapsafe.Manager.BlockedByInhibitor", "parameters": told}
    assert manager.describe()["snapshot"] == 0
    waiting.client.peer.settimeout(0.2)
    with pytest.raises(TimeoutError):  # nobody was told
        waiting.client.receive()
    blocking.peer.close()
    manager.until(lambda now: now["inhibitors"] == 1)
    assert "parameters" in manager.call("Quiesce", timeout=0)
    manager.call("Unquiesce")


def test_who_comes_meanwhile(manager, connect, hold):
    first = hold(manager, "first")
    asking = connect(manager)
    send(asking, "Quiesce")
    first.announced()
    second = hold(manager, "second")
    assert second.announced()["state"] == "quiescing"
    assert error(connect(manager).call("Inhibit", who="x", why="", mode="block")) == "OperationInProgress"
    first.ready()
    assert state(manager)["state"] == "quiescing"
    second.ready()
    assert asking.receive()["parameters"]["late"] == []
    refused = connect(manager).call("Inhibit", who="x", why="", mode="delay")
    assert refused == {"error": "org.snapsafe.Manager.OperationInProgress", "parameters": {"state": "quiesced"}}
    manager.call("Unquiesce")


def test_on_behalf_of_another(manager, connect):
    """What a facade needs: it is that user who must be permitted to block, and who is named."""
    facade = connect(manager)
    lock = {"who": "x", "why": "", "mode": "block"}
    assert facade.call("Inhibit", **lock, uid=65534, pid=7)["error"] == "org.varlink.service.PermissionDenied"
    assert "parameters" in facade.call("Inhibit", **lock | {"mode": "delay"}, uid=65534, pid=7)
    [found] = manager.call("ListInhibitors")["parameters"]["inhibitors"]
    assert (found["uid"], found["pid"]) == (65534, 7)


def test_two_orchestrators(manager, connect, hold):
    waiting = hold(manager)
    first, second = connect(manager), connect(manager)
    send(first, "Quiesce")
    waiting.announced()
    for _ in range(2):
        answer = second.call("Quiesce")
        assert (error(answer), answer["parameters"]) == ("OperationInProgress", {"state": "quiescing"})
    assert error(second.call("Unquiesce")) == "OperationInProgress"
    waiting.ready()
    assert first.receive()["parameters"]["snapshot"] == 1
    assert second.call("Quiesce")["parameters"] == {"state": "quiesced"}
    assert manager.describe()["snapshot"] == 1
    assert second.call("Unquiesce")["parameters"]["snapshot"]["number"] == 1  # whoever it was that called Quiesce


def test_nobody_calls_unquiesce(start):
    one = start("--quiesced-max", 3)
    assert one.call("Quiesce", hold=True)["parameters"]["snapshot"] == 1
    assert until_state(one, "running")["lastSnapshot"]["ended"] == "overdue"
    assert state(one) == {"state": "running", "snapshot": 1, "until": 0}
    answer = one.call("Unquiesce")
    assert answer["parameters"]["snapshot"]["ended"] == "overdue"
    one.call("Quiesce")  # has a time of its own
    assert "error" not in one.call("Unquiesce")
    time.sleep(3.5)  # the first one's time is over by then, and half a second
    assert one.describe()["lastSnapshot"]["ended"] == "unquiesced"
    assert "nobody called Unquiesce within 3 s" in one.end()[2]


# ---- who dies ----


def test_a_holder_is_killed(manager, connect):
    """Its lock goes with it, whatever it was about to do; that is no error (logind's semantics)."""
    script = f"""
import sys
sys.path.insert(0, {str(PACKAGE.parent)!r})
from tests.helpers.managed import Client
client = Client({str(manager.socket)!r})
client.call("Inhibit", who="killed", why="", mode="delay")
print("holds", flush=True)
client.call("Prepare")
print("told", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "holds\n"
        assert manager.call("ListInhibitors")["parameters"]["inhibitors"][0]["pid"] == child.pid
        asking = connect(manager)
        send(asking, "Quiesce")
        assert child.stdout.readline() == "told\n"
        assert state(manager)["state"] == "quiescing"
        child.kill()
        assert asking.receive()["parameters"]["late"] == []
    manager.call("Unquiesce")


def test_the_orchestrator_dies_meanwhile(manager, connect, hold):
    waiting = hold(manager)
    asking = connect(manager)
    send(asking, "Quiesce")
    waiting.announced()
    asking.peer.close()
    assert until_state(manager, "running")["lastSnapshot"]["ended"] == "abandoned"
    assert state(manager)["state"] == "running"
    waiting.ready()
    # Once it is quiesced it need not stay.
    manager.call("Quiesce")
    assert state(manager)["state"] == "quiesced"
    manager.call("Unquiesce")


def test_half_closed(manager, connect):
    """Who sends no more is still answered; who hung up is not waited for."""
    client = connect(manager)
    client.call("Inhibit", who="half", why="", mode="delay")
    send(client, "Prepare")
    client.peer.shutdown(1)
    asking = connect(manager)
    send(asking, "Quiesce")
    assert client.receive()["parameters"]["snapshot"] == 1
    assert client.receive() is None
    assert asking.receive()["parameters"]["late"] == []
    manager.call("Unquiesce")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("at", ["running", "quiescing", "quiesced"])
@pytest.mark.parametrize("moved", [False, True], ids=["original", "clone"])
def test_the_manager_dies(start, connect, hold, outer, at, end, moved):
    """Whoever waits sees it; the next one says "running" after it has published, and locks are taken again."""
    one = start()
    generation = one.describe()["generation"]
    waiting = hold(one)
    asking = connect(one)
    if at != "running":
        send(asking, "Quiesce")
        waiting.announced()
    if at == "quiesced":
        waiting.ready()
        assert asking.receive()["parameters"]["snapshot"] == 1
    assert state(one)["state"] == at
    one.process.send_signal(end)
    code, _, said = one.wait()
    assert (code, said) == (0 if end == signal.SIGTERM else -end, "")
    assert state_file(one).exists() == (end == signal.SIGKILL)
    if at == "quiescing":
        assert asking.receive() is None
    if at != "quiesced":
        assert waiting.client.receive() is None
    if moved:
        outer.bump()
    again = start()
    assert state(again) == {"state": "running", "snapshot": 0, "until": 0}
    assert (again.describe()["generation"] > generation) == moved
    assert again.describe()["inhibitors"] == 0
    waiting, asking = hold(again), connect(again)
    send(asking, "Quiesce")
    waiting.announced()
    waiting.ready()
    assert asking.receive()["parameters"]["late"] == []
    assert "parameters" in again.call("Unquiesce")


def test_no_room_for_the_state(start, hold, outer, shm_path):
    """A snapshot of programs that cannot see the state would be one of programs that run: refused, nobody was asked."""
    one = start()
    waiting = hold(one)
    (shm_path / "socket.state.new").mkdir()
    answer = one.call("Quiesce")
    assert error(answer) == "NotPublished"
    assert "socket.state" in answer["parameters"]["reason"]
    assert "no snapshot can be announced: " in one.describe()["problems"][0]
    assert (one.describe()["state"], one.describe()["snapshot"]) == ("running", 0)
    (shm_path / "socket.state.new").rmdir()
    assert len(one.call("Quiesce", timeout=0)["parameters"]["late"]) == 1
    waiting.announced()
    # It can no longer be said that all may go on: no file says so, too.
    (shm_path / "socket.state.new").mkdir()
    assert "parameters" in one.call("Unquiesce")
    assert not state_file(one).exists()
    (shm_path / "socket.state.new").rmdir()


# ---- who is not answered, waits, or is a stranger ----


def test_oneway(manager, connect):
    """Not answered, and done."""
    client = connect(manager)
    client.send({"method": "org.snapsafe.Manager.Quiesce", "oneway": True})
    assert client.call("Describe")["parameters"]["state"] == "quiesced"
    client.send({"method": "org.snapsafe.Manager.Monitor", "oneway": True, "more": True})
    client.send({"method": "org.snapsafe.Manager.Unquiesce", "oneway": True})
    until_state(manager, "quiesced")
    client.peer.close()  # it follows the news, and will do nothing else
    manager.until(lambda now: now["clients"] == 1)
    manager.call("Unquiesce")


def test_who_waits_is_not_read_from(manager, connect, hold):
    """What is sent after Prepare stays on the sender's side; a hangup is seen all the same."""
    waiting = hold(manager)
    waiting.client.peer.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while sent < 64 << 20:
            sent += waiting.client.peer.send(b"\xff" * 65536)
    assert sent < 16 << 20
    before = ticks(manager.pid)
    time.sleep(0.5)  # for real: so little does it cost
    assert ticks(manager.pid) - before <= 1
    assert own_memory(manager.pid) <= 12 * 1024
    waiting.client.peer.close()
    manager.until(lambda now: now["inhibitors"] == 0)


@root
def test_a_stranger(manager):
    """May be asked, may look, may not keep anybody from anything."""
    script = f"""{STRANGER}
with Client({str(manager.socket)!r}) as client:
    for method, parameters in (
        ("Quiesce", {{}}), ("Unquiesce", {{}}), ("Inhibit", {{"who": "x", "why": "", "mode": "block"}}),
        ("Inhibit", {{"who": "x", "why": "", "mode": "delay", "uid": 0}}),
    ):
        print(client.call(method, **parameters)["error"])
    print(client.call("Inhibit", who="x", why="", mode="delay"))
    print(client.call("ListInhibitors")["parameters"]["inhibitors"][0]["uid"])
    print(client.call("Monitor")["parameters"]["state"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    denied = "org.varlink.service.PermissionDenied\n"
    assert done.stdout == 4 * denied + "{'parameters': {'state': 'running'}}\n65534\nrunning\n", done.stderr
    assert manager.describe()["state"] == "running"


# ---- many, and slow ones ----


@root
def test_answers_that_nobody_reads(manager, connect):
    """A stranger who asks for long lists and reads none is let go of before the memory is gone; root is served."""
    script = f"""{STRANGER}
holders = [Client({str(manager.socket)!r}) for _ in range(1000)]
for number, one in enumerate(holders):
    one.call("Inhibit", who="x" * 250, why="y" * 250, mode="delay")
message = json.dumps({{"method": "org.snapsafe.Manager.ListInhibitors"}}).encode() + bytes(1)
readers = [Client({str(manager.socket)!r}) for _ in range(60)]
for one in readers:
    one.peer.sendall(message)
print("asked", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "asked\n"
        found = manager.until(lambda now: now["clients"] < 1060)
        assert found["inhibitors"] == 1000
        assert own_memory(manager.pid) <= 40 * 1024
        ours = connect(manager)
        send(ours, "ListInhibitors")
        answer = b""
        while not answer.endswith(b"\0"):
            answer += ours.peer.recv(1 << 20)
        assert len(json.loads(answer[:-1])["parameters"]["inhibitors"]) == 1000
        ours.peer.close()
        child.kill()
    manager.until(lambda now: now["clients"] == 1)
    assert manager.describe()["inhibitors"] == 0


def test_a_thousand_inhibitors(start, connect):
    """All are asked and answer; and asleep they cost nothing."""
    manager = start("--inhibit-delay-max", 60)
    holders = [Holder(connect(manager), f"holder {number}") for number in range(1000)]
    assert manager.describe()["inhibitors"] == 1000
    assert own_memory(manager.pid) <= 12 * 1024
    before = ticks(manager.pid)
    time.sleep(0.5)  # for real: so little does it cost
    assert ticks(manager.pid) - before <= 1
    asking = connect(manager)
    send(asking, "Quiesce")
    for holder in holders:
        assert holder.announced()["snapshot"] == 1
        holder.ready()
    answer = asking.receive()["parameters"]
    assert answer["late"] == []
    manager.call("Unquiesce")


def test_a_thousand_that_hang(manager, connect):
    for number in range(1000):
        Holder(connect(manager), f"holder {number}")
    answer = manager.call("Quiesce", timeout=0.2)["parameters"]
    assert len(answer["late"]) == 1000
    assert len(manager.describe()["lastSnapshot"]["late"]) == 16
    manager.call("Unquiesce")
    assert "and 984 more" in manager.end()[2]
