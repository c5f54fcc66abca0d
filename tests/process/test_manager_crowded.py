"""Users who are against it: they fill the manager's socket, and lock what they may read. Root is heard all the same."""

import contextlib
import fcntl
import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..conftest import PACKAGE
from ..helpers.managed import NOBODY, Manager, python_for

pytestmark = [
    pytest.mark.any_python,
    pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root"),
]

SCRIPT = Path(__file__).parents[2] / "packaging/criu/snapsafe.sh"

# Takes every connection and the whole backlog.
FLOOD = """
import socket, sys
kept = []
try:
    while True:
        one = socket.socket(socket.AF_UNIX)
        one.setblocking(False)
        one.connect(sys.argv[1])
        kept.append(one)
except BlockingIOError:
    print("full", flush=True)
sys.stdin.read()
"""
# Waits for the read lock that the end of a manager would leave to it.
LOCK = """
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
print("ready", flush=True)
fcntl.fcntl(fd, 38, struct.pack("@hhqqi4x", fcntl.F_RDLCK, 0, 0x80C, 4, 0))  # F_OFD_SETLKW
print("locked", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def nobody(script, argument, *said):
    python = python_for(NOBODY)
    command = ["prlimit", "--nofile=4096", *NOBODY, python, "-c", script, str(argument)]
    one = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        for line in said:
            assert one.stdout.readline() == f"{line}\n"
        yield one
    finally:
        one.communicate("")


def snapsafe(*arguments, **settings):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON"))}
    return subprocess.run(
        [sys.executable, "-m", "snapsafe_rt", *map(str, arguments)],
        env={**environment, "PYTHONPATH": str(PACKAGE.parent), **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def start(shm_path, outer):
    started = []
    shm_path.chmod(0o755)

    def start(**more):
        started.append(Manager(shm_path, outer.uri, **more))
        return started[-1]

    yield start
    for one in started:
        one.close()


def dump(manager, tmp_path):
    """What CRIU's action script answers before a dump."""
    command = tmp_path / "snapsafe"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={PACKAGE.parent} exec {sys.executable} -m snapsafe_rt "$@"\n')
    command.chmod(0o755)
    beside = manager.socket.with_name("org.snapsafe.Manager")
    for end in ("", ".trusted"):
        link = beside.with_name(beside.name + end)
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        with contextlib.suppress(FileNotFoundError):
            os.link(f"{manager.socket}{end}", link)
    environment = {
        "PATH": os.environ["PATH"],
        "SNAPSAFE_FILE": str(manager.file),
        "SNAPSAFE_COMMAND": str(command),
        "CRTOOLS_SCRIPT_ACTION": "pre-dump",
        "CRTOOLS_INIT_PID": str(os.getpid()),
    }
    done = subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def test_root_is_heard_where_others_have_every_connection(start, tmp_path):
    one = start(under=["prlimit", "--nofile=300:300"])
    socket = ["--socket", one.socket]
    with nobody(FLOOD, one.socket, "full"):
        assert snapsafe("quiesce", *socket).returncode == 0
        assert snapsafe("unquiesce", *socket).returncode == 0
        assert dump(one, tmp_path)[0] == 0
        assert snapsafe("unquiesce", *socket).returncode == 0
        # The twin: by the socket that everybody has. Then it is no dump either, and not "no manager".
        os.unlink(f"{one.socket}.trusted")
        assert snapsafe("quiesce", *socket).returncode == 76
        code, said = dump(one, tmp_path)
        assert code == 1
        assert "(76)" in said
    one.until(lambda now: now["clients"] < 3)
    assert snapsafe("quiesce", *socket).returncode == 0


def test_roots_program_is_asked_where_others_have_every_connection(start, living):
    one = start(under=["prlimit", "--nofile=300:300"])
    with nobody(FLOOD, one.socket, "full"):
        program = living(env={"SNAPSAFE_SOURCES": f"vmclock:{one.file}"})
        program(f"""
import snapsafe_rt
from snapsafe_rt import settings
settings.MANAGER = {str(one.socket)!r}
asked = []
snapsafe_rt.register_before_snapshot(lambda: asked.append(1))
""")
        until = time.monotonic() + 20
        while "asks it" not in snapsafe("status", "--pid", program.pid).stdout and time.monotonic() < until:
            pass
        done = json.loads(snapsafe("quiesce", "--json", "--socket", one.socket).stdout)
        assert done["late"] == []
        assert program("answer = asked") == [1]
        assert snapsafe("unquiesce", "--socket", one.socket).returncode == 0


def test_a_reader_does_not_make_a_manager_look_absent(start):
    def seen():
        found = json.loads(snapsafe("status", "--json", SNAPSAFE_SOURCES=f"vmclock:{one.file}").stdout)
        return found["source"]["deserted"]

    one = start()
    assert not seen()
    with nobody(LOCK, one.file, "ready") as reader:
        one.process.kill()
        one.process.wait()
        assert reader.stdout.readline() == "locked\n"
        assert seen()  # the twin
        one.close()
        one = start()
        assert not seen()
        assert one.describe()["problems"] == []
        # One that goes by the word's own lock, as earlier versions do, sees nothing but the reader's.
        with open(one.file, "rb") as file:
            asked = struct.pack("@hhqqi4x", fcntl.F_RDLCK, 0, 0x80C, 4, 0)
            assert struct.unpack("@hhqqi4x", fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked))[0] == fcntl.F_UNLCK
    one.end()
    assert seen()


def test_a_lock_of_a_readers_own_is_no_managers(start):
    """Nobody pretends that a manager runs: that takes a lock for writing."""
    one = start()
    one.process.kill()
    one.process.wait()
    with nobody(LOCK, one.file, "ready", "locked"), nobody(LOCK, f"{one.file}.lock", "ready", "locked"):
        found = json.loads(snapsafe("status", "--json", SNAPSAFE_SOURCES=f"vmclock:{one.file}").stdout)
        assert found["source"]["deserted"]
        assert not found["protected"]


def test_a_second_manager_is_refused_the_file(start, shm_path, outer):
    one = start()
    other = Manager(
        shm_path, outer.uri, options=["--socket", shm_path / "other", "--file", one.file], at="x", wait=True
    )
    try:
        other.socket = shm_path / "other"
        assert "another manager" in other.describe()["problems"][0]
    finally:
        other.close()
