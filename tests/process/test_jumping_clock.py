"""A restore over which CLOCK_MONOTONIC jumps by an hour, for which the snapshot lay, or over which it stands still.

What is decided goes by epoch and state. A time bounds only what somebody was waiting for, and an hour that nobody lived
through is no waiting. Each has its twin: the same time, when it really passes or no restore was in between.
"""

import json
import os
import subprocess
import sys
import textwrap
import time

import pytest

from snapsafe_rt.restore.limit import Limit
from snapsafe_rt.snapshot import announcers

from ..conftest import PACKAGE
from ..helpers.jumping_clock import Clock
from ..helpers.managed import Container, Manager

pytestmark = pytest.mark.any_python

HOUR = 3600


@pytest.fixture
def jumping(shm_path, compile_native):
    return Clock(shm_path / "clock", compile_native("jump.c"))


@pytest.fixture
def start(shm_path, outer, jumping):
    started = []

    def start(*options):
        started.append(Manager(shm_path, outer.uri, options=options, **jumping.env))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_a_machine_that_is_held_waits_for_unquiesce(start, outer, jumping):
    """And its time begins in the clone."""
    one = start("--quiesced-max", "600")
    one.call("Quiesce", hold=True)
    state = json.loads(one.socket.with_name("socket.state").read_text())
    jumping.show(HOUR)
    outer.bump()
    one.until(lambda now: now["published"] == 2)
    assert one.describe()["state"] == "quiesced"
    again = json.loads(one.socket.with_name("socket.state").read_text())
    assert again["until"] > state["until"]
    assert one.call("Unquiesce")["parameters"]["restored"] is True


def test_nobody_calls_unquiesce(start):
    """The twin: where that time passes for those who wait."""
    one = start("--quiesced-max", "0.2")
    one.call("Quiesce", hold=True)
    assert one.until(lambda now: now["state"] == "running")["lastSnapshot"]["ended"] == "overdue"


def test_a_clone_that_nothing_tells_of_the_restore_waits_for_unquiesce(start, jumping):
    one = start("--quiesced-max", "600")
    one.call("Quiesce")
    jumping.show(HOUR)
    time.sleep(1.5)  # for real: more than one look at the clock
    assert one.describe()["state"] == "quiesced"
    assert one.call("Unquiesce", restored=True)["parameters"]["restored"] is True


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, for namespaces of their own")
def test_two_restores_between_which_the_clock_stands_still(shm_path, outer, jumping):
    """The source stays behind in both, and the kernel's log tells of them: they are two, not one and its echo."""
    run = shm_path / "run" / "snapsafe"
    run.mkdir(parents=True)
    os.mkfifo(shm_path / "log")
    log = os.open(shm_path / "log", os.O_RDWR)
    container = Container(shm_path / "dev", run.parent, log=shm_path / "log")
    one = Manager(run, outer.uri, under=container.under, at="/run/snapsafe", **jumping.env)

    def says(number):
        os.write(log, b"5,%d,1,-;random: crng reseeded due to virtual machine fork\n" % number)

    try:
        assert one.describe()["published"] == 1
        jumping.show(instead=time.monotonic_ns())
        one.call("Quiesce")  # what comes from here on is no echo of the start
        one.call("Unquiesce")
        says(101)
        one.until(lambda now: now["published"] == 2)
        says(102)
        one.until(lambda now: now["published"] == 3)
        # The twin: the echo of one that the source has told of is none.
        outer.bump()
        one.until(lambda now: now["published"] == 4)
        says(103)
        one.call("Quiesce")  # which reads it
        one.call("Unquiesce")
        assert one.describe()["published"] == 4
        says(104)
        one.until(lambda now: now["published"] == 5)
    finally:
        one.close()
        container.close()
        os.close(log)


@pytest.mark.parametrize("hour", [HOUR, 0])
def test_a_program_waits_for_the_end_of_the_snapshot(tmp_path, monkeypatch, hour):
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("snapsafe_rt.settings.MANAGER", str(tmp_path / "socket"))
    monkeypatch.setattr("time.time", lambda: 5e9)
    (tmp_path / "socket.state").write_text('{"state": "quiesced", "snapshot": 1, "until": 1, "seconds": 60}')
    manager = announcers.Manager("")
    assert manager.still_on()
    clock[0] += hour
    assert manager.still_on()
    for _ in range(66):  # the twin: who looks all the time has waited
        clock[0] += 1
        last = manager.still_on()
    assert not last


@pytest.mark.parametrize(
    ("steps", "left"), [([1] * 5, 5), ([HOUR], 9), ([-HOUR, 1], 9), ([0] * 20, 10), ([1] * 11, -1)]
)
def test_a_limit(monkeypatch, steps, left):
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    limit = Limit(10, 1)
    for step in steps:
        clock[0] += step
        now = limit.left()
    assert now == left


@pytest.mark.parametrize("way", ["jumps", "passes"])
def test_wait_restored(shm_path, source_file, jumping, way):
    """A file is written a moment after the clone runs again."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON"))}
    seconds = "60" if way == "jumps" else "0.3"
    one = subprocess.Popen(
        [sys.executable, "-m", "snapsafe_rt", "wait-restored", "--timeout", seconds],
        env={**environment, "PYTHONPATH": str(PACKAGE.parent), **source_file.env, **jumping.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    if way == "jumps":
        time.sleep(1.5)  # for real: it is under way
        jumping.show(HOUR)
        time.sleep(1.5)  # for real: it has looked at the clock
        assert one.poll() is None
        source_file.bump()
    assert one.wait(30) == (0 if way == "jumps" else 1)
    one.communicate()


def test_check_with_a_limit(run_python, source_file, jumping):
    """The event runs elsewhere, and takes its time in the clone; the twin: that time is over."""
    script = """
    import select, sys, threading
    import snapsafe_rt
    from moving import show, bump
    began, go = threading.Event(), threading.Event()

    @snapsafe_rt.register_after_restore
    def callback():
        began.set()
        go.wait()

    bump()
    began.wait()
    def meanwhile():
        select.select([], [], [], 1.5)  # whose time the kernel measures
        show(3600)
        select.select([], [], [], 1.5)
        go.set()
    threading.Thread(target=meanwhile).start()
    assert snapsafe_rt.check(timeout=60) == 1
    show(0)
    began.clear()
    go.clear()
    bump()
    began.wait()
    try:
        snapsafe_rt.check(timeout=0.2)
        sys.exit("no limit")
    except TimeoutError:
        go.set()
    """
    env = {**source_file.env, **jumping.env}
    run_python(moving(jumping, source_file) + textwrap.dedent(script), env=env)


def moving(jumping, source_file):
    """The module "moving", for scripts."""
    text = f"""
import os, struct
from jumping_clock import show
def bump():
    with open({str(source_file.path)!r}, "r+b", buffering=0) as file:
        old = struct.unpack("<Q", os.pread(file.fileno(), 8, 0x68))[0]
        os.pwrite(file.fileno(), struct.pack("<Q", old + 1), 0x68)
"""
    return f"import sys; sys.modules['moving'] = type(sys)('moving'); exec({text!r}, vars(sys.modules['moving']))\n"


def test_the_fence(run_python, source_file, jumping):
    """An hour of a snapshot reseeds no kernel. The twin: five minutes, as the process sees them pass."""
    script = """
    import os, sys
    import snapsafe_rt
    from snapsafe_rt.core import native
    from snapsafe_rt.report import remote
    from moving import show
    native.disable_cpu_for_testing(False)

    def fence():
        here, there = snapsafe_rt.status().fence, remote.inspect(os.getpid()).fence
        assert here["state"] == there["state"] and abs(here["seconds_left"] - there["seconds_left"]) < 2, (here, there)
        return here["seconds_left"]

    assert fence() > 290
    show(3600)
    assert 200 < fence() <= 240
    show(0)
    assert 200 < fence() <= 240
    for look in range(1, 5):
        show(50 * look)
        assert fence() > 0
    show(250)
    assert fence() == 0
    """
    env = {**source_file.env, **jumping.env}
    run_python(moving(jumping, source_file) + textwrap.dedent(script), env=env)
