"""snapsafe wait-restored: wakes for each way in which a generation can move, and for nothing else."""

import contextlib
import glob
import mmap
import os
import re
import signal
import struct
import subprocess
import sys
import time

import pytest

from snapsafe_rt.cli import wait_restored

from ..conftest import PACKAGE, layout
from ..helpers.running import wait_asleep

pytestmark = pytest.mark.any_python

# Of a timer of ten minutes nothing is seen here: what wakes is the watch.
WITHOUT_TIMER = """import sys
from snapsafe_rt.cli import main
from snapsafe_rt.cli import wait_restored
wait_restored.BACKSTOP_SECONDS = wait_restored.NO_POLL_SECONDS = 600
sys.exit(main.main())"""


class Waiting:
    """The command, asleep."""

    def __init__(self, *arguments, sources, program=("-m", "snapsafe_rt"), **more):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON"))}
        self.process = subprocess.Popen(
            [sys.executable, *program, "wait-restored", *map(str, arguments)],
            env={**environment, "PYTHONPATH": str(PACKAGE.parent), "SNAPSAFE_SOURCES": sources, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def asleep(self):
        """Until its watch stands and it waits for it: the watcher has its inotify, and the command sleeps."""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            assert self.process.poll() is None, self.process.communicate()
            with contextlib.suppress(OSError):
                names = [os.readlink(path) for path in glob.glob(f"/proc/{self.process.pid}/task/*/fd/*")]
                if any("inotify" in name for name in names):
                    wait_asleep(self.process)
                    return self
            os.sched_yield()
        raise AssertionError("it never slept")

    def end(self, timeout=30):
        out, error = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, error


@pytest.fixture
def waiting():
    started = []

    def start(*arguments, **options):
        started.append(Waiting(*arguments, **options))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


def store(source):
    """As a hypervisor: to a mapping, past inotify. Returns it."""
    with source.path.open("r+b") as file:
        page = mmap.mmap(file.fileno(), 4096)
    page[0x68:0x70] = struct.pack("<Q", 2)
    return page


def replace(source):
    other = source.path.with_name("other")
    other.write_bytes(layout(2))
    other.chmod(0o644)
    other.rename(source.path)


def recreate(source):
    source.path.unlink()
    source.path.write_bytes(layout(2))


WAYS = {"written": lambda source: source.bump(), "stored": store, "replaced": replace, "recreated": recreate}


@pytest.mark.parametrize("way", WAYS)
def test_wakes(waiting, source_file, way):
    program = ("-m", "snapsafe_rt") if way == "stored" else ("-c", WITHOUT_TIMER)
    one = waiting(sources=source_file.uri, program=program).asleep()
    kept = WAYS[way](source_file)
    assert one.end() == (0, "1 -> 2\n", ""), kept


def test_without_its_timer_it_sees_no_store(waiting, source_file):
    """The twin: in test_wakes() it was the watch."""
    one = waiting(sources=source_file.uri, program=("-c", WITHOUT_TIMER)).asleep()
    kept = store(source_file)
    with pytest.raises(subprocess.TimeoutExpired):
        one.process.wait(1.5 * wait_restored.BACKSTOP_SECONDS)
    kept.close()
    source_file.bump(3)
    assert one.end() == (0, "1 -> 3\n", "")


def test_a_folder_that_goes_and_comes_again(waiting, source_file):
    one = waiting(sources=source_file.uri).asleep()
    folder = source_file.path.parent
    source_file.path.unlink()
    folder.rmdir()
    folder.mkdir()
    folder.chmod(0o755)
    source_file.path.write_bytes(layout(7))
    source_file.path.chmod(0o644)
    assert one.end() == (0, "1 -> 7\n", "")


@pytest.mark.parametrize("noise", ["touched", "beside", "the same again", "gone"])
def test_what_is_no_restore_does_not_wake(waiting, source_file, noise):
    one = waiting("--timeout", 4, sources=source_file.uri).asleep()
    if noise == "touched":
        os.utime(source_file.path)
    elif noise == "beside":
        source_file.path.with_name("another").write_bytes(layout(9))
    elif noise == "the same again":
        source_file.bump(1)
    else:
        source_file.path.unlink()
    code, out, error = one.end()
    assert (code, out) == (1, "")
    assert error.count("\n") == 1
    assert ("does not exist" if noise == "gone" else "still shows 1") in error


def test_since(waiting, source_file):
    source_file.bump(5)
    assert waiting("--since", 4, sources=source_file.uri).end() == (0, "4 -> 5\n", "")
    assert waiting("--since", "0x5", "--timeout", 0, sources=source_file.uri).end()[0] == 1
    one = waiting("--since", 5, sources=source_file.uri).asleep()
    source_file.bump(6)
    assert one.end() == (0, "5 -> 6\n", "")


def test_a_restore_while_it_starts_is_not_missed(waiting, source_file):
    """In a script: whatever happens after the generation was asked for is seen."""
    for generation in range(2, 6):
        one = waiting("--since", generation - 1, sources=source_file.uri)
        source_file.bump(generation)
        assert one.end() == (0, f"{generation - 1} -> {generation}\n", "")


# The file moves at the worst moments, and no event is waited for that was there already.
AT_THE_WORST = """import os, sys
from snapsafe_rt.cli import main, wait_restored
from snapsafe_rt.source.vmclock_file import FileSource
wait_restored.BACKSTOP_SECONDS = wait_restored.NO_POLL_SECONDS = 600
source = FileSource(os.environ["SNAPSAFE_SOURCES"].partition(":")[2])
moment, looks, shown = sys.argv.pop(), [], wait_restored.shown
def look(candidate):
    looks.append(1)
    before = shown(candidate)
    if len(looks) == 1 and moment == "after the look":
        source.bump(2)
    return before
def watch():
    candidate = watched()
    if moment == "before the look":
        assert shown(candidate) == 1
        source.bump(2)
    return candidate
watched, wait_restored._watched, wait_restored.shown = wait_restored._watched, watch, look
sys.exit(main.main())"""


def test_a_change_between_looking_and_waiting(waiting, source_file):
    one = waiting("after the look", sources=source_file.uri, program=("-c", AT_THE_WORST))
    assert one.end() == (0, "1 -> 2\n", "")


def test_a_change_before_the_first_look_is_no_news(waiting, source_file):
    """The twin: without --since the first look says what is known."""
    one = waiting("--timeout", 1, "before the look", sources=source_file.uri, program=("-c", AT_THE_WORST))
    code, out, error = one.end()
    assert (code, out) == (1, "")
    assert "still shows 2" in error


def test_no_source(waiting):
    code, out, error = waiting(sources="vmclock:/nowhere/vmclock0,sysgenid:/dev/null").end()
    assert (code, out) == (78, "")
    assert error.count("\n") == 1
    assert "/nowhere/vmclock0 does not exist" in error
    assert "/dev/null" in error


@pytest.mark.parametrize("wrong", [["--timeout", "-1"], ["--timeout", "x"], ["--since", "-1"], ["--since", 1 << 64]])
def test_wrong_usage(waiting, source_file, wrong):
    code, _, error = waiting(*wrong, sources=source_file.uri).end()
    assert code == 2
    assert re.search(r"argument --\w+: invalid", error)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_signals(waiting, source_file, number, code):
    one = waiting(sources=source_file.uri).asleep()
    one.process.send_signal(number)
    assert one.end() == (code, "", "")


def test_what_no_watcher_can_be_had_for_is_looked_at(waiting, source_file):
    program = "import sys; from snapsafe_rt.cli import main; from snapsafe_rt.core import native"
    program += "; native.plan_watching = lambda *_: None; sys.exit(main.main())"
    one = waiting("--since", 1, sources=source_file.uri, program=("-c", program))
    wait_asleep(one.process)
    source_file.bump()
    assert one.end() == (0, "1 -> 2\n", "")


def test_a_device_without_poll_is_looked_at_now_and_then(waiting, source_file, compile_native):
    found = source_file.path.stat()
    standin = {"LD_PRELOAD": str(compile_native("device.c")), "STANDIN_DEVICE": f"{found.st_dev}:{found.st_ino}"}
    one = waiting("--since", 1, sources=source_file.uri, **standin)
    wait_asleep(one.process)
    source_file.bump()
    assert one.end() == (0, "1 -> 2\n", "")
