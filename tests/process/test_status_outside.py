"""snapsafe status --pid and --all: as a user meets them, and that nothing stale or strange is ever called protected."""

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from snapsafe_rt.guards import scan, table
from snapsafe_rt.report import procfs, remote
from snapsafe_rt.source import vmclock_file

from ..conftest import PACKAGE, layout
from ..helpers.looking import POKE, rows

pytestmark = pytest.mark.internals

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root to be somebody else")


@pytest.fixture
def status():
    def run(*arguments, command=("-m", "snapsafe_rt", "status")):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON"))}
        return subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", *command, *map(str, arguments)],
            env={**environment, "PYTHONPATH": str(PACKAGE.parent), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def one_line(done, code):
    assert (done.returncode, done.stdout) == (code, ""), done
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("snapsafe status: ")
    return done.stderr


# ---- --pid ----


def test_a_protected_service(living, status, source_file):
    one = living(env=source_file.env)
    one("import random, ssl, sqlite3, uuid")
    done = status("--pid", one.pid)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Process {one.pid}: python" in done.stdout
    assert f"Watching {source_file.uri}" in done.stdout
    assert done.stdout.endswith("Protected, from the moment the source is written.\n")
    told = json.loads(status("--pid", one.pid, "--json").stdout)
    here = json.loads(status("--json").stdout)
    assert set(here) - {"by_itself", "machine", "clock"} <= set(told)
    assert told["protected"]
    assert {row["name"]: row["protection"] for row in told["subsystems"]} == {
        **dict.fromkeys(("os", "random", "uuid", "openssl"), "guarded"),
        "sqlite3": "refreshed",
        **dict.fromkeys(list(table.TABLE)[5:], "not loaded"),
    }


def test_no_source(living, status):
    one = living(env={"SNAPSAFE_SOURCES": "vmclock:/nowhere/vmclock0"})
    done = status("--pid", one.pid)
    assert done.returncode == 1
    assert "does not exist" in done.stdout
    assert done.stdout.endswith("NOT protected: it watches no source.\n")


def test_a_python_without_us(living, status):
    one = living(activated=False)
    done = status("--pid", one.pid)
    assert done.returncode == 1
    assert "Not active: not activated, or its native core is missing" in done.stdout.replace("\n", " ")
    assert done.stdout.endswith("NOT protected.\n")
    assert json.loads(status("--pid", one.pid, "--json").stdout)["active"] is False


def test_a_core_that_is_missing(living, source_file):
    """Activation by PYTHONPATH of an interpreter that the core was not built for."""
    one = living(env=source_file.env)
    other = living(activated=False)
    other("import sys; sys.modules['snapsafe_rt._core'] = None\nimport snapsafe_rt; snapsafe_rt.activate()")
    found = remote.inspect(other.pid)
    assert found.is_python
    assert not found.recorded
    assert not found.protected
    assert remote.inspect(one.pid).protected


def test_no_such_process(status):
    assert "there is no process" in one_line(status("--pid", 2**22 + 1), 1)
    assert "there is no process" in one_line(status("--pid", -5), 1)


def test_a_zombie(status):
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert "has ended" in one_line(status("--pid", child.pid), 1)
    child.wait()


def test_a_kernel_thread():
    for pid in procfs.processes():
        try:
            process = procfs.look(pid)
        except procfs.Gone:
            continue
        if process.kernel:
            assert not remote.inspect(pid).is_python
            return
    pytest.skip("none is seen here")


def test_another_program(status):
    with subprocess.Popen(["sleep", "60"]) as sleeping:
        done = status("--pid", sleeping.pid)
        sleeping.kill()
    assert done.returncode == 1
    assert "does not look like Python" in done.stdout


@as_root
def test_another_pid_namespace(living, status, source_file):
    """A container, seen from the host: its process calls itself 1, and is named by the id that it has here."""
    one = living(env=source_file.env, under=["unshare", "--fork", "--pid", "--kill-child"])
    assert one("import os, random; answer = os.getpid()") == 1
    with open(f"/proc/{one.pid}/task/{one.pid}/children") as file:
        pid = int(file.read().split()[0])
    one("import snapsafe_rt; snapsafe_rt.register_after_restore(int)")
    found = remote.inspect(pid)
    assert found.protected
    assert found.watching["how"] != "off"
    assert status("--pid", pid).returncode == 0


def test_words_of_another_process_are_made_safe(living, status, source_file):
    one = living(env=source_file.env, options=["-W", "ignore:\x1b[31m\r\u202e"])
    one("from snapsafe_rt.restore import events; events.note(1, 'generation', 1, 2, 3, ['\\x1b[2J'])")
    for done in (status("--pid", one.pid), status("--all")):
        assert not {"\x1b", "\r", "\u202e"} & set(done.stdout)
    assert "\\x1b[2J" in status("--pid", one.pid).stdout


DROPPED = f"""
import contextlib, ctypes, io, os, sys
import snapsafe_rt.cli.main
from snapsafe_rt.guards import table
def drop():
    # What it, and the child that looks, need is imported before: this user may not be able to read it.
    import locale
    for name in (*table.TABLE, *table.NAMED):
        table.find(name)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        snapsafe_rt.cli.main.main(["status", "--all"])
        snapsafe_rt.cli.main.main(["status", "--pid", "0"])
    os.setgroups([])
    os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
    os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
"""


@as_root
def test_who_may_not_read(living, status, source_file):
    """Read as an ordinary user: root's process not, one's own, and one that began as root only where it permits it."""

    def as_nobody(*arguments):
        code = f"{DROPPED}drop(); sys.exit(snapsafe_rt.cli.main.main(['status', *sys.argv[1:]]))"
        return status(*arguments, command=["-c", code])

    one, theirs = living(env=source_file.env), living(env=source_file.env)
    said = one_line(as_nobody("--pid", one.pid), 77)
    assert f"process {one.pid} may not be read by user {NOBODY}" in said
    theirs(f"import random\n{DROPPED}drop()")
    one_line(as_nobody("--pid", theirs.pid), 77)
    assert status("--pid", theirs.pid).returncode == 0
    theirs("ctypes.PyDLL(None).prctl(4, 1)")  # PR_SET_DUMPABLE: as a program is that began as this user
    if _yama():
        assert "kernel.yama.ptrace_scope" in one_line(as_nobody("--pid", theirs.pid), 77)
        return
    assert as_nobody("--pid", theirs.pid).returncode == 0
    everything = as_nobody("--all", "--json")
    assert everything.returncode in (1, 77)  # what may not be read is not called protected
    told = json.loads(everything.stdout)
    assert everything.returncode == (77 if all(entry["protected"] for entry in told["processes"]) else 1)
    assert theirs.pid in {entry["pid"] for entry in told["processes"]}
    assert one.pid not in {entry["pid"] for entry in told["processes"]}
    assert told["not_permitted"] > 0


def _yama():
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope") as file:
            return file.read().strip() != "0"
    except OSError:
        return False


# ---- --all ----


def test_a_table_of_all(living, status, source_file):
    ours = living(env=source_file.env)
    stock = living(activated=False)
    with subprocess.Popen(["sleep", "60"]) as sleeping:
        done = status("--all")
        assert re.search(r"^\d+ of \d+ protected\.$", done.stdout, re.MULTILINE)
        told = json.loads(status("--all", "--json").stdout)
        sleeping.kill()
    assert done.returncode == 1  # one is not activated
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert source_file.uri in lines[str(ours.pid)]
    assert "asynchronous" in lines[str(ours.pid)]
    assert lines[str(ours.pid)].endswith("nothing")
    assert "not activated" in lines[str(stock.pid)]
    assert str(sleeping.pid) not in lines
    processes = {entry["pid"]: entry for entry in told["processes"]}
    assert {ours.pid, stock.pid} <= set(processes)
    assert sleeping.pid not in processes
    assert processes[ours.pid]["protected"]
    assert not processes[stock.pid]["protected"]


def test_the_last_event_is_in_the_table(living, status, source_file):
    one = living(env=source_file.env)
    one("import time; from snapsafe_rt.restore import events; events.note(1, 'generation', 1, time.time(), 3, ['no'])")
    line = next(line for line in status("--all").stdout.splitlines() if line.split()[:1] == [str(one.pid)])
    assert re.search(r"generation, \d+ s ago, 3 callbacks, 1 failed", line)


# ---- stale: each must not be protected ----


def not_protected(one, name):
    found = remote.inspect(one.pid)
    assert not found.protected
    assert name in found.unprotected, found.unprotected
    return next(row.note for row in found.rows if row.name == name)


def unseen(path):
    """Loads a library past Python's doors."""
    return f"import ctypes; assert ctypes.CDLL(None).dlopen({os.fsencode(path)!r}, 2)\n"


@pytest.fixture
def activated(living, source_file):
    one = living(env=source_file.env)
    one("import ctypes, random")
    assert remote.inspect(one.pid).protected
    return one


def test_a_module_that_came_without_our_finder(activated):
    activated("import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'snapsafe' not in type(f).__module__]")
    activated("import sqlite3")
    found = remote.inspect(activated.pid)
    assert found.protected
    assert rows(found)["sqlite3"] == "refreshed"


def test_a_module_that_came_past_every_door(activated):
    activated(unseen(sqlite_module()))
    assert "the record does not know" in not_protected(activated, "sqlite3")


def sqlite_module():
    """The file of `_sqlite3`."""
    import importlib.util

    spec = importlib.util.find_spec("_sqlite3")
    if spec is None or not spec.has_location:
        pytest.skip("_sqlite3 is built in")
    return spec.origin


@pytest.mark.parametrize("library", ["crypto", "sqlite3"])
def test_a_library_that_nobody_saw(activated, living, tmp_path, library):
    other = living(activated=False)
    other(f"import ctypes, ctypes.util\nif name := ctypes.util.find_library({library!r}): ctypes.CDLL(name)")
    mapped = [one.path for one in procfs.mappings(scan.lines_of(scan.read_maps(other.pid)))]
    found = [path for path in mapped if os.path.basename(path).startswith(f"lib{library}")]
    if not found:
        pytest.skip(f"no lib{library}")
    copy = tmp_path / f"lib{library}-late.so"
    shutil.copy(found[0], copy)
    activated(unseen(copy))
    name = {"crypto": "openssl"}.get(library, library)
    assert str(copy) in not_protected(activated, name)
    # What the core finds after all is judged by what it knows of it.
    activated("from snapsafe_rt.core import native; native.libcryptos(); native.libsqlites()")
    assert name not in remote.inspect(activated.pid).unprotected


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("mtrand.cpython-311-x86_64-linux-gnu.so", "numpy"),
        ("libtorch_cpu.so", "torch"),
        ("cygrpc.cpython-311-x86_64-linux-gnu.so", "grpcio"),
        ("_cbson.cpython-311-x86_64-linux-gnu.so", "bson"),
    ],
)
def test_a_library_of_its_own_state_that_nobody_saw(activated, compile_native, tmp_path, file, name):
    copy = tmp_path / file
    shutil.copy(compile_native("wipe_off.c"), copy)
    activated(unseen(copy))
    assert str(copy) in not_protected(activated, name)


def test_a_fips_provider(living, source_file, compile_native, tmp_path):
    one = living(env=source_file.env)
    one("import ssl")
    if rows(remote.inspect(one.pid))["openssl"] != "guarded":
        pytest.skip("ssl's OpenSSL takes no hook here")
    shutil.copy(compile_native("wipe_off.c"), tmp_path / "fips.so")
    one(unseen(tmp_path / "fips.so"))
    assert "draws past every hook" in not_protected(one, "openssl")


def test_a_libcrypto_whose_reseed_fails(living, source_file, compile_native):
    """The core's own word for it, which no text has."""
    one = living(env=source_file.env)
    one("import ssl")
    assert remote.inspect(one.pid).protected
    mapping = next(m for m in procfs.mappings(scan.lines_of(scan.read_maps(one.pid))) if m.path == remote.MAPPING)
    memory = procfs.Memory(one.pid)
    address, _, _, state_at, failing_at, _, _ = remote.Record(memory, mapping.start).tables[0]
    memory.close()
    write = "with open('/proc/self/mem', 'r+b', buffering=0) as m: m.seek({}); m.write(bytes([{}, 0, 0, 0]))"
    for offset, value, word in ((failing_at, 1, "could not be reseeded"), (state_at, 2, "left alone")):
        one(write.format(address + offset, value))
        assert word in not_protected(one, "openssl")


@pytest.mark.parametrize("offset", [0x08, 0x0C])
def test_a_record_of_another_version(activated, status, offset):
    activated(POKE + f"poke({offset}, 99)")
    found = remote.inspect(activated.pid)
    assert not found.protected
    assert found.recorded
    done = status("--pid", activated.pid)
    assert done.returncode == 1
    assert ("has version 99" if offset == 0x08 else "record") in done.stdout


@pytest.mark.parametrize("offset", [0x28, 0x30, 0x38, 0x40, 0x50, 0x60, 0x80, 0xA0, 0xA8, 0xB0])
def test_a_record_that_leads_nowhere(activated, status, offset):
    """Whatever of it was read before that shows."""
    activated(POKE + f"poke({offset}, 4096, 8)")
    assert not remote.inspect(activated.pid).protected
    done = status("--pid", activated.pid)
    assert (done.returncode, done.stderr) == (1, "")
    assert "leads nowhere" in done.stdout


@pytest.mark.parametrize("seed", range(5))
def test_a_record_of_noise(activated, seed):
    """The word of another process is not trusted: whatever stands there, it is read to its end and not believed."""
    activated(
        POKE
        + f"import random; r = random.Random({seed})\nfor at in range(0x100, 0x400, 8): poke(at, r.getrandbits(64), 8)"
    )
    found = remote.inspect(activated.pid)
    assert not found.protected
    found.as_dict()
    activated(POKE + "for at in range(0x10, 0x100, 8): poke(at, r.getrandbits(64), 8)")
    assert not remote.inspect(activated.pid).protected


@pytest.mark.parametrize("how", ["replaced", "removed", "truncated"])
def test_a_source_that_is_not_what_is_written_any_more(activated, source_file, how):
    if how == "replaced":
        other = source_file.path.with_name("other")
        shutil.copy(source_file.path, other)
        other.rename(source_file.path)
    elif how == "removed":
        source_file.path.unlink()
    else:
        os.truncate(source_file.path, 0)
    found = remote.inspect(activated.pid)
    assert not found.protected
    assert found.source is None
    assert str(source_file.path) in found.problems[0]


def test_a_writer_that_was_caught_half_way_and_has_finished(activated, source_file):
    """What the process saw while the sequence count was odd is of that moment. The twin: it still is."""
    with source_file.path.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), bytes([3]), 0x0C)
        source_file.bump()
        activated("import os; os.urandom(1)")
        assert any("half-way" in problem for problem in remote.inspect(activated.pid).problems)
        os.pwrite(file.fileno(), bytes([4]), 0x0C)
        found = remote.inspect(activated.pid)
        assert not found.problems
        assert not found.source["stuck"]


def test_what_another_process_names_is_not_opened(activated, source_file):
    """It is opened only if it is what that process has mapped: else a record could have root open anything."""
    secret = source_file.path.with_name("secret")
    shutil.copy(source_file.path, secret)
    libc = ctypes.CDLL(None)
    fd = libc.inotify_init1(os.O_NONBLOCK)
    try:
        for path in (secret, source_file.path):
            with path.open("r+b", buffering=0) as file:
                os.pwrite(file.fileno(), b"\1", 0x80C)  # kept by a manager, so that its lock is looked at
            watch = libc.inotify_add_watch(fd, os.fsencode(path), 0x20)  # IN_OPEN
            activated(f"""
from snapsafe_rt.core import native
native.page_put({{"source": [("0", "2", "vmclock:{path}", "", "")]}})
""")
            found = remote.inspect(activated.pid)
            assert not found.protected
            if path == secret:
                assert "replaced or removed" in found.problems[0]
                with pytest.raises(BlockingIOError):
                    os.read(fd, 4096)
            else:  # the twin
                assert found.source["deserted"]
                assert os.read(fd, 4096)
            libc.inotify_rm_watch(fd, watch)
            with contextlib.suppress(BlockingIOError):
                os.read(fd, 4096)
    finally:
        os.close(fd)


def test_a_synchronous_source_is_judged_now(living, synchronous_source):
    one = living(env=synchronous_source.env)
    assert remote.inspect(one.pid).source["synchronous"]
    with synchronous_source.path.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), bytes(4), 0x808)
    assert not remote.inspect(one.pid).source["synchronous"]


def test_degraded_entropy_is_not_protection(activated):
    activated("""
from snapsafe_rt.core import native
native.disable_cpu_for_testing(True)
native.raise_fence()
""")
    found = remote.inspect(activated.pid)
    assert found.fence["state"] == "degraded"
    assert not found.protected


@pytest.mark.parametrize(("seen", "state"), [(5, "down"), (4, "up")])
def test_the_fence_by_a_managers_word_beside_a_device(living, shm_path, compile_native, seen, state):
    """As the process itself would judge it, that draws nothing meanwhile: by what the device showed to the manager."""
    device, file = shm_path / "device", shm_path / "file"
    device.write_bytes(layout(5))
    found = device.stat()
    vmclock_file.create(str(file), generation=9, reseeded=True, seen=vmclock_file.Seen(os.makedev(10, 99), seen))
    standin = {"LD_PRELOAD": str(compile_native("device.c")), "STANDIN_DEVICE": f"{found.st_dev}:{found.st_ino}"}
    one = living(env={**standin, "SNAPSAFE_SOURCES": f"vmclock:{device},vmclock:{file}"})
    one("from snapsafe_rt.core import native; native.raise_fence()")
    told = remote.inspect(one.pid)
    assert told.source["source"] == f"vmclock:{device}"
    assert (told.fence["state"] == "down") == (state == "down"), told.fence
    inside = one("import os, snapsafe_rt; os.urandom(8); answer = snapsafe_rt.status().fence['state']")
    assert (inside == "down") == (state == "down"), inside


def test_the_process_is_not_stopped_nor_told(activated):
    """No signal reaches it, it runs nothing: its clock of used time stands still."""
    activated("import signal\nfor n in set(signal.valid_signals()) - {9, 18, 19}: signal.signal(n, print)")

    def used():
        with open(f"/proc/{activated.pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[11:13]

    os.kill(activated.pid, signal.SIGSTOP)
    os.waitpid(activated.pid, os.WUNTRACED)
    before = used()
    for _ in range(50):
        assert remote.inspect(activated.pid).protected
    assert used() == before
    os.kill(activated.pid, signal.SIGCONT)
    activated("pass")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0", True),
        ("/usr/lib/libpython3.13t.so.1.0 (deleted)", True),
        ("/opt/pypy/bin/libpypy3.10-c.so", True),
        ("/home/u/python-notes.txt", False),
        ("/usr/lib/python3/dist-packages/apt_pkg.so", False),
        ("/usr/lib/libpythonic.so.1", False),
    ],
)
def test_who_is_python(path, expected):
    """By what is mapped; the program itself is this test's parent's, which is none."""
    assert procfs.is_python(0, [procfs.Mapping(4096, path, 1)]) is expected
