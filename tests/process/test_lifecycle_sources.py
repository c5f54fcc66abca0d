"""What a program that stands still watches, and who may tell it to stand still."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time

import pytest

from ..helpers.builds import FREE_THREADED
from ..helpers.lab import after


@pytest.fixture
def device(bare, compile_native):
    """The source is a device to the manager and to the programs; a lab as well."""
    found = bare.device.path.stat()
    library = compile_native("device.c")
    bare.standin = {"LD_PRELOAD": str(library), "STANDIN_DEVICE": f"{found.st_dev}:{found.st_ino}"}
    bare.start(**bare.standin)
    bare.env |= bare.standin
    bare.env["SNAPSAFE_SOURCES"] = f"{bare.device.uri},{bare.env['SNAPSAFE_SOURCES']}"
    return bare


def mapped(one, path):
    with open(f"/proc/{one.pid}/maps") as file:
        return str(path) in file.read()


PICTURE = """
status = snapsafe_rt.status()
source = status.source
answer = {"source": source and source["source"], "synchronous": bool(source and source["synchronous"]),
          "protected": status.protected, "fence": status.fence["state"], "epoch": status.epoch,
          "problems": status.problems, "pool": native.pool_left()}"""


def test_a_device_is_let_go_of_and_the_file_watched_instead(device):
    from snapsafe_rt.report import remote

    one = device.program("import uuid; pair('a'); locked(); uuid.uuid4()")
    before = one(PICTURE)
    assert before["source"] == device.device.uri
    assert before["synchronous"]
    assert (before["pool"] > 0) is not FREE_THREADED
    assert mapped(one, device.device.path)  # the twin
    device.quiesce(dump=True)
    one("phase('quiesced')")
    still = one(PICTURE)
    assert still["source"] == f"vmclock:{device.manager.file}", still
    assert not still["synchronous"], still
    assert not still["pool"], still
    assert still["fence"] != "down"
    assert still["epoch"] == 0
    assert not mapped(one, device.device.path)
    seen = remote.inspect(one.pid)
    assert seen.source["source"] == still["source"]
    assert not seen.source["synchronous"]
    assert seen.fence["state"] == still["fence"]
    device.call("Unquiesce")
    assert after(one) == ["before a", "original a"]
    now = one(PICTURE)
    assert now["source"] == device.device.uri
    assert now["synchronous"]
    assert now["epoch"] == 0
    assert mapped(one, device.device.path)


def test_nothing_that_is_drawn_while_a_device_is_let_go_of_is_left_in_the_pool(device):
    """It would be in every process that CRIU makes of it."""
    one = device.program("""
import uuid
from builds import FREE_THREADED
from snapsafe_rt.source import selection
pair("a")
locked()
why_kept = selection.Candidate.why_kept
def meanwhile(candidate):  # opens a file: others run
    uuid.uuid4()
    assert (native.pool_left() > 0) is not FREE_THREADED
    return why_kept(candidate)
selection.Candidate.why_kept = meanwhile""")
    device.quiesce(dump=True)
    one("phase('quiesced')")
    assert not one(PICTURE)["pool"]


def test_a_device_stays_mapped_in_a_snapshot_of_the_machine(device):
    """A clone has to know before it runs, not when the manager has published."""
    one = device.program("import random; pair('a'); locked()")
    device.call("Quiesce", hold=True)
    one("phase('quiesced')")
    still = one(PICTURE)
    assert still["source"] == device.device.uri
    assert still["synchronous"]
    assert mapped(one, device.device.path)
    os.kill(device.manager.pid, 19)  # in the clone it does not run yet
    drawn = """
reader, writer = os.pipe()
if os.fork() == 0:  # what a clone that knows nothing would draw
    os.write(writer, repr(random.random()).encode())
    os._exit(0)
os.wait()
answer = float(os.read(reader, 64))"""
    expected = one(drawn)
    device.device.bump()
    assert one("answer = random.random()") != expected
    os.kill(device.manager.pid, 18)
    device.call("Unquiesce")
    assert after(one) == ["before a", "clone a"]
    assert one("answer = snapsafe_rt.epoch()") == 1


@pytest.mark.parametrize("published", [True, False])
def test_one_restore_of_device_and_file_is_counted_once(device, published):
    """The file tells which number of the device it was moved for."""
    one = device.program("pair('a'); locked()")
    for number in range(1, 4):
        device.call("Quiesce", hold=True, dump=True)
        one("phase('quiesced')")
        old = one("answer = native.inspect_epoch().generation")
        device.device.bump()
        if published:
            one(f"assert until(lambda: native.epoch() == {number} and native.inspect_epoch().generation != {old})")
        device.call("Unquiesce")
        assert after(one) == ["before a", "clone a"]
        assert one("answer = snapsafe_rt.epoch(), snapsafe_rt.cause()") == [number, "generation"]


def test_another_restore_after_the_file_told_of_one_is_counted(device):
    one = device.program("pair('a'); locked()")
    device.call("Quiesce", hold=True, dump=True)
    one("phase('quiesced')")
    device.device.bump()
    one("assert until(lambda: native.epoch() == 1)")
    os.kill(device.manager.pid, 19)  # it publishes no more, and says nothing either
    device.device.bump()
    one(f"os.rename({str(device.folder / 'socket.state')!r}, {str(device.folder / 'socket.gone')!r})")
    assert one("phase('running'); answer = taken()") == ["before a", "clone a"]
    assert one("answer = snapsafe_rt.epoch()") == 2


@pytest.mark.parametrize("first", ["restore", "copy"])
def test_a_restore_while_the_device_is_let_go_of_is_counted(device, first):
    """And published at once, so that the file that is watched next shows nothing but what came of it."""
    one = device.program(f"pair('a'); locked(); device, first = {str(device.device.path)!r}, {first!r}")
    one("""
import struct
original = probe._detach
def restored(candidate):
    value = original(candidate) if first == "copy" else None
    file = next(one for one in state.candidates if one.rank == 2)
    shown = native.describe_source(file.slot).value
    fd = os.open(device, os.O_RDWR)
    os.pwrite(fd, struct.pack("<Q", 77), 0x68)
    os.close(fd)
    assert until(lambda: native.describe_source(file.slot).value != shown)
    return value if first == "copy" else original(candidate)
probe._detach = restored""")
    device.call("Quiesce", hold=True, dump=True)
    one("phase('quiesced')")
    assert one("answer = snapsafe_rt.epoch()") >= 1
    device.call("Unquiesce")
    assert after(one) == ["before a", "clone a"]


def test_another_interpreter_does_not_lower_the_fence(device):
    pytest.importorskip("_xxsubinterpreters")
    one = device.program("pair('a'); locked()")
    device.quiesce(dump=True)
    one("phase('quiesced')")
    one("""
import _xxsubinterpreters as interpreters
other = interpreters.create(isolated=False)
interpreters.run_string(other, "import snapsafe_rt; snapsafe_rt.activate(); snapsafe_rt.deactivate()")""")
    value = one("answer = native.inspect_epoch().generation")
    with device.manager.file.open("r+b", buffering=0) as file:  # "the kernel was reseeded for this generation"
        os.pwrite(file.fileno(), value.to_bytes(8, "little"), 0x800)
    assert one("os.urandom(8); answer = snapsafe_rt.status().fence['state']") != "down"
    device.call("Unquiesce")
    after(one)


def test_without_a_file_it_says_that_it_is_not_protected(device):
    from snapsafe_rt.report import remote

    one = device.program("pair('a'); locked()", env={"SNAPSAFE_SOURCES": device.device.uri})
    device.quiesce(dump=True)
    one("phase('quiesced')")
    still = one(PICTURE)
    assert still["source"] is None
    assert not still["protected"]
    assert still["fence"] != "down"
    assert any("let go of" in problem for problem in still["problems"]), still
    seen = remote.inspect(one.pid)
    assert seen.source is None
    assert not seen.protected
    assert any("let go of" in problem for problem in seen.problems)
    device.device.bump()
    assert one("answer = snapsafe_rt.epoch()") == 0  # nobody could know
    device.call("Unquiesce")
    assert after(one) == ["before a", "clone a"]
    assert one(PICTURE)["source"] == device.device.uri


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_a_device_that_could_not_be_opened_again_is_kept(device):
    device.device.path.chmod(0o600)
    one = device.program("pair('a'); locked(); snapsafe_rt.status(); os.setgid(61000); os.setuid(61000)")
    device.quiesce(dump=True)
    one("phase('quiesced')")
    still = one(PICTURE)
    assert still["source"] == device.device.uri
    assert still["synchronous"]
    assert any("cannot dump" in problem for problem in still["problems"]), still
    device.call("Unquiesce")
    assert one("phase('running'); answer = taken()") == ["before a", "original a"]


def write_state(path):
    """Beside the socket, for nobody is asked for a lock without it."""
    path.with_name(f"{path.name}.state").write_text('{"state":"running","snapshot":0,"until":0}')


class Peer:
    """Listens where the manager would; `behave(connection)` is called for each who connects."""

    def __init__(self, path, behave):
        write_state(path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(100)
        self.count, self.behave, self.kept = 0, behave, []
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.count += 1
            self.kept.append(peer)
            self.behave(peer)

    def close(self):
        """Its thread ends as well: another test forks."""
        for one in (self.listener, *self.kept):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # wakes who waits in it, which close() does not
        self.thread.join(30)
        for one in (self.listener, *self.kept):
            one.close()


def send(data):
    def behave(peer):
        try:
            peer.recv(65536)
            peer.sendall(data)
        except OSError:
            pass

    return behave


def last_words(data):
    """What is said, and that it was the last, is read at once."""

    def behave(peer):
        peer.recv(65536)
        pid = int.from_bytes(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], sys.byteorder)
        os.kill(pid, signal.SIGSTOP)
        try:
            with contextlib.suppress(OSError):  # the test has closed it
                peer.sendall(data)
                peer.close()
        finally:
            os.kill(pid, signal.SIGCONT)

    return behave


@pytest.mark.parametrize(
    ("behave", "reason", "again"),
    [
        (send(b"nonsense\0more\0"), "not understood", False),
        (send(b'{"parameters":[]}\0{"parameters":{}}\0'), "not understood", False),
        (send(b'{"error":"org.varlink.service.MethodNotFound","parameters":{}}\0'), "MethodNotFound", False),
        (send(b"[" * 60000 + b"\0\0"), "not understood", False),
        (send(b"x" * 1000000), "ended", True),
        (lambda peer: (peer.recv(65536), peer.close()), "ended", True),  # sooner it may be a broken pipe
        (last_words(b'{"parameters":{"error":1}}\0'), "ended", True),
        (lambda peer: None, "not answered", False),
    ],
)
def test_a_peer_that_is_no_manager_hurts_nobody(bare, behave, reason, again):
    peer = Peer(bare.folder / "socket", behave)
    bare.manager = None
    one = bare.program("pair('a')")
    try:
        one(f"assert until(lambda: {reason!r} in lifecycle()['reason']), lifecycle()")
        before = one("answer = native.inspect_watcher().wakeups, time.process_time()")
        time.sleep(1.5)
        now = one("answer = native.inspect_watcher().wakeups, time.process_time()")
        assert now[0] - before[0] < 8, (before, now)
        assert now[1] - before[1] < 0.5, (before, now)
        assert peer.count < (6 if again else 2)
        assert one("answer = taken()") == []
        peer.close()
        bare.start()  # in its place
        one("locked()")
    finally:
        peer.close()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_a_peer_of_another_user_is_told_nothing(bare):
    path = bare.folder / "socket"
    bare.folder.chmod(0o777)
    write_state(path)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgid(61000)
            os.setuid(61000)
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
                listener.listen(10)
                os.write(writer, b"ready")
                peer, _ = listener.accept()
                os.write(writer, b"heard:" + peer.recv(65536))
                time.sleep(60)
        finally:
            os._exit(0)
    try:
        assert os.read(reader, 5) == b"ready"
        one = bare.program("pair('a')")
        assert os.read(reader, 100) == b"heard:"
        assert one("answer = lifecycle()")["reason"].endswith("is another user, who is not root")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)
