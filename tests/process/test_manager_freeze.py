"""snapsafe manager --freeze: programs that stand still over a snapshot run again only after they were told of it."""

import contextlib
import os
import select
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..helpers.managed import Client, Manager

pytestmark = pytest.mark.any_python

ROOTS = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")]


@pytest.fixture
def cgroup():
    """A cgroup v2 of the test's own."""
    for root in ROOTS:
        folder = root / f"snapsafe-test-{os.getpid()}"
        if (root / "cgroup.controllers").exists():
            with contextlib.suppress(OSError):
                folder.mkdir()
                break
    else:
        pytest.skip("no cgroup v2 that this user may write")
    yield folder
    (folder / "cgroup.freeze").write_text("0")
    with contextlib.suppress(ProcessLookupError):
        for line in (folder / "cgroup.procs").read_text().split():
            os.kill(int(line), signal.SIGKILL)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.01)


@pytest.fixture
def manager(shm_path, source_file, cgroup):
    made = []

    def start(freeze=cgroup, **more):
        made.append(Manager(shm_path, source_file.uri, options=["--freeze", freeze], **more))
        return made[-1]

    yield start
    for one in made:
        one.close()


# A hot loop: prints the first draw after each change that it sees in the device itself (as a hypervisor makes it), and
# whether what it watches had already moved then.
LOOP = """
import os, random, struct, sys
import snapsafe_rt
device = os.open(sys.argv[1], os.O_RDONLY)
rng = random.Random()
seen = os.pread(device, 8, 0x68)
epoch = snapsafe_rt.epoch()
print("ready", flush=True)
while True:
    now = os.pread(device, 8, 0x68)
    value = rng.random()
    if now != seen:
        print(snapsafe_rt.epoch() - epoch, flush=True)
        break
"""


class Program:
    def __init__(self, cgroup, manager, source, environment):
        self.process = subprocess.Popen(
            [sys.executable, "-c", LOOP, source.path],
            env={**environment, "SNAPSAFE_SOURCES": f"vmclock:{manager.file}"},
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: (cgroup / "cgroup.procs").write_text(str(os.getpid())),
        )
        assert self.process.stdout.readline() == "ready\n"

    def says(self, seconds):
        return self.process.stdout.readline() if select.select([self.process.stdout], [], [], seconds)[0] else None

    def close(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def program(cgroup, source_file):
    from ..conftest import FOLDER, PACKAGE

    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON"))}
    kept["PYTHONPATH"] = f"{FOLDER}{os.pathsep}{PACKAGE.parent}"
    made = []

    def start(manager):
        made.append(Program(cgroup, manager, source_file, kept))
        return made[-1]

    yield start
    for one in made:
        one.close()


def slow(manager):
    """A manager that gets no time for a while, as at the beginning of a clone."""
    os.kill(manager.pid, signal.SIGSTOP)


def goes_on(manager):
    os.kill(manager.pid, signal.SIGCONT)


def test_frozen_programs_see_the_restore_first(manager, program, source_file):
    one = manager()
    running = program(one)
    assert one.call("Freeze") == {"parameters": {}}
    slow(one)
    source_file.bump()  # the restore
    assert running.says(0.3) is None  # it stands still
    goes_on(one)
    assert running.says(30) == "1\n"  # its first draw was a renewed one
    assert one.describe()["problems"] == []


def test_unfrozen_ones_do_not(manager, program, source_file):
    """The twin."""
    one = manager()
    running = program(one)
    slow(one)
    source_file.bump()
    assert running.says(30) == "0\n"
    goes_on(one)
    found = one.until(lambda now: now["published"] == 2)
    # And the file is not called synchronous after that.
    assert "without Freeze" in found["problems"][0]
    assert word(one) == 0


def test_what_comes_right_after_a_thaw_in_the_original(manager, source_file):
    """Is no late sign of anything: that snapshot was taken without Freeze."""
    one = manager()
    one.call("Freeze")
    one.call("Thaw", restored=False)
    source_file.bump()
    found = one.until(lambda now: now["published"] == 2)
    assert "without Freeze" in found["problems"][0]
    assert word(one) == 0


def word(manager):
    return struct.unpack_from("<I", manager.file.read_bytes(), 0x808)[0]


def state(cgroup):
    return "frozen 1" in (cgroup / "cgroup.events").read_text()


def test_the_file_is_synchronous(manager, program, cgroup, living):
    one = manager()
    assert word(one) == 1
    watching = living(env={"SNAPSAFE_SOURCES": f"vmclock:{one.file}"})
    assert watching("import snapsafe_rt; answer = snapsafe_rt.status().source['synchronous']") is True
    published = one.describe()["published"]
    one.call("Freeze")
    assert state(cgroup)
    one.call("Thaw", restored=False)  # the original
    assert not state(cgroup)
    assert one.describe()["published"] == published
    one.call("Freeze")
    one.call("Thaw", restored=True)  # a clone in which nothing tells of it
    assert not state(cgroup)
    assert one.describe()["published"] == published + 1
    one.call("Thaw", restored=True)  # and once is enough
    assert one.describe()["published"] == published + 1
    assert word(one) == 1


def test_the_claim_goes_with_the_manager(manager, shm_path, source_file):
    one = manager()
    assert word(one) == 1
    one.end()
    assert word(one) == 0
    killed = manager()
    assert word(killed) == 1
    killed.process.kill()
    killed.wait()
    other = Manager(shm_path, source_file.uri)  # without --freeze
    try:
        assert word(other) == 0
    finally:
        other.close()


def test_an_agent_ends_the_standstill(manager, cgroup):
    one = manager()
    one.call("Freeze")
    one.call("Bump")
    assert not state(cgroup)
    assert word(one) == 1


def test_nobody_thaws(manager, cgroup):
    one = manager()
    published = one.describe()["published"]
    one.call("Freeze", seconds=4)
    assert state(cgroup)
    one.until(lambda now: now["published"] == published + 1)  # as if restored: who knows
    assert not state(cgroup)
    # A later freeze has its own time.
    one.call("Freeze", seconds=60)
    time.sleep(4.5)  # the time of the first is over by then, and half a second
    assert state(cgroup)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("again", ["the same", "without"])
def test_the_manager_ends_meanwhile(manager, cgroup, shm_path, source_file, end, again):
    one = manager()
    generation = one.describe()["generation"]
    one.call("Freeze")
    one.process.send_signal(end)
    one.wait()
    assert state(cgroup) == (end == signal.SIGKILL)
    other = manager() if again == "the same" else Manager(shm_path, source_file.uri)
    try:
        assert not state(cgroup)
        assert other.describe()["generation"] > generation
    finally:
        other.close()


def test_refused(manager, cgroup, shm_path, source_file):
    one = manager()
    for wrong in (0, -1, 3601, True, "x", 1.5):
        assert one.call("Freeze", seconds=wrong)["error"] == "org.varlink.service.InvalidParameter"
    assert one.call("Thaw")["error"] == "org.varlink.service.InvalidParameter"
    assert not state(cgroup)
    one.call("Freeze")
    assert one.call("Freeze")["error"] == "org.snapsafe.Manager.NotFrozen"
    one.end()
    without = Manager(shm_path, source_file.uri)
    try:
        assert without.call("Freeze")["error"] == "org.snapsafe.Manager.NotFrozen"
    finally:
        without.close()


def test_others_may_not(manager, cgroup):
    if os.geteuid() != 0:
        pytest.skip("takes root")
    one = manager()
    for method, parameters in (("Freeze", {}), ("Thaw", {"restored": False})):
        pid = os.fork()
        if pid == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            with Client(one.socket) as client:
                answer = client.call(method, **parameters)
            os._exit(0 if answer["error"] == "org.varlink.service.PermissionDenied" else 1)
        assert os.waitpid(pid, 0)[1] == 0
    assert not state(cgroup)


def test_quiesce_freezes_last(manager, cgroup):
    """The programs are asked while they run, and run again when the restore is published."""
    one = manager()
    published = one.describe()["published"]
    with Client(one.socket) as holder, Client(one.socket) as asking:
        holder.call("Inhibit", who="x", why="", mode="delay")
        asking.send({"method": "org.snapsafe.Manager.Quiesce"})
        one.until(lambda now: now["state"] == "quiescing")
        assert not state(cgroup)
        holder.call("Ready")
        assert asking.receive()["parameters"]["frozen"] is True
    assert state(cgroup)
    for method, parameters in (("Freeze", {}), ("Thaw", {"restored": False})):
        answer = one.call(method, **parameters)
        assert answer == {"error": "org.snapsafe.Manager.OperationInProgress", "parameters": {"state": "quiesced"}}
    assert one.call("Unquiesce")["parameters"]["restored"] is False
    assert not state(cgroup)
    assert one.describe()["published"] == published
    assert word(one) == 1
    one.call("Freeze")
    assert one.call("Quiesce")["error"] == "org.snapsafe.Manager.NotFrozen"  # they could not be asked
    one.call("Thaw", restored=False)
    assert one.describe()["state"] == "running"


def test_a_clone_of_quiesced_programs(manager, cgroup, program, source_file):
    """As with Freeze: the first draw that sees the restore is a renewed one. With hold they wait for the word."""
    one = manager()
    running = program(one)
    assert one.call("Quiesce", hold=True)["parameters"]["frozen"] is True
    published = one.describe()["published"]
    source_file.bump()
    one.until(lambda now: now["published"] == published + 1)
    assert state(cgroup)
    assert running.says(0.2) is None
    assert one.call("Unquiesce")["parameters"]["restored"] is True
    assert running.says(30) == "1\n"
    one.call("Quiesce")
    source_file.bump()
    one.until(lambda now: now["state"] == "running")
    assert not state(cgroup)
    assert one.describe()["problems"] == []


def test_a_restore_soon_after_the_original_went_on(manager, source_file):
    """That is none that was told of: programs ran when it came, and the file is called synchronous no more."""
    one = manager()
    one.call("Quiesce")
    one.call("Unquiesce")
    source_file.bump()
    found = one.until(lambda now: now["published"] == 2)
    assert "without Freeze" in found["problems"][0]
    assert word(one) == 0


def test_quiesced_and_nobody_calls(shm_path, source_file, cgroup):
    one = Manager(shm_path, source_file.uri, options=["--freeze", cgroup, "--quiesced-max", "4"])
    try:
        published = one.describe()["published"]
        one.call("Quiesce")
        assert state(cgroup)
        found = one.until(lambda now: now["state"] == "running")
        assert not state(cgroup)
        assert found["published"] == published + 1  # as if restored: who knows
    finally:
        one.close()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_manager_ends_while_quiesced(manager, cgroup, end):
    one = manager()
    generation = one.describe()["generation"]
    one.call("Quiesce")
    one.process.send_signal(end)
    one.wait()
    assert state(cgroup) == (end == signal.SIGKILL)
    other = manager()
    assert not state(cgroup)
    assert other.describe()["generation"] > generation
    assert other.describe()["state"] == "running"


def test_what_cannot_be_frozen(manager, cgroup, shm_path):
    """Said at the start, not at the snapshot."""
    for folder, told in ((shm_path, "is no cgroup v2"), (cgroup, "has this manager in it")):
        under = ["sh", "-c", f'echo $$ >{cgroup}/cgroup.procs; exec "$@"', "sh"]
        code, out, error = manager(folder, under=under, wait=False).wait()
        assert (code, out) == (78, "")
        assert told in error
        assert error.count("\n") == 1
