"""A manager that runs beside a test, and who talks to it."""

import array
import json
import os
import socket
import subprocess
import sys
import time

import pytest

from ..conftest import PACKAGE

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def python_for(under):
    """An interpreter of this version that may be executed under that; skips the test where there is none."""
    version = f"import sys; assert sys.version_info[:2] == {sys.version_info[:2]}"
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([*under, "env", python, "-c", version], check=False, capture_output=True).returncode == 0:
            return python
    return pytest.skip("this Python lies where no other user may go")


INTERFACE = "org.snapsafe.Manager"


class Notified:
    """Where the manager tells its service manager how it is: sd_notify(3), in the abstract namespace."""

    def __init__(self):
        self.peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.peer.bind("")
        self.peer.settimeout(30)
        self.name = "@" + self.peer.getsockname()[1:].decode()

    def until(self, beginning):
        while True:
            text = self.peer.recv(65536).decode()
            if text.startswith(beginning):
                return text


class Manager:
    """Started, and ready. `sources`: what it watches; its file and socket lie in `folder`, or have their default names
    where that is /run/snapsafe to the process itself (`at`)."""

    def __init__(
        self, folder, sources="", *, under=(), wait=True, at="", options=(), python=sys.executable, **environment
    ):
        names = ("org.snapsafe.Manager", "vmclock0") if at else ("socket", "published")
        self.socket, self.file = (folder / name for name in names)
        options = [*options, *([] if at else ["--socket", self.socket, "--file", self.file])]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON"))}
        self.notified = Notified()
        self.process = subprocess.Popen(
            [*under, python, "-m", "snapsafe_rt", "manager", *options],
            env={
                **kept,
                "PYTHONPATH": str(PACKAGE.parent),
                "SNAPSAFE_SOURCES": sources or f"vmclock:{self.file}",
                "NOTIFY_SOCKET": self.notified.name,
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if wait:
            self.ready()

    def ready(self):
        self.notified.until("READY=1")
        return self

    @property
    def pid(self):
        return self.process.pid

    def call(self, method, **parameters):
        with Client(self.socket) as client:
            return client.call(method, **parameters)

    def describe(self):
        return self.call("Describe")["parameters"]

    def until(self, true):
        """Asks until that is true of what it describes, and returns it."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            found = self.describe()
            if true(found):
                return found
            time.sleep(0.01)
        raise AssertionError(found)

    def end(self, timeout=30):
        self.process.terminate()
        return self.wait(timeout)

    def wait(self, timeout=30):
        out, error = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, error

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.process.stdout.close()
        self.process.stderr.close()
        self.notified.peer.close()


class Client:
    """Speaks Varlink, with nothing of the code under test."""

    def __init__(self, path):
        self.peer = socket.socket(socket.AF_UNIX)
        self.peer.settimeout(30)
        self.peer.connect(str(path))
        self.fds = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.peer.close()
        for fd in self.fds:
            os.close(fd)

    def send(self, message):
        self.peer.sendall(json.dumps(message).encode() + b"\0")

    def receive(self):
        """The next answer; None if the other side has ended the connection. Descriptors are in `fds`."""
        text = b""
        while not text.endswith(b"\0"):
            try:
                part, along, _, _ = self.peer.recvmsg(1, 64)
            except ConnectionResetError:
                return None
            for _, _, data in along:
                self.fds += array.array("i", data)
            if not part:
                return None
            text += part
        return json.loads(text[:-1])

    def call(self, method, **parameters):
        self.send({"method": method if "." in method else f"{INTERFACE}.{method}", "parameters": parameters})
        return self.receive()


class Container:
    """A mount namespace whose /run and /dev are its own, held until close(). Takes root.

    `run`: the folder that is /run; `device`: the file that is /dev/vmclock0, if any; `log`: the one that is /dev/kmsg;
    `vmgenid`: does sysfs show a VMGenID.
    """

    SCRIPT = """
        mount --make-rprivate / 2>/dev/null || true  # in .ci/tree the root is no mount, and all are private already
        set -e
        dev=$1 run=$2 device=$3 log=$4 vmgenid=$5
        mount -t tmpfs -o mode=755 dev "$dev"
        for name in null zero full random urandom tty; do
            [ ! -e /dev/$name ] || { touch "$dev/$name"; mount --bind "/dev/$name" "$dev/$name"; }
        done
        [ ! -e "$log" ] || { touch "$dev/kmsg"; mount --bind "$log" "$dev/kmsg"; }
        mkdir "$dev/shm"
        mount --bind /dev/shm "$dev/shm"
        [ -z "$device" ] || { touch "$dev/vmclock0"; mount --bind "$device" "$dev/vmclock0"; }
        mount -t tmpfs drivers /sys/bus/platform/drivers
        mkdir /sys/bus/platform/drivers/vmgenid
        [ -z "$vmgenid" ] || ln -s x /sys/bus/platform/drivers/vmgenid/VMGENCTR:00
        mount --bind "$run" /run
        mount --rbind "$dev" /dev
        echo ready
        exec sleep infinity
    """

    def __init__(self, folder, run, device=None, log="/dev/kmsg", vmgenid=True):
        folder.mkdir()
        unshare = ["unshare", "--mount", "--propagation", "unchanged"]
        self.holder = subprocess.Popen(
            [*unshare, "sh", "-c", self.SCRIPT, "sh", folder, run, device or "", log, "1" if vmgenid else ""],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout.readline() == "ready\n"

    @property
    def under(self):
        process = f"/proc/{self.holder.pid}"
        return ["nsenter", f"--mount={process}/ns/mnt", f"--root={process}/root"]

    def close(self):
        self.holder.kill()
        self.holder.wait(10)
        self.holder.stdout.close()


def starting(folder, uri):
    """For a fixture start(*options): a Manager in the folder that watches the source; it is ended with the test."""
    started = []

    def start(*options):
        started.append(Manager(folder, uri, options=options))
        return started[-1]

    yield start
    for one in started:
        one.close()
