"""Whoever connects to the manager, and whatever he sends: clear answers, bounded memory, no storm of wakeups."""

import contextlib
import json
import os
import socket
import struct
import time

import pytest

from ..conftest import SourceFile
from ..helpers.looking import own_memory, ticks
from ..helpers.managed import Client, Manager

pytestmark = pytest.mark.any_python

DESCRIPTION = "org.varlink.service.GetInterfaceDescription"


@pytest.fixture
def manager(shm_path):
    one = Manager(shm_path, SourceFile(shm_path / "outer").uri)
    yield one
    one.close()


def test_the_service_interface(manager):
    with Client(manager.socket) as client:
        info = client.call("org.varlink.service.GetInfo")["parameters"]
        assert info["interfaces"] == ["org.varlink.service", "org.snapsafe.Manager"]
        for interface in info["interfaces"]:
            found = client.call(DESCRIPTION, interface=interface)
            text = found["parameters"]["description"]
            assert f"interface {interface}\n" in text
            assert all(len(line) < 121 for line in text.splitlines())


@pytest.mark.parametrize(
    ("method", "parameters", "error", "told"),
    [
        ("org.example.Nothing", {}, "InterfaceNotFound", {"interface": "org.example"}),
        ("Nothing", {}, "MethodNotFound", {"method": "org.snapsafe.Manager.Nothing"}),
        ("Describe", {"what": 1}, "InvalidParameter", {"parameter": "what"}),
        ("GetSource", {"source": 7}, "InvalidParameter", {"parameter": "source"}),
        (DESCRIPTION, {}, "InvalidParameter", {"parameter": "interface"}),
        (
            DESCRIPTION,
            {"interface": "a.b"},
            "InterfaceNotFound",
            {"interface": "a.b"},
        ),
    ],
)
def test_errors(manager, method, parameters, error, told):
    with Client(manager.socket) as client:
        assert client.call(method, **parameters) == {"error": f"org.varlink.service.{error}", "parameters": told}
        assert "version" in client.call("Describe")["parameters"]  # and the connection lives


@pytest.mark.parametrize(
    ("method", "parameters", "wrong"),
    [
        ("Inhibit", {"why": "", "mode": "delay"}, "who"),
        ("Inhibit", {"who": "", "why": "", "mode": "delay"}, "who"),
        ("Inhibit", {"who": "x", "mode": "delay"}, "why"),
        ("Inhibit", {"who": "x", "why": ""}, "mode"),
        ("Inhibit", {"who": "x", "why": "", "mode": "maybe"}, "mode"),
        ("Inhibit", {"who": "x", "why": "", "mode": "delay", "what": "sleep"}, "what"),
        ("Inhibit", {"who": 1, "why": "", "mode": "delay"}, "who"),
        ("Ready", {"errors": [1]}, "errors"),
        ("Ready", {"errors": "no"}, "errors"),
        ("Prepare", {"x": 1}, "x"),
        ("Inhibit", {"who": "x", "why": "", "mode": "delay", "pid": "1"}, "pid"),
        ("Quiesce", {"timeout": -1}, "timeout"),
        ("Quiesce", {"timeout": float("nan")}, "timeout"),
        ("Quiesce", {"timeout": True}, "timeout"),
        ("Quiesce", {"hold": 1}, "hold"),
        ("Unquiesce", {"restored": "yes"}, "restored"),
        ("Monitor", {"more": True}, "more"),
    ],
)
def test_wrong_parameters(manager, method, parameters, wrong):
    answer = manager.call(method, **parameters)
    assert answer == {"error": "org.varlink.service.InvalidParameter", "parameters": {"parameter": wrong}}
    assert (manager.describe()["state"], manager.describe()["inhibitors"]) == ("running", 0)


def test_not_in_this_order(manager):
    with Client(manager.socket) as client:
        for method in ("Prepare", "Ready"):
            assert client.call(method)["error"] == "org.snapsafe.Manager.NotInhibiting"
        assert "parameters" in client.call("Inhibit", who="x" * 1000, why="y" * 1000, mode="block")
        [lock] = manager.call("ListInhibitors")["parameters"]["inhibitors"]
        assert (len(lock["who"]), len(lock["why"])) == (256, 256)
        again = client.call("Inhibit", who="x", why="", mode="delay")
        assert again["error"] == "org.snapsafe.Manager.AlreadyInhibits"
        assert client.call("Prepare")["error"] == "org.snapsafe.Manager.NotInhibiting"  # a block lock is not asked
    manager.until(lambda now: now["inhibitors"] == 0)


def test_no_device_to_pass(manager):
    found = manager.call("GetSource")
    assert found["error"] == "org.snapsafe.Manager.NoSource"
    assert found["parameters"]["reason"]


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\0",
        b"[1]\0",
        b"{}\0",
        b'{"method":1}\0',
        b'{"method":"a.b","parameters":[]}\0',
        b'{"method":"org.snapsafe.Manager.Describe","upgrade":true}\0',
        b"\0",
        b"\xff\xfe\0",
        b"[" * 16000 + b"\0",
        b"{" * 40000,
        b'{"method":"' + b"x" * 100000 + b'"}\0',
        b'{"method":"a.b","parameters":{"x":' + b"9" * 10000 + b"}}\0",
    ],
    ids=lambda sent: f"{sent[:20]!r}-{len(sent)}",
)
def test_what_is_no_message_ends_the_connection(manager, sent):
    with Client(manager.socket) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.peer.sendall(sent)
        answer = client.receive()
        assert answer is None or "error" in answer
    assert manager.describe()["problems"] == []


def test_in_pieces_and_several_at_once(manager):
    message = json.dumps({"method": "org.snapsafe.Manager.Describe"}).encode() + b"\0"
    with Client(manager.socket) as client:
        for byte in message:
            client.peer.sendall(bytes([byte]))
        assert "parameters" in client.receive()
        client.peer.sendall(message * 20)
        assert all("parameters" in client.receive() for _ in range(20))


def test_oneway_is_not_answered(manager):
    with Client(manager.socket) as client:
        client.send({"method": "org.snapsafe.Manager.Nothing", "oneway": True})
        assert "version" in client.call("Describe")["parameters"]


def test_half_closed(manager):
    """Who sends no more is still answered, then let go."""
    with Client(manager.socket) as client:
        client.send({"method": "org.snapsafe.Manager.Describe"})
        client.peer.shutdown(socket.SHUT_WR)
        assert "version" in client.receive()["parameters"]
        assert client.receive() is None
    manager.until(lambda now: now["clients"] == 1)  # the one that asks


def test_descriptors_that_are_sent_are_dropped(manager):
    def count():
        return len(os.listdir(f"/proc/{manager.pid}/fd"))

    before = count()
    with Client(manager.socket) as client:
        message = json.dumps({"method": "org.snapsafe.Manager.Describe"}).encode() + b"\0"
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("4i", 0, 0, 0, 0))
        client.peer.sendmsg([message], [rights])
        assert "version" in client.receive()["parameters"]
        assert count() <= before + 1
    manager.until(lambda now: now["clients"] == 1)


def test_who_does_not_read_is_not_read_from(manager):
    """Its requests pile up on its own side; others are served, and the manager sleeps."""
    message = json.dumps({"method": "org.varlink.service.GetInfo"}).encode() + b"\0"
    with Client(manager.socket) as client:
        client.peer.setblocking(False)
        sent = 0
        until = time.monotonic() + 30
        stalled = 0
        while stalled < 20 and time.monotonic() < until:
            try:
                sent += client.peer.send(message * 100)
                stalled = 0
            except BlockingIOError:
                stalled += 1
                time.sleep(0.01)
        assert stalled == 20, f"{sent} bytes were taken"
        before = ticks(manager.pid)
        time.sleep(0.5)  # for real: so little does it cost
        assert ticks(manager.pid) - before <= 1
        assert "version" in manager.describe()
        assert own_memory(manager.pid) <= 12 * 1024


def test_a_slow_reader_gets_the_last(manager):
    """Nothing piles up for whoever does not read; the news that it missed is in the last."""
    with Client(manager.socket) as watching:
        watching.send({"method": "org.snapsafe.Manager.Monitor", "more": True})
        watching.receive()
        rounds = 1500
        for _ in range(rounds):  # 4 changes each
            with Client(manager.socket) as client:
                assert "parameters" in client.call("Quiesce")
                assert "parameters" in client.call("Unquiesce")
        assert own_memory(manager.pid) <= 12 * 1024
        told = []
        while not told or (told[-1]["snapshot"], told[-1]["state"]) != (rounds, "running"):
            told.append(watching.receive()["parameters"])
        assert len(told) < 4 * rounds
        numbers = [one["snapshot"] for one in told]
        assert numbers == sorted(numbers)


def test_slow_clients_and_unfinished_requests(manager):
    """Half a request from each of 400: 4 MiB are kept at the most, and whoever goes beyond is let go."""
    half = b'{"method":"' + b"x" * 16000
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(manager.socket)) for _ in range(400)]
        for client in clients:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.peer.sendall(half)
        found = manager.until(lambda now: now["clients"] < 400)
        assert 100 < found["clients"] <= 4 * 1024 * 1024 // 16000 + 1
        assert own_memory(manager.pid) <= 24 * 1024


def test_a_thousand_clients(manager):
    with contextlib.ExitStack() as stack:
        began = time.monotonic()
        clients = [stack.enter_context(Client(manager.socket)) for _ in range(1000)]
        for client in clients:
            client.send({"method": "org.snapsafe.Manager.Describe"})
        answers = [client.receive()["parameters"] for client in clients]
        took = time.monotonic() - began
        assert max(answer["clients"] for answer in answers) == 1000
        assert took < 20
        assert own_memory(manager.pid) <= 12 * 1024
        before = ticks(manager.pid)
        time.sleep(0.5)  # for real: so little does it cost
        assert ticks(manager.pid) - before <= 1
    manager.until(lambda now: now["clients"] == 1)


def test_more_than_may_be(shm_path):
    """With few descriptors: who is too many waits, wakes nobody, and is served when another goes."""
    one = Manager(shm_path, SourceFile(shm_path / "outer").uri, under=["prlimit", "--nofile=100:100"])
    try:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(one.socket)) for _ in range(60)]
            assert "version" in clients[0].call("Describe")["parameters"]
            before = ticks(one.pid)
            time.sleep(0.5)  # for real: so little does it cost
            assert ticks(one.pid) - before <= 1
            last = clients[-1]
            last.send({"method": "org.snapsafe.Manager.Describe"})
            last.peer.settimeout(0.2)
            with pytest.raises(TimeoutError):
                last.receive()
            for client in clients[:-1]:
                client.peer.close()
            last.peer.settimeout(30)
            assert "version" in last.receive()["parameters"]
    finally:
        one.close()
