"""snapsafe manager: each sign of a restore is published once, also one that came while it was away."""

import json
import os
import re
import signal
import stat
import struct
import subprocess
import sys
import time

import pytest

from snapsafe_rt.cli import manager as manager_command
from snapsafe_rt.manager import client

from ..conftest import FOLDER, PACKAGE, layout
from ..helpers.looking import at_rest, own_memory
from ..helpers.managed import NOBODY, Client, Manager, python_for

pytestmark = pytest.mark.any_python

root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


@pytest.fixture
def manager(shm_path):
    started = []

    def start(sources="", **more):
        started.append(Manager(shm_path, sources, **more))
        return started[-1]

    yield start
    for one in started:
        one.close()


def words(path):
    page = path.read_bytes()
    names = {"generation": 0x68, "reseeded": 0x800, "origin": 0x810, "seen": 0x818}
    return {name: struct.unpack_from("<Q", page, at)[0] for name, at in names.items()} | {
        "sequence": struct.unpack_from("<I", page, 0x0C)[0],
        "managed": struct.unpack_from("<I", page, 0x80C)[0],
    }


def test_a_restore_is_published_once(manager, outer):
    one = manager(outer.uri)
    first = one.describe()
    assert (first["source"], first["how"], first["problems"]) == (outer.uri, "inotify", [])
    before = words(one.file)
    assert before["generation"] == first["generation"]
    outer.bump()
    found = one.until(lambda now: now["published"] == first["published"] + 1)
    after = words(one.file)
    assert after["generation"] == found["generation"] > before["generation"]
    assert after["seen"] == 2
    assert not after["sequence"] & 1
    assert found["reseeded"] == (after["reseeded"] == after["generation"])
    at_rest(one.pid)  # nothing more comes of it
    assert words(one.file) == after
    assert one.end() == (0, "", "")


def test_a_client_knows_whom_it_speaks_to(manager, outer):
    """By the kernel's word: that process is not counted as a program without protection."""
    one = manager(outer.uri)
    with client.Manager(str(one.socket)) as spoken:
        assert spoken.pid == one.pid


def test_programs_are_told(manager, outer, shm_path, run_python, living):
    """The whole way, and the twin: with the manager gone nothing reaches them, and status says so."""
    one = manager(outer.uri)
    program = living(env={"SNAPSAFE_SOURCES": f"vmclock:{one.file}"})
    state = "import snapsafe_rt; s = snapsafe_rt.status(); answer = s.epoch, s.source['deserted'], s.protected"
    assert program(state) == [0, False, True]
    outer.bump()
    one.until(lambda now: now["published"] == 2)
    assert program(state) == [1, False, True]
    one.process.kill()
    one.wait()
    outer.bump()
    epoch, deserted, protected = program(state)
    assert (epoch, deserted, protected) == (1, True, False)
    assert "a manager that does not run" in str(program("answer = snapsafe_rt.status().problems"))
    done = subprocess.run(
        [sys.executable, "-m", "snapsafe_rt", "status", "--pid", str(program.pid)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "NOT protected: the manager" in done.stdout
    # A file that no manager kept is another matter.
    assert (
        run_python("import snapsafe_rt; print(snapsafe_rt.status().source['deserted'])", env=outer.env, activated=True)
        == "False\n"
    )


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_what_happened_while_it_was_away(manager, outer, end):
    one = manager(outer.uri)
    one.process.send_signal(end)
    assert one.wait()[0] == (0 if end == signal.SIGTERM else -end)
    published = words(one.file)
    again = manager(outer.uri)
    assert again.describe()["published"] == 0
    assert words(one.file) == published  # nothing happened
    again.process.send_signal(end)
    again.wait()
    outer.bump()
    third = manager(outer.uri)
    assert third.describe()["published"] == 1
    assert words(one.file)["generation"] > published["generation"]
    third.end()
    # Unknown counts as changed: another source than the last time, or a file of somebody else's.
    kept = words(one.file)["generation"]
    outer.path.unlink()
    outer.path.write_bytes(layout(3))
    outer.path.chmod(0o644)
    assert manager(outer.uri).describe()["published"] == 1
    assert words(one.file)["generation"] > kept


def test_an_existing_file_is_kept(manager, outer, shm_path):
    """Programs have it mapped: it is neither truncated nor replaced."""
    file = shm_path / "published"
    file.write_bytes(layout(7))
    file.chmod(0o644)
    inode = file.stat().st_ino
    one = manager(outer.uri)
    assert words(file)["generation"] > 7
    assert file.stat().st_ino == inode
    assert file.stat().st_size == 4096
    one.end()


def test_a_file_that_is_no_source(manager, outer, shm_path):
    """Left alone, said, and tried again."""
    file = shm_path / "published"
    file.write_bytes(b"a letter to grandmother" * 20)
    one = manager(outer.uri)
    assert "not in VMClock's layout" in one.describe()["problems"][0]
    assert file.read_bytes() == b"a letter to grandmother" * 20
    assert one.call("Bump")["error"] == "org.snapsafe.Manager.NotPublished"
    code, out, error = one.end()
    assert (code, out, error.count("not in VMClock's layout")) == (0, "", 1)


def test_a_file_that_is_removed_is_made_again(manager, outer):
    one = manager(outer.uri)
    one.file.unlink()
    outer.bump()
    one.until(lambda now: now["published"] == 2)
    assert words(one.file)["managed"] == 1
    assert one.describe()["problems"] == []


def test_its_socket_is_gone(manager, outer, living):
    """Programs are told by the file as before; a new manager has the place again."""
    one = manager(outer.uri)
    program = living(env={"SNAPSAFE_SOURCES": f"vmclock:{one.file}"})
    one.socket.unlink()
    epoch = "import snapsafe_rt; answer = snapsafe_rt.epoch()"
    assert program(epoch) == 0
    generation = words(one.file)["generation"]
    outer.bump()
    until = time.monotonic() + 30
    while words(one.file)["generation"] == generation and time.monotonic() < until:
        time.sleep(0.01)
    assert program(epoch) == 1
    assert one.end()[0] == 0
    assert manager(outer.uri).describe()["published"] == 0


def test_a_socket_that_was_left(manager, outer):
    """Of one that was killed: it is replaced. Of one that runs under another name by now: it is not taken away."""
    left = manager(outer.uri)
    left.process.kill()
    left.wait()
    assert left.socket.exists()
    one = manager(outer.uri)
    assert one.describe()["published"] == 0
    one.socket.rename(one.socket.with_name("moved"))
    one.socket.write_text("somebody else's")
    assert one.end()[0] == 0
    assert one.socket.read_text() == "somebody else's"


def test_one_at_a_time(manager, outer):
    one = manager(outer.uri)
    other = manager(outer.uri, wait=False)
    code, out, error = other.wait()
    assert (code, out) == (1, "")
    assert error.startswith("snapsafe manager: another manager has ")
    assert error.count("\n") == 1
    assert one.describe()["problems"] == []


def test_started_late_and_stopped(manager, outer):
    """Told to whoever waits for it; the socket goes, the file stays."""
    one = manager(outer.uri)
    assert one.notified.until("STATUS=") == f"STATUS=watching {outer.uri} (inotify), 1 restores published"
    assert stat.S_IMODE(one.socket.stat().st_mode) == 0o666
    assert one.end()[0] == 0
    one.notified.until("STOPPING=1")
    assert not one.socket.exists()
    assert one.file.exists()


def test_asleep(manager, outer):
    """No tick: not one context switch in two seconds; and little memory."""
    one = manager(outer.uri)
    one.describe()

    def switches():
        total = 0
        for task in os.listdir(f"/proc/{one.pid}/task"):
            with open(f"/proc/{one.pid}/task/{task}/status") as file:
                total += sum(int(line.split()[1]) for line in file if "_ctxt_switches" in line)
        return total

    at_rest(one.pid)
    before = switches()
    time.sleep(2)  # for real: whatever would wake it
    assert switches() == before
    assert own_memory(one.pid) <= 12 * 1024


def test_bump(manager, outer):
    one = manager(outer.uri)
    before = words(one.file)["generation"]
    answer = one.call("Bump")["parameters"]
    assert answer["generation"] == words(one.file)["generation"] > before
    assert one.describe()["published"] == 2
    for wrong in ("x", "AAAA", "A" * 2000):
        assert one.call("Bump", entropy=wrong) == {
            "error": "org.varlink.service.InvalidParameter",
            "parameters": {"parameter": "entropy"},
        }
    assert one.describe()["published"] == 2


@root
def test_bump_with_the_hosts_bytes(manager, outer):
    import base64

    one = manager(outer.uri)
    answer = one.call("Bump", entropy=base64.b64encode(os.urandom(32)).decode())["parameters"]
    assert answer["reseeded"] is True
    assert words(one.file)["reseeded"] == words(one.file)["generation"] == answer["generation"]


def test_a_service_manager_that_does_not_read(manager, outer):
    """Its queue is full, and the manager goes on."""
    one = manager(outer.uri)
    for _ in range(300):
        assert "generation" in one.call("Bump")["parameters"]
    assert one.describe()["published"] == 301


@root
def test_others_may_read_but_not_bump(manager, outer):
    one = manager(outer.uri)
    before = words(one.file)
    script = f"""
import os, sys
sys.path.insert(0, {str(PACKAGE.parent)!r})
from tests.helpers.managed import Client  # before its folder may be out of reach
os.setgid(65534); os.setuid(65534)
with Client({str(one.socket)!r}) as client:
    assert client.call("Describe")["parameters"]["published"] == 1
    print(client.call("Bump"))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "{'error': 'org.varlink.service.PermissionDenied', 'parameters': {}}\n", done.stderr
    assert words(one.file) == before


@root
def test_without_rights_nothing_is_claimed(manager, outer, shm_path):
    """As an ordinary user it publishes, and does not say that the kernel was reseeded."""
    shm_path.chmod(0o777)
    one = manager(outer.uri, under=NOBODY, python=python_for(NOBODY))
    found = one.describe()
    assert found["reseeded"] is False
    assert any("CAP_SYS_ADMIN" in problem for problem in found["problems"])
    assert words(one.file)["reseeded"] == 0
    with Client(one.socket) as client:
        client.call("Describe")


@root
def test_an_unwritable_place(shm_path):
    one = Manager(shm_path / "no" / "such", wait=False, under=NOBODY, python=python_for(NOBODY))
    code, out, error = one.wait()
    one.close()
    assert (code, out) == (77, "")
    assert "not permitted to user 65534" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("wrong", ["vmclock:relative", "nonsense", "vmclock:/x,other:/y"])
def test_wrong_sources(manager, wrong):
    code, out, error = manager(wrong, wait=False).wait()
    assert (code, out) == (78, "")
    assert error.startswith("snapsafe manager: SNAPSAFE_SOURCES: ")


def test_it_does_not_watch_what_it_writes(manager, outer, shm_path):
    """Not by another name, nor when its Python was activated with the list of programs: else it would tell itself of
    restores without end."""
    file = shm_path / "published"
    file.write_bytes(layout(7))
    file.chmod(0o644)
    (shm_path / "link").symlink_to(file)
    (shm_path / "hard").hardlink_to(file)
    own = f"vmclock:{file},vmclock:{shm_path / 'link'},vmclock:{shm_path / 'hard'},{outer.uri}"
    one = manager(own, PYTHONPATH=f"{FOLDER}{os.pathsep}{PACKAGE.parent}")
    found = one.describe()
    assert (found["source"], found["published"]) == (outer.uri, 1)
    outer.bump()
    one.until(lambda now: now["published"] == 2)
    at_rest(one.pid)
    assert one.describe()["published"] == 2


def test_strict_programs_refuse_a_file_that_nobody_keeps(manager, outer, run_python):
    one = manager(outer.uri)
    env = {"SNAPSAFE_SOURCES": f"vmclock:{one.file}", "SNAPSAFE_STRICT": "1"}
    assert run_python("print(1)", env=env) == "1\n"
    one.end()
    error = run_python("print(1)", env=env, status=78, stream="stderr")
    assert error.endswith("is kept by a manager that does not run\n")


@pytest.mark.parametrize("name", manager_command.PRINTED)
def test_files_for_the_system(name):
    """Each says in its first lines where it goes, as far as its format has a place for that."""
    command = [sys.executable, "-m", "snapsafe_rt", "manager", "--print", name]
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    first = re.sub(r"\A#!.*\n", "", done.stdout).partition("\n")[0]
    if name == "org.snapsafe.Manager1.conf":
        assert "For /etc/dbus-1/system.d" in done.stdout
    elif name.endswith(".json"):
        json.loads(done.stdout)
    else:
        assert first.startswith(f"# snapsafe manager --print {name} >"), first
    assert "@SNAPSAFE@" not in done.stdout
    if name.endswith(".service"):
        [start] = [line for line in done.stdout.splitlines() if line.startswith("ExecStart=")]
        assert os.access(start.removeprefix("ExecStart=").split()[0], os.X_OK)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_as_its_loop_is_made(run_python, number):
    run_python(f"""
    import os, signal
    from snapsafe_rt.manager.loop import Loop
    install = signal.signal
    def early(number, handler):
        install(number, handler)
        if number == {int(number)}: os.kill(os.getpid(), number)
    signal.signal = early
    Loop().run()
    """)
