"""The guest agent: what the host sends over a socket or the metadata service becomes a restore for the
programs here."""

import contextlib
import http.server
import json
import os
import socket
import struct
import subprocess
import sys
import threading

import pytest

from snapsafe_rt.cli.shipped import shipped

from ..helpers.running import Running

pytestmark = pytest.mark.any_python

AGENT = shipped("packaging", "guest_agent", "guest_agent.py")
SEED = bytes(range(64))
EPOCH = "import snapsafe_rt; answer = snapsafe_rt.epoch()"


@pytest.fixture
def agent(environment, source_file):
    """agent("--unix", ...): the agent, ended with the test. It writes the file that the programs here watch."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(
            Running([sys.executable, AGENT, *arguments, "--path", source_file.path], environment)
        )


def words(source_file):
    """The generation, and the one that the kernel is said to be reseeded for."""
    page = source_file.path.read_bytes()
    return struct.unpack_from("<Q", page, 0x68)[0], struct.unpack_from("<Q", page, 0x800)[0]


def tell(address, entropy, family=socket.AF_UNIX):
    with socket.socket(family) as host:
        host.settimeout(30)
        host.connect(address)
        for start in range(0, len(entropy), 7):
            host.sendall(entropy[start : start + 7])
        host.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: host.recv(4096), b"")).decode()


def check_restored(answer, source_file, old=1):
    generation, reseeded = words(source_file)
    assert generation > old
    if answer.startswith("moved"):  # this user may not reseed the kernel: no reseed is claimed
        assert answer.startswith(f"moved {old} -> {generation}, but ")
        assert "CAP_SYS_ADMIN" in answer
        assert reseeded == 0
    else:
        assert answer == f"restored {old} -> {generation}"
        assert reseeded == generation
    return generation


def test_over_a_socket_and_seen_by_a_program(agent, source_file, living, shm_path):
    program = living(env=source_file.env)
    assert program(EPOCH) == 0
    assert program("import random; template = random.getstate(); answer = random.getstate() == template"), "the twin"
    path = str(shm_path / "agent")
    agent("--unix", path).line("ready")
    first = check_restored(tell(path, SEED).rstrip("\n"), source_file)
    assert program(EPOCH) == 1
    assert not program("answer = random.getstate() == template")
    check_restored(tell(path, bytes(reversed(SEED))).rstrip("\n"), source_file, first)
    assert program(EPOCH) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, for a /run of its own")
def test_the_host_quiesces(managed, environment, shm_path):
    path = str(shm_path / "agent")
    with Running([*managed.container.under, sys.executable, AGENT, "--unix", path], environment) as agent:
        agent.line("ready")
        code, said = tell(path, b"quiesce").split(maxsplit=1)
        assert (code, json.loads(said)["snapshot"]) == ("0", 1)
        assert managed.describe()["state"] == "quiesced"
        assert tell(path, b"quiesce").startswith("1 snapsafe quiesce: the machine is quiesced")
        code, said = tell(path, b"unquiesce").split(maxsplit=1)
        assert (code, json.loads(said)["restored"]) == ("0", False)
        assert managed.describe()["state"] == "running"
        assert tell(path, b"unquiesce").startswith("1 snapsafe unquiesce: nothing is quiesced")


@pytest.mark.parametrize("sent", [b"", b"short", b"more than fits" * 100])
def test_a_restore_is_told_whatever_comes_with_it(agent, source_file, shm_path, sent):
    path = str(shm_path / "agent")
    agent("--unix", path).line("ready")
    answer = tell(path, sent)
    generation, reseeded = words(source_file)
    assert f"1 -> {generation}" in answer
    assert generation > 1
    if sent == b"short":
        assert answer.startswith("moved 1 -> ")
        assert "no entropy" in answer
    if len(sent) < 16:
        assert reseeded == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to be somebody else")
def test_nobody_else_may_tell(agent, source_file, shm_path):
    path = shm_path / "agent"
    agent("--unix", path).line("ready")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o666)  # even so
    script = """if True:
        import os, socket, sys
        s = socket.socket(socket.AF_UNIX)
        os.setuid(65534)  # by now, for the interpreter may lie where only root can start it
        s.connect(sys.argv[1])
        print(s.recv(99).decode())
    """
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "failed: not the host", done.stderr
    assert words(source_file) == (1, 0)


def test_over_vsock(agent, source_file):
    """On the kernel's loopback; the host has CID 2, so the local one has to be named."""
    with socket.socket(socket.AF_VSOCK) as probe, socket.socket(socket.AF_VSOCK) as client:
        try:
            probe.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
            probe.listen()
            client.settimeout(2)
            client.connect((1, probe.getsockname()[1]))
        except OSError as error:
            pytest.skip(f"no vsock loopback: {error}")
    agent("--vsock", "50051").line("ready")
    assert tell((1, 50051), SEED, socket.AF_VSOCK) == "failed: not the host\n"
    agent("--vsock", "50052", "--host", "1").line("ready")
    check_restored(tell((1, 50052), SEED, socket.AF_VSOCK).rstrip("\n"), source_file)


class Mmds(http.server.ThreadingHTTPServer):
    """Firecracker's metadata service, V2: without a token of its own it says nothing."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), MmdsHandler)
        self.tokens = set()
        self.value = None
        self.asked = threading.Semaphore(0)


class MmdsHandler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def say(self, status, body=""):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def do_PUT(self):
        if self.path != "/latest/api/token" or not 1 <= int(self.headers["X-metadata-token-ttl-seconds"]) <= 21600:
            return self.say(400)
        token = os.urandom(8).hex()
        self.server.tokens.add(token)
        return self.say(200, token)

    def do_GET(self):
        if self.headers.get("X-metadata-token") not in self.server.tokens:
            self.say(401)
        elif self.path != "/latest/snapsafe/entropy" or self.server.value is None:
            self.say(404)
        else:
            self.say(200, self.server.value)
        self.server.asked.release()


def test_over_the_metadata_service(agent, source_file):
    with Mmds() as mmds:
        threading.Thread(target=mmds.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{mmds.server_port}"
        one = agent("--mmds", "latest/snapsafe/entropy", "--address", address, "--every", "0.01")
        for _ in range(2):
            assert mmds.asked.acquire(timeout=30)
        assert words(source_file) == (1, 0), "before the host has put anything there"
        mmds.value = SEED.hex()
        first = check_restored(one.line().strip(), source_file)
        for _ in range(3):  # looked at again, and the same
            assert mmds.asked.acquire(timeout=30)
        mmds.tokens.clear()  # restored: the service has forgotten all
        mmds.value = None
        for _ in range(3):
            assert mmds.asked.acquire(timeout=30)
        assert words(source_file)[0] == first
        mmds.value = bytes(reversed(SEED)).hex()
        check_restored(one.line().strip(), source_file, first)
        mmds.shutdown()
