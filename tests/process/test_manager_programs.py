"""Programs that cannot open the device: they get it from the manager or from systemd, and say so; else the file."""

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time

import pytest

from ..conftest import OPTIONS, PACKAGE, layout
from ..helpers.managed import NOBODY, Container, Manager, python_for

pytestmark = [
    pytest.mark.any_python,
    pytest.mark.skipif(os.geteuid() != 0, reason="takes root, for namespaces of their own"),
]

DEFAULT = "vmclock:/dev/vmclock0,sysgenid:/dev/sysgenid,vmclock:/run/snapsafe/vmclock0"

# A draw that a clone which knows nothing of a restore would make as well.
DRAW = """
import os, random
rng = random.Random()
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, repr(rng.random()).encode())
    os._exit(0)
expected = float(os.read(read, 64))
os.wait()
answer = expected
"""
STATUS = "import snapsafe_rt; answer = snapsafe_rt.status().as_dict()"


class Machine:
    """One with a device that stands in for VMClock's, and with a container in which there is none."""

    def __init__(self, folder, library):
        self.run = folder / "run" / "snapsafe"
        self.run.mkdir(parents=True)
        self.device = folder / "device"
        self.device.write_bytes(layout(5))
        self.device.chmod(0o600)
        found = self.device.stat()
        self.env = {"LD_PRELOAD": str(library), "STANDIN_DEVICE": f"{found.st_dev}:{found.st_ino}"}
        self.outside = Container(folder / "dev1", self.run.parent, self.device)
        self.inside = Container(folder / "dev2", self.run.parent)
        self.manager = None

    def start(self, **more):
        under = self.outside.under
        self.manager = Manager(self.run, DEFAULT, under=under, at="/run/snapsafe", **self.env, **more)
        return self.manager

    def restore(self):
        with self.device.open("r+b", buffering=0) as file:
            (now,) = struct.unpack("<Q", os.pread(file.fileno(), 8, 0x68))
            os.pwrite(file.fileno(), struct.pack("<Q", now + 1), 0x68)

    def close(self):
        if self.manager:
            self.manager.close()
        self.inside.close()
        self.outside.close()


@pytest.fixture
def machine(shm_path, compile_native):
    library = shutil.copy(compile_native("device.c"), shm_path)  # where every user may read it
    one = Machine(shm_path, library)
    yield one
    one.close()


def program(living, machine, under=(), seconds=20):
    """Activated; a manager that is not given the CPU for a while is not one that hangs."""
    under = under or machine.inside.under
    one = living(env={**machine.env, "SNAPSAFE_SOURCES": DEFAULT}, under=under, activated=False, options=OPTIONS)
    one(
        f"from snapsafe_rt.source import passed; passed.SECONDS = {seconds}; import snapsafe_rt; snapsafe_rt.activate()"
    )
    return one


def test_the_manager_passes_the_device(machine, living):
    machine.start()
    assert machine.manager.describe()["how"] == "timer"  # as with a driver without poll
    one = program(living, machine)
    status = one(STATUS)
    assert status["protected"]
    assert (status["source"]["source"], status["source"]["via"]) == ("vmclock:/dev/vmclock0", "the manager")
    assert status["source"]["synchronous"]
    assert status["source"]["value"] == 5
    expected = one(DRAW)
    machine.restore()
    assert one("answer = rng.random()") != expected
    # A manager that ends takes nothing away: the page is mapped.
    machine.manager.process.kill()
    machine.manager.wait()
    expected = one(DRAW)
    machine.restore()
    assert one("answer = rng.random()") != expected
    assert one(STATUS)["source"]["via"] == "the manager"


def test_without_the_manager_nothing_is_noticed_or_claimed(machine, living):
    """The twin."""
    one = program(living, machine)
    status = one(STATUS)
    assert not status["protected"]
    assert status["source"] is None
    expected = one(DRAW)
    machine.restore()
    assert one("answer = rng.random()") == expected


def test_where_the_manager_has_no_device_its_file_is_mapped(machine, living):
    machine.outside.close()
    machine.outside = Container(machine.run.parent.parent / "dev3", machine.run.parent)
    manager = machine.start()
    one = program(living, machine)
    status = one(STATUS)
    source = {"source": None, "via": "", "synchronous": None, **(status["source"] or {})}
    if manager.describe()["how"] == "off":  # neither VMGenID nor a log: then there is no file to be believed
        assert source["source"] is None
        manager.call("Bump")
        source = one(STATUS)["source"]
    assert (source["source"], source["via"]) == ("vmclock:/run/snapsafe/vmclock0", "")
    assert source["synchronous"] is False
    epoch = one(STATUS)["epoch"]
    manager.call("Bump")
    assert one(STATUS)["epoch"] == epoch + 1


def test_a_manager_that_comes_late(machine, living):
    one = program(living, machine)
    assert one(STATUS)["source"] is None
    machine.start()
    status = one(STATUS)
    assert status["source"]["via"] == "the manager"
    assert status["epoch"] == 1  # who knows what happened before


def test_seen_from_outside(machine, living):
    machine.start()
    one = program(living, machine)
    one(STATUS)
    done = subprocess.run(
        [sys.executable, "-m", "snapsafe_rt", "status", "--json", "--pid", str(one.pid)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = json.loads(done.stdout)
    assert found["source"]["via"] == "the manager"
    assert found["source"]["synchronous"]
    assert found["problems"] == []


def test_the_watcher_of_such_a_device(machine, living):
    """It cannot open the path: it looks once a second, and says so."""
    machine.start()
    one = program(living, machine)
    one("import snapsafe_rt, os; told = os.pipe()\nsnapsafe_rt.register_after_restore(os.write, told[1], b'x')")
    one("while snapsafe_rt.status().watching['how'] == 'starting': pass")
    watching = one(STATUS)["watching"]
    assert watching == {"how": "timer", "reason": "the manager opened the device, and its driver cannot be asked here"}
    machine.restore()
    assert one("import select; answer = select.select([told[0]], [], [], 30)[0] == [told[0]]")


def test_the_fence_falls_with_the_managers_word(machine, living):
    """Once the kernel was reseeded for the number that the device shows; not for the one before."""
    manager = machine.start()
    # Programs without CAP_SYS_ADMIN cannot reseed, so theirs stays up.
    under = [*machine.inside.under, "setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    one = program(living, machine, under)
    fence = "import snapsafe_rt; answer = snapsafe_rt.status().fence['state']"
    assert one(fence) == "down"
    os.kill(manager.pid, 19)  # SIGSTOP
    machine.restore()
    assert one(fence) != "down"
    os.kill(manager.pid, 18)
    manager.until(lambda now: now["published"] == 2)
    if manager.describe()["reseeded"]:
        assert one(fence) == "down"
    machine.restore()
    manager.until(lambda now: now["published"] == 3)
    assert one("import snapsafe_rt; answer = snapsafe_rt.epoch()") == 2


def test_systemd_passes_the_device(machine, living, shm_path):
    """OpenFile=/dev/vmclock0:snapsafe:read-only,graceful, played by a shell; the descriptor stays the program's."""
    script = 'exec 3<"$1"; shift; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=snapsafe; exec "$@"'
    under = [*machine.inside.under, "sh", "-c", script, "sh", machine.device]
    one = living(env={**machine.env, "SNAPSAFE_SOURCES": DEFAULT}, under=under, close_fds=False)
    status = one(STATUS)
    assert (status["source"]["source"], status["source"]["via"]) == ("vmclock:/dev/vmclock0", "systemd")
    assert status["protected"]
    expected = one(DRAW)
    machine.restore()
    assert one("answer = rng.random()") != expected
    assert one("answer = os.fstat(3).st_size") == 4096
    # It is not one of a child's that executes something.
    child = "import snapsafe_rt; print(snapsafe_rt.status().source)"
    run = f"import subprocess, sys; answer = subprocess.check_output([sys.executable, '-c', {child!r}], text=True)"
    assert one(run) == "None\n"


@pytest.mark.parametrize(
    "environment",
    [
        {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "snapsafe"},
        {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "snapsafe"},
        {"LISTEN_PID": "own", "LISTEN_FDS": "x", "LISTEN_FDNAMES": "snapsafe"},
        {"LISTEN_PID": "own", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "other"},
        {"LISTEN_PID": "own", "LISTEN_FDS": "0", "LISTEN_FDNAMES": "snapsafe"},
        {"LISTEN_PID": "own", "LISTEN_FDS": "90", "LISTEN_FDNAMES": ":" * 80 + "snapsafe"},
        {"LISTEN_PID": "own", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "snapsafe"},  # number 3 is /dev/null
    ],
    ids=str,
)
def test_what_systemd_did_not_pass(machine, living, environment):
    script = '[ "$LISTEN_PID" != own ] || export LISTEN_PID=$$; exec "$@" 3</dev/null'
    under = [*machine.inside.under, "sh", "-c", script, "sh"]
    one = living(env={**machine.env, "SNAPSAFE_SOURCES": DEFAULT, **environment}, under=under)
    assert one(STATUS)["source"] is None


def test_a_manager_that_hangs(machine, living):
    """A fifth of a second; once more in a while, for it may have been held off the CPU; then once a minute."""
    manager = machine.start()
    os.kill(manager.pid, 19)
    one = program(living, machine, seconds=0.2)
    assert one("answer = snapsafe_rt.status().source['source']") == "vmclock:/run/snapsafe/vmclock0"
    assert one("answer = snapsafe_rt.status().candidates[0]['reason']").endswith("could not be asked (timed out)")
    one("""
import time
from snapsafe_rt.source import probe
ask, asked = passed._ask, []
def timed(received):
    began = time.monotonic()
    try: return ask(received)
    finally: asked.append(time.monotonic() - began)
passed._ask = timed
def look(seconds):  # that much later
    passed._again_at -= seconds
    probe.probe(now=True)
    return len(asked)
""")
    assert one("answer = look(0), look(3), look(50), look(10)") == [0, 1, 1, 2]
    assert all(0.15 < seconds < 5 for seconds in one("answer = asked"))
    os.kill(manager.pid, 18)
    assert one("passed.SECONDS = 20; answer = look(60), snapsafe_rt.status().source['via']") == [3, "the manager"]


def test_in_a_user_namespace(machine, living):
    """Root of outside shows as 65534 there; outside, that is nobody, who is not believed."""
    machine.start()
    user = [*NOBODY, "unshare", "--user", "--map-root-user"]
    under = [*machine.inside.under, *user, "sh", "-c", 'shift; exec "$0" "$@"', python_for(user)]
    one = program(living, machine, under)
    assert one("import os; answer = os.stat('/run/snapsafe/vmclock0').st_uid") == 65534
    status = one(STATUS)
    assert status["source"]["via"] == "the manager"
    assert machine.manager.describe()["published"] == 1


@pytest.mark.parametrize("how", ["garbage", "endless", "silent", "closed", "no descriptor", "another name", "null"])
def test_managers_of_another_kind(machine, living, how):
    """Whatever listens there: no program breaks, no descriptor stays, nothing is believed."""
    listener = socket.socket(socket.AF_UNIX)
    path = machine.run / "org.snapsafe.Manager"
    listener.bind(str(path))
    listener.listen()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(OSError):
            answer = b'{"parameters":{"source":"vmclock:/dev/vmclock0","fileDescriptor":0}}\0'
            peer, _ = listener.accept()
            peer.recv(4096)
            device = os.open(machine.device, os.O_RDONLY)
            null = os.open("/dev/null", os.O_RDONLY)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("2i", device, device))]
            if how == "garbage":
                peer.sendmsg([b"\xff{}[]" * 100 + b"\0"], rights)
            elif how == "endless":
                peer.sendmsg([b"x" * 100], rights)
                while True:
                    peer.sendall(b"x")
            elif how == "silent":
                peer.sendmsg([b"{"], rights)
                time.sleep(60)
            elif how == "no descriptor":
                peer.sendall(answer)
            elif how == "another name":
                peer.sendmsg([answer.replace(b"vmclock0", b"vmclock9")], rights)
            elif how == "null":
                peer.sendmsg([answer], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", null))])
        os._exit(0)
    listener.close()
    try:
        one = program(living, machine, seconds=2)
        status = one(STATUS)
        assert status["source"] is None
        if how == "null":
            assert "what the manager passed" in status["candidates"][0]["reason"]
        open_files = one("import glob, os; answer = [os.path.realpath(name) for name in glob.glob('/proc/self/fd/*')]")
        assert not any("device" in name or name == "/dev/null" for name in open_files), open_files
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_of_another_user_it_is_not_believed(machine, living, shm_path):
    """Whoever could hold the counter still must be root or ourselves."""
    machine.run.chmod(0o777)
    code = (
        "import os, socket, struct, sys; s = socket.socket(socket.AF_UNIX); fd = os.open(sys.argv[2], os.O_RDONLY)\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); s.bind(sys.argv[1]); s.listen(); print(flush=True)\n"
        "p, _ = s.accept(); p.recv(99)\n"
        'p.sendmsg([b\'{"parameters":{"source":"vmclock:/dev/vmclock0"}}\\0\'], [(1, 1, struct.pack(\'i\', fd))])\n'
        "p.recv(99)"
    )
    path = machine.run / "org.snapsafe.Manager"
    other = subprocess.Popen([sys.executable, "-c", code, path, machine.device], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "\n"
        status = program(living, machine)(STATUS)
        assert status["source"] is None
        assert "runs as another user" in status["candidates"][0]["reason"]
    finally:
        other.kill()
        other.communicate()


def test_no_socket_costs_nothing(machine, run_python):
    """Nothing is imported for it, and the path is looked at once."""
    script = "import sys; print(sorted({'_socket', 'socket', 'json', 'snapsafe_rt.source.passed'} & set(sys.modules)))"
    assert run_python(script, env={"SNAPSAFE_SOURCES": "vmclock:/dev/nowhere/vmclock0"}, dev=False) == "[]\n"
