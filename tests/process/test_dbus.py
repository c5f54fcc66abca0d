"""The D-Bus facade on a real bus, asked by busctl and by a client of the bus: a lock is its descriptor."""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from ..conftest import PACKAGE, SLOW, SourceFile
from ..helpers.managed import NOBODY, Client, Manager, python_for

pytestmark = pytest.mark.any_python

pytest.importorskip("jeepney", reason="the extra dbus is not installed")
if shutil.which("dbus-daemon") is None:
    pytest.skip("no dbus-daemon: apt-get install dbus-daemon", allow_module_level=True)

NAME, PATH = "org.snapsafe.Manager1", "/org/snapsafe/Manager1"
POLICY = PACKAGE.parent / "packaging" / "dbus" / "org.snapsafe.Manager1.conf"
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON", "DBUS"))},
    "PYTHONPATH": str(PACKAGE.parent),
}
OPEN = '<allow own="*"/><allow send_type="method_call"/>'
CONFIGURATION = """\
<busconfig>
  <type>system</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow send_type="signal"/><allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/><allow receive_type="method_call"/>
    <allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
    {more}
  </policy>
  {include}
</busconfig>
"""

root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


class Bus:
    """A dbus-daemon of the test's own. `policy`: with ours, as the system's bus; else everybody may do everything."""

    def __init__(self, folder, policy=False):
        self.path = folder / "bus"
        self.address = f"unix:path={self.path}"
        include = f"<include>{POLICY}</include>" if policy else ""
        configuration = folder / "bus.conf"
        configuration.write_text(CONFIGURATION.format(path=self.path, more="" if policy else OPEN, include=include))
        self.process = subprocess.Popen(
            ["dbus-daemon", f"--config-file={configuration}", "--nofork", "--print-address=1"],
            stdout=subprocess.PIPE,
            text=True,
        )
        said = self.process.stdout.readline()
        if not said.startswith("unix:"):
            self.close()
            raise AssertionError(said)
        self.path.chmod(0o666)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Facade:
    def __init__(self, bus, manager_socket):
        command = [sys.executable, "-X", "dev", "-m", "snapsafe_rt", "dbus", "--bus", bus.address]
        command += ["--socket", manager_socket]
        self.process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)

    @property
    def pid(self):
        return self.process.pid

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        _, error = self.process.communicate(timeout=30)
        return self.process.returncode, SLOW.sub("", error)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def bus(shm_path):
    one = Bus(shm_path)
    yield one
    one.close()


@pytest.fixture
def start(shm_path):
    source = SourceFile(shm_path / "outer")
    with contextlib.ExitStack() as stack:

        def start():
            return stack.enter_context(contextlib.closing(Manager(shm_path, source.uri)))

        yield start


@pytest.fixture
def manager(start):
    return start()


@pytest.fixture
def facade(bus, manager):
    one = Facade(bus, manager.socket)
    yield one
    one.close()


def busctl(bus, *arguments, under=()):
    if shutil.which("busctl") is None:
        pytest.skip("no busctl: apt-get install systemd")
    command = [*under, "busctl", f"--address={bus.address}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def until(true, seconds=30):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


class Caller:
    """A client on the bus, of a process of its own: told line by line what to do, as a user may be."""

    SCRIPT = textwrap.dedent(
        """
        import collections, json, os, select, sys
        from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call
        from jeepney.io.blocking import open_dbus_connection

        NAME, PATH = "org.snapsafe.Manager1", "/org/snapsafe/Manager1"
        DRIVER = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
        OURS = DBusAddress(PATH, NAME, NAME)
        connection = open_dbus_connection(sys.argv[1], enable_fds=True)
        signals, locks = collections.deque(), []

        def say(what):
            print(json.dumps(what, default=lambda _: 0), flush=True)

        def receive():
            message = connection.receive(timeout=30)
            if message.header.message_type is MessageType.signal:
                if message.header.fields[HeaderFields.interface] == NAME:
                    signals.append([message.header.fields[HeaderFields.member], message.body])
            return message

        def call(member, signature=None, body=(), to=OURS):
            serial = next(connection.outgoing_serial)
            connection.send(new_method_call(to, member, signature, tuple(body)), serial=serial)
            while (reply := receive()).header.fields.get(HeaderFields.reply_serial) != serial:
                pass
            if reply.header.message_type is MessageType.error:
                return {"error": reply.header.fields[HeaderFields.error_name], "text": reply.body}
            return reply.body

        call("AddMatch", "s", [f"type='signal',interface='{NAME}'"], DRIVER)
        say("ready")
        while line := sys.stdin.readline():
            what, *rest = json.loads(line)
            if what == "inhibit":
                found = call("Inhibit", "ssss", rest)
                if isinstance(found, tuple):
                    locks.append(found[0].to_raw_fd())
                say(found)
            elif what == "list":
                say(call("ListInhibitors"))
            elif what == "get":
                found = call("Get", "ss", [NAME, *rest], OURS.with_interface("org.freedesktop.DBus.Properties"))
                say(found if isinstance(found, dict) else found[0][1])
            elif what == "release":
                os.close(locks.pop())
                say(None)
            elif what == "signal":
                while not signals:
                    receive()
                say(signals.popleft())
            elif what == "flood":
                for _ in range(200):
                    call("Nothing", "h", [0])
                say(None)
            elif what == "odd":  # nobody checks what such a number means before it is read
                path, interface, member, *more = rest
                say(call(member, *more, to=DBusAddress(path, NAME, interface)))
        """
    )

    def __init__(self, bus, under=(), python=sys.executable, path=str(PACKAGE.parent)):
        self.process = subprocess.Popen(
            [*under, python, "-c", self.SCRIPT, bus.address],
            env=ENVIRONMENT | {"PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.hears() == "ready"

    def hears(self):
        assert select.select([self.process.stdout], [], [], 30)[0], "no answer"
        return json.loads(self.process.stdout.readline())

    def __call__(self, *what):
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return self.hears()

    def until(self, what, true):
        """Asks again and again: the name is taken a moment after the start."""
        return until(lambda: (found := self(*what)) is not None and true(found) and [found])[0]

    def close(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def caller(bus, facade):
    one = Caller(bus)
    one.until(["get", "State"], lambda found: found == "running")
    yield one
    one.close()


def test_busctl(bus, manager, caller):
    """logind's names and signatures."""
    code, out, error = busctl(bus, "introspect", NAME, PATH, NAME)
    assert (code, error) == (0, "")
    shown = {tuple(line.split()[:3]) for line in out.splitlines()}
    assert {
        (".Inhibit", "method", "ssss"),
        (".ListInhibitors", "method", "-"),
        (".PrepareForSnapshot", "signal", "b"),
        (".State", "property", "s"),
        (".InhibitDelayMaxUSec", "property", "t"),
        (".PreparingForSnapshot", "property", "b"),
    } <= shown
    read = "State", "InhibitDelayMaxUSec", "PreparingForSnapshot"
    assert busctl(bus, "get-property", NAME, PATH, NAME, *read) == (0, 's "running"\nt 5000000\nb false\n', "")
    with Client(manager.socket) as client:
        client.call("Inhibit", who="us", why="a test", mode="block")
        code, out, _ = busctl(bus, "call", NAME, PATH, NAME, "ListInhibitors")
        lock = f'"snapshot" "us" "a test" "block" {os.getuid()} {os.getpid()}'
        assert (code, out) == (0, f"a(ssssuu) 1 {lock}\n")
    # busctl has gone, and so has its lock, by the time that it prints the number.
    code, out, _ = busctl(bus, "call", NAME, PATH, NAME, "Inhibit", "ssss", "snapshot", "us", "a test", "delay")
    assert (code, out[:2]) == (0, "h ")
    manager.until(lambda now: now["inhibitors"] == 0)
    code, _, error = busctl(bus, "call", NAME, PATH, NAME, "Inhibit", "ssss", "sleep", "us", "a test", "delay")
    assert code != 0
    assert "what" in error


def test_what_every_object_answers(caller):
    """The interfaces that tools of the bus ask for, and names for what is not there."""
    peer, properties = "org.freedesktop.DBus.Peer", "org.freedesktop.DBus.Properties"
    introspectable = "org.freedesktop.DBus.Introspectable"
    assert caller("odd", PATH, peer, "Ping") == []
    [everything] = caller("odd", PATH, properties, "GetAll", "s", [NAME])
    assert everything == {
        "State": ["s", "running"],
        "PreparingForSnapshot": ["b", False],
        "InhibitDelayMaxUSec": ["t", 5000000],
    }
    for path, child in (("/", "org"), ("/org", "snapsafe"), ("/org/snapsafe", "Manager1")):
        assert caller("odd", path, introspectable, "Introspect") == [f'<node><node name="{child}"/></node>']
    [xml] = caller("odd", PATH, introspectable, "Introspect")
    for name in (NAME, peer, properties, introspectable):
        assert f'<interface name="{name}">' in xml
    for error, asked in (
        ("UnknownMethod", (PATH, NAME, "Nothing")),
        ("UnknownMethod", (PATH, peer, "Inhibit")),
        ("UnknownObject", ("/org/snapsafe/Manager2", NAME, "ListInhibitors")),
        ("UnknownObject", ("/org", properties, "GetAll", "s", [NAME])),
        ("InvalidArgs", (PATH, NAME, "Inhibit", "sss", ["snapshot", "us", "why"])),
        ("InvalidArgs", (PATH, NAME, "ListInhibitors", "s", ["x"])),
        ("UnknownProperty", (PATH, properties, "Get", "ss", [NAME, "Nothing"])),
        ("PropertyReadOnly", (PATH, properties, "Set", "ssv", [NAME, "State", ["s", "quiesced"]])),
    ):
        assert caller("odd", *asked)["error"] == f"org.freedesktop.DBus.Error.{error}", asked
    assert caller("get", "State") == "running"


def test_one_snapshot(manager, caller):
    """The lock is the descriptor; the signal comes first and last."""
    caller("inhibit", "snapshot", "us", "a test", "delay")
    [lock] = caller("list")[0]
    assert lock == ["snapshot", "us", "a test", "delay", os.getuid(), caller.process.pid]
    with Client(manager.socket) as asking:
        asking.send({"method": "org.snapsafe.Manager.Quiesce"})
        assert caller("signal") == ["PrepareForSnapshot", [True]]
        assert caller("get", "State") == "quiescing"
        assert caller("get", "PreparingForSnapshot") is True
        assert manager.describe()["state"] == "quiescing"
        caller("release")
        assert asking.receive()["parameters"]["late"] == []
    caller.until(["get", "State"], lambda found: found == "quiesced")
    refused = caller("inhibit", "snapshot", "us", "a test", "delay")
    assert refused["error"] == f"{NAME}.OperationInProgress"
    manager.call("Unquiesce")
    assert caller("signal") == ["PrepareForSnapshot", [False]]
    caller("inhibit", "snapshot", "us", "a test", "block")
    assert manager.call("Quiesce")["parameters"]["who"] == "us"


def test_who_ends(manager, facade, caller, bus):
    """The holder: its lock goes. The facade: all of them. Nobody leaves a descriptor behind."""
    before = facade.descriptors()
    other = Caller(bus)
    for number in range(20):
        other("inhibit", "snapshot", f"lock {number}", "a test", "delay")
    assert manager.describe()["inhibitors"] == 20
    until(lambda: facade.descriptors() == before + 40)  # a pipe's end, and a connection
    other.close()
    manager.until(lambda now: now["inhibitors"] == 0)
    until(lambda: facade.descriptors() == before)
    caller("flood")  # descriptors that nobody asked for
    assert facade.descriptors() == before
    caller("inhibit", "snapshot", "us", "a test", "delay")
    assert facade.end() == (0, "")
    manager.until(lambda now: now["inhibitors"] == 0)


def test_the_manager_is_restarted(manager, facade, caller, start):
    """What is held is taken again; meanwhile it is told that nobody keeps it."""
    caller("inhibit", "snapshot", "us", "a test", "block")
    with Client(manager.socket) as asking:
        asking.send({"method": "org.snapsafe.Manager.Quiesce"})
        assert "BlockedByInhibitor" in asking.receive()["error"]
    manager.process.kill()
    manager.wait()
    caller.until(["get", "State"], lambda found: found == "unknown")
    assert caller("list")["error"] == f"{NAME}.NoManager"
    assert caller("inhibit", "snapshot", "us", "a test", "delay")["error"] == f"{NAME}.NoManager"
    again = start()
    again.until(lambda now: now["inhibitors"] == 1)
    assert again.call("Quiesce")["parameters"]["who"] == "us"
    caller("release")
    again.until(lambda now: now["inhibitors"] == 0)
    # In the midst of a snapshot: the end of it is told all the same.
    again.call("Quiesce")
    assert caller("signal") == ["PrepareForSnapshot", [True]]
    again.process.kill()
    again.wait()
    assert caller("signal") == ["PrepareForSnapshot", [False]]


@root
def test_the_policy(shm_path, manager):
    """As on the system's bus: only root takes the name; all may take a delay lock, and no block lock."""
    python = python_for((*NOBODY, "env", f"PYTHONPATH={os.pathsep.join(sys.path)}"))
    folder = os.path.dirname(os.path.dirname(sys.modules["jeepney"].__file__))
    script = f"import sys; sys.path.append({folder!r}); import jeepney"
    if subprocess.run([*NOBODY, python, "-c", script], check=False, capture_output=True).returncode:
        pytest.skip("jeepney lies where no other user may go")
    bus = Bus(shm_path, policy=True)
    facade = None
    try:
        driver = "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"
        refused = busctl(bus, "call", *driver, "RequestName", "su", NAME, "0", under=NOBODY)[2]
        assert "Access denied" in refused
        facade = Facade(bus, manager.socket)
        stranger = Caller(bus, under=NOBODY, python=python, path=folder)
        try:
            stranger.until(["get", "State"], lambda found: found == "running")
            denied = stranger("inhibit", "snapshot", "us", "a test", "block")
            assert denied["error"] == "org.freedesktop.DBus.Error.AccessDenied"
            assert manager.describe()["inhibitors"] == 0
            stranger("inhibit", "snapshot", "us", "a test", "delay")
            [lock] = stranger("list")[0]
            assert lock[3:] == ["delay", 65534, stranger.process.pid]
        finally:
            stranger.close()
    finally:
        if facade is not None:
            facade.close()
        bus.close()


def test_refused(bus, facade, caller, manager):
    second = Facade(bus, manager.socket)
    code, error = second.wait()
    assert code == 1
    assert error.startswith(f"snapsafe dbus: {NAME} is another's")
    assert error.count("\n") == 1
    bus.close()
    assert facade.wait() == (1, "snapsafe dbus: the bus has gone\n")
    third = Facade(bus, manager.socket)
    code, error = third.wait()
    assert code == 1
    assert "no bus at" in error
    assert error.count("\n") == 1


def test_without_the_library(run_python):
    error = run_python(
        "import sys; sys.modules['jeepney'] = None; from snapsafe_rt.cli import main; sys.exit(main.main(['dbus']))",
        status=78,
        stream="stderr",
    )
    assert "pip install 'snapsafe-rt[dbus]'" in error
    assert error.count("\n") == 1
