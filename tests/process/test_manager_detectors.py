"""Machines that no device tells of a restore: the kernel's log does, or nothing; and a /run that is full."""

import contextlib
import os
import signal
import subprocess
import time

import pytest

from snapsafe_rt.core import native

from ..conftest import layout
from ..helpers.looking import at_rest
from ..helpers.managed import Client, Container, Manager

pytestmark = [
    pytest.mark.any_python,
    pytest.mark.skipif(os.geteuid() != 0, reason="takes root, for namespaces of their own"),
]

FORK = "random: crng reseeded due to virtual machine fork"


class Log:
    """What /dev/kmsg is in the container: a FIFO, in which each line is a record."""

    def __init__(self, path):
        os.mkfifo(path)
        self.path, self.number = path, 100
        self.fd = os.open(path, os.O_RDWR)

    def say(self, text, facility=0):
        self.number += 1
        os.write(self.fd, f"{facility << 3 | 5},{self.number},{self.number}00,-;{text}\n".encode())


@pytest.fixture
def machine(shm_path):
    """machine(...) -> a ready manager in a container, and its log."""
    log = Log(shm_path / "log")
    run = shm_path / "run" / "snapsafe"
    run.mkdir(parents=True)
    made = []

    def start(*, sources="vmclock:/dev/vmclock0,vmclock:/run/snapsafe/vmclock0", **more):
        environment = more.pop("env", {})
        container = Container(shm_path / f"dev{len(made)}", run.parent, log=more.pop("log", log.path), **more)
        made.append(container)
        made.append(Manager(run, sources, under=container.under, at="/run/snapsafe", **environment))
        return made[-1]

    yield start, log
    for one in reversed(made):
        one.close()
    os.close(log.fd)


def test_the_kernels_message(machine):
    start, log = machine
    log.say("random: crng init done")
    one = start()
    found = one.describe()
    assert (found["source"], found["how"], found["published"], found["problems"]) == (None, "kmsg", 1, [])
    log.say("something else")
    log.say(FORK, facility=1)  # who may write to the log could say anything
    log.say(f"so: {FORK}")
    log.say(FORK)
    found = one.until(lambda now: now["published"] > 1)
    assert found["published"] == 2
    log.say(FORK)  # again within a moment: another one
    assert one.until(lambda now: now["published"] > 2)["published"] == 3


def test_unquiesce_reads_the_log_first(machine):
    """The message waits behind the call: still the generation moves before the state does."""
    start, log = machine
    one = start()
    with Client(one.socket) as client:
        assert "parameters" in client.call("Quiesce")
        os.kill(one.pid, signal.SIGSTOP)
        client.send({"method": "org.snapsafe.Manager.Unquiesce"})
        log.say(FORK)
        os.kill(one.pid, signal.SIGCONT)
        answer = client.receive()
    assert answer["parameters"]["restored"] is True
    assert one.describe()["published"] == 2
    # Told first, and the log later: one restore. And then one more.
    one.call("Quiesce")
    assert one.call("Unquiesce", restored=True)["parameters"]["restored"] is True
    assert one.describe()["published"] == 3
    log.say(FORK)
    log.say("so much of that")
    one.call("Quiesce")
    assert one.call("Unquiesce")["parameters"]["restored"] is False
    assert one.describe()["published"] == 3
    log.say(FORK)
    one.until(lambda now: now["published"] == 4)


def test_without_any_sign_there_is_no_file(machine):
    """A file that nobody will write would be taken for a source. With an agent that bumps there is one."""
    start, log = machine
    one = start(vmgenid=False)
    found = one.describe()
    assert (found["how"], found["generation"]) == ("off", None)
    assert "nothing tells this machine of a restore" in found["problems"][0]
    assert not one.file.exists()
    log.say(FORK)
    found = one.call("Bump")["parameters"]
    assert one.file.exists()
    assert found["generation"] > 0


def test_a_log_that_may_not_be_read(machine):
    """The only sign there would be: then it is none."""
    start, _ = machine
    one = start(log="/nowhere")
    found = one.describe()
    assert found["how"] == "off"
    assert any("VMGenID alone tells of a restore, and /dev/kmsg cannot be read" in told for told in found["problems"])
    assert not one.file.exists()


def test_a_log_that_ends(machine, shm_path):
    """No storm of wakeups, and it is said."""
    start, _ = machine
    os.mkfifo(shm_path / "other")
    writer = os.open(shm_path / "other", os.O_RDWR)
    one = start(log=shm_path / "other")
    os.write(writer, b"5,1,1,-;hello\n")
    one.describe()
    os.close(writer)
    found = one.until(lambda now: now["how"] == "off")
    assert any("cannot be read any more" in told for told in found["problems"])
    assert native.writer_gone(str(one.file), f"{one.file}.lock")
    one.call("Bump")  # an agent does
    assert False is native.writer_gone(str(one.file), f"{one.file}.lock")


def test_device_and_message_are_one_restore(machine, shm_path, compile_native):
    start, log = machine
    device = shm_path / "device"
    device.write_bytes(layout(5))
    found = device.stat()
    env = {"LD_PRELOAD": str(compile_native("device.c")), "STANDIN_DEVICE": f"{found.st_dev}:{found.st_ino}"}
    one = start(device=device, env=env)
    assert one.describe()["source"] == "vmclock:/dev/vmclock0"
    with device.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), (6).to_bytes(8, "little"), 0x68)
    log.say(FORK)
    assert one.until(lambda now: now["published"] > 1)["published"] == 2
    time.sleep(1.5)  # the timer that a device without poll needs has looked by now
    assert one.describe()["published"] == 2
    with device.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), (7).to_bytes(8, "little"), 0x68)
    assert one.until(lambda now: now["published"] > 2)["published"] == 3
    log.say(FORK)  # late
    at_rest(one.pid)
    assert one.describe()["published"] == 3
    log.say(FORK)  # and one for which no device moved: the kernel knows better
    assert one.until(lambda now: now["published"] > 3)["published"] == 4


@pytest.fixture
def tiny(shm_path):
    """A /run of three pages."""
    folder = shm_path / "tiny"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12k,mode=755", "tiny", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    with (folder / "full").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1024))


def test_a_full_run_without_the_file(tiny, source_file):
    fill(tiny)
    one = Manager(tiny, source_file.uri)
    try:
        assert any("No space left" in told for told in one.describe()["problems"])
        assert not one.file.exists()
        found = one.call("Bump")
        assert found["error"] == "org.snapsafe.Manager.NotPublished"
        assert "No space left" in found["parameters"]["reason"]
        (tiny / "full").unlink()
        assert one.call("Bump")["parameters"]["generation"] > 0
        assert one.describe()["problems"] == []
    finally:
        one.close()


def test_a_full_run_with_the_file(tiny, source_file):
    """Its page is there: whatever else fills the folder, restores are published, also after a new start."""
    one = Manager(tiny, source_file.uri)
    try:
        fill(tiny)
        source_file.bump()
        assert one.until(lambda now: now["published"] == 2)["problems"] == []
        one.process.kill()
        one.wait()
        source_file.bump()
        again = Manager(tiny, source_file.uri)
        try:
            assert again.describe()["published"] == 1
            fill(tiny)
            refused = again.call("Quiesce")  # the next state takes a page of its own
            assert refused["error"] == "org.snapsafe.Manager.NotPublished"
            assert "No space left" in refused["parameters"]["reason"]
            (tiny / "full").unlink()
            assert again.describe()["problems"] == []
            assert "parameters" in again.call("Quiesce")
        finally:
            again.close()
    finally:
        one.close()
