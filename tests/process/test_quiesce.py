"""snapsafe quiesce, unquiesce, inhibit, and what status tells of them: what an orchestrator's script builds on."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from ..conftest import PACKAGE
from ..helpers.managed import NOBODY, Client, Container, Manager, python_for, starting
from ..helpers.running import wait_asleep

pytestmark = pytest.mark.any_python

root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


@pytest.fixture
def start(shm_path, outer):
    yield from starting(shm_path, outer.uri)


@pytest.fixture
def manager(start):
    return start()


ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON"))},
    "PYTHONPATH": str(PACKAGE.parent),
}


def command(socket, name, *arguments, python=sys.executable, under=()):
    where = ["--socket", str(socket)] if socket else []
    return [*under, python, "-W", "error", "-m", "snapsafe_rt", name, *where, *map(str, arguments)]


def run(socket, name, *arguments, **more):
    """(exit code, stdout, stderr); what went wrong is one line that names the command."""
    done = subprocess.run(
        command(socket, name, *arguments, **more),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        assert done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith(f"snapsafe {name}: ")
    return done.returncode, done.stdout, done.stderr


def hold(manager, mode="delay", who="holder"):
    client = Client(manager.socket)
    assert "parameters" in client.call("Inhibit", who=who, why="a test", mode=mode)
    return client


def test_one_snapshot(manager, outer):
    code, out, error = run(manager.socket, "quiesce")
    assert (code, error) == (0, "")
    assert re.match(r"snapshot 1: quiesced in \d+\.", out), out
    code, out, error = run(manager.socket, "unquiesce")
    assert (code, error) == (0, "")
    assert out.startswith("snapshot 1: running again after ")
    assert out.endswith("this is the original\n")
    run(manager.socket, "quiesce")
    code, out, _ = run(manager.socket, "unquiesce", "--restored")
    assert (code, out.partition(" s; ")[2]) == (0, "restored from it: the restore is published\n")
    # In a clone the manager may be the first to notice. That is no failure.
    run(manager.socket, "quiesce")
    outer.bump()
    manager.until(lambda now: now["state"] == "running")
    code, out, _ = run(manager.socket, "unquiesce", "--restored")
    assert (code, out.partition(" s; ")[2]) == (0, "restored from it: the restore is published\n")
    assert manager.describe()["published"] == 3


def test_for_programs(manager):
    code, out, _ = run(manager.socket, "quiesce", "--json", "--timeout", 1, "--hold")
    told = json.loads(out)
    assert (code, told) == (0, {"snapshot": 1, "late": [], "seconds": told["seconds"], "frozen": False})
    code, out, _ = run(manager.socket, "unquiesce", "--json")
    told = json.loads(out)
    assert (code, set(told)) == (0, {"restored", "generation", "snapshot"})
    times = ("quiesce_seconds", "quiesced_seconds", "unquiesce_seconds")
    assert set(told["snapshot"]) == {"number", "at", "late", "restored", "ended", *times}


def test_somebody_is_late(manager):
    with hold(manager):
        code, out, error = run(manager.socket, "quiesce", "--timeout", 0.1)
        assert code == 75
        assert re.match(r"snapshot 1: quiesced in \d+\.", out), out
        assert f"holder (pid {os.getpid()} of " in error
        assert "--inhibit-delay-max, 5 s" in error
        assert run(manager.socket, "unquiesce")[0] == 0


def test_a_callback_fails(manager):
    with hold(manager) as client:
        asking = subprocess.Popen(
            command(manager.socket, "quiesce"),
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        client.call("Prepare")
        client.call("Ready", errors=["ValueError: no", "OSError: neither"])
        out, error = asking.communicate(timeout=60)
    assert (asking.returncode, out) == (64, "")
    assert f"holder (pid {os.getpid()}: ValueError: no; OSError: neither)" in error
    assert error.count("\n") == 1
    assert manager.describe()["state"] == "running"


def test_blocked(manager):
    with hold(manager, "block", "backup"):
        code, out, error = run(manager.socket, "quiesce")
        assert (code, out) == (79, "")
        assert f"blocked by backup (pid {os.getpid()} of " in error
        assert ": a test)" in error


def test_refused(manager, start):
    assert run(manager.socket, "unquiesce")[0] == 1
    run(manager.socket, "quiesce")
    code, _, error = run(manager.socket, "quiesce")
    assert code == 1
    assert "the machine is quiesced" in error
    manager.end()
    one = start("--quiesced-max", "0.1")
    run(one.socket, "quiesce")
    one.until(lambda now: now["state"] == "running")
    code, _, error = run(one.socket, "unquiesce")
    assert code == 75
    assert "the programs went on" in error


@pytest.mark.parametrize(("name", "arguments"), [("quiesce", ()), ("unquiesce", ()), ("inhibit", ("true",))])
def test_no_manager(shm_path, name, arguments):
    code, out, error = run(shm_path / "none", name, *arguments)
    assert (code, out) == (69, "")
    assert "no manager at " in error


@root
@pytest.mark.parametrize(("name", "arguments"), [("quiesce", ()), ("unquiesce", ()), ("inhibit", ("true",))])
def test_not_permitted(manager, name, arguments):
    python = python_for((*NOBODY, "env", f"PYTHONPATH={PACKAGE.parent}"))
    if subprocess.run([*NOBODY, python, "-c", "import snapsafe_rt"], env=ENVIRONMENT, check=False).returncode:
        pytest.skip("the package lies where no other user may go")
    code, out, error = run(manager.socket, name, *arguments, python=python, under=NOBODY)
    assert (code, out) == (77, "")
    assert "not permit" in error
    code, _, _ = run(manager.socket, "inhibit", "--mode", "delay", "true", python=python, under=NOBODY)
    assert code == 0


def test_interrupted(manager):
    """^C before the answer: the programs go on."""
    with hold(manager):
        asking = subprocess.Popen(command(manager.socket, "quiesce"), env=ENVIRONMENT)
        manager.until(lambda now: now["state"] == "quiescing")
        wait_asleep(asking)
        asking.send_signal(signal.SIGINT)
        assert asking.wait(60) == 130
        assert manager.until(lambda now: now["state"] == "running")["lastSnapshot"]["ended"] == "abandoned"


# ---- inhibit ----


def test_inhibit(manager, tmp_path):
    """Nothing is quiesced while the program runs; its exit code is the command's."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    holding = subprocess.Popen(
        command(manager.socket, "inhibit", "--why", "a test", "sh", "-c", f"cat {gate}; exit 7"), env=ENVIRONMENT
    )
    with gate.open("w"):  # it runs
        [lock] = manager.call("ListInhibitors")["parameters"]["inhibitors"]
        assert (lock["who"], lock["why"], lock["mode"]) == (f"sh -c 'cat {gate}; exit 7'", "a test", "block")
        assert run(manager.socket, "quiesce")[0] == 79
    assert holding.wait(60) == 7
    manager.until(lambda now: now["inhibitors"] == 0)
    assert run(manager.socket, "quiesce")[0] == 0
    code, _, error = run(manager.socket, "inhibit", "true")
    assert code == 1
    assert "the machine is quiesced" in error


def test_inhibit_outlives_the_manager(manager, start, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    holding = subprocess.Popen(command(manager.socket, "inhibit", "--who", "us", "cat", str(gate)), env=ENVIRONMENT)
    with gate.open("w"):
        manager.process.kill()
        manager.wait()
        again = start()
        found = again.until(lambda now: now["inhibitors"] == 1)
        assert found["state"] == "running"
        assert run(again.socket, "quiesce")[0] == 79
    assert holding.wait(60) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("sh", "-c", "kill -9 $$"), 137, ""),
        (("--mode", "delay", "--", "sh", "-c", "exit 3"), 3, ""),
        (("/no/such",), 127, "cannot be executed"),
        (("/",), 126, "cannot be executed"),
        ((), 2, "which program?"),
    ],
)
def test_inhibit_exit_codes(manager, arguments, code, told):
    done = subprocess.run(
        command(manager.socket, "inhibit", *arguments),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code
    assert told in done.stderr
    manager.until(lambda now: now["inhibitors"] == 0)


def test_inhibit_passes_sigterm_on(manager, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = f"trap 'echo asked; exit 5' TERM; echo >{gate}; while :; do sleep 0.05; done"
    holding = subprocess.Popen(
        command(manager.socket, "inhibit", "sh", "-c", script), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    gate.read_text()
    holding.terminate()
    assert holding.communicate(timeout=60)[0] == "asked\n"
    assert holding.returncode == 5


@pytest.mark.parametrize("when", ["before", "after"])
def test_sigterm_as_the_program_is_started(manager, when):
    """Neither lost nor the end of `inhibit` alone, which would leave the program without its lock."""
    script = f"""
import os, signal, subprocess, sys
from snapsafe_rt.cli import main
class Popen(subprocess.Popen):
    def __init__(self, *args, **more):
        if {when!r} == "before": os.kill(os.getpid(), signal.SIGTERM)
        super().__init__(*args, **more)
        if {when!r} == "after": os.kill(os.getpid(), signal.SIGTERM)
subprocess.Popen = Popen
sys.exit(main.main())"""
    arguments = ["inhibit", "--socket", manager.socket, "sleep", "60"]
    done = subprocess.run([sys.executable, "-c", script, *arguments], env=ENVIRONMENT, check=False, timeout=60)
    assert done.returncode == 128 + signal.SIGTERM
    manager.until(lambda now: now["inhibitors"] == 0)


# ---- status ----


@root
def test_status_tells(shm_path, outer):
    """Of the machine, if there is a manager; nothing of it otherwise."""
    run_folder = shm_path / "run"
    (run_folder / "snapsafe").mkdir(parents=True)
    container = Container(shm_path / "dev", run_folder)

    def status(*options):
        done = subprocess.run(
            command(None, "status", *options, under=container.under),
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    try:
        assert json.loads(status("--json"))["machine"] is None
        assert "The machine" not in status()
        one = Manager(run_folder / "snapsafe", outer.uri, under=container.under, at="/run/snapsafe")
        try:
            machine = json.loads(status("--json"))["machine"]
            assert machine.pop("pid") > 0
            assert machine == {"state": "running", "snapshot": 0, "inhibitors": [], "last_snapshot": None}
            assert "The machine is running; asked before a snapshot: nobody." in status()
            with hold(one), hold(one, "block", "backup"):
                told = status()
                assert "asked before a snapshot: holder (pid" in told
                assert "No snapshot may be announced now: backup (pid" in told
            one.until(lambda now: now["inhibitors"] == 0)
            with hold(one):
                one.call("Quiesce", timeout=0)
                assert "The machine is quiesced" in status()
                one.call("Unquiesce", restored=True)
            machine = json.loads(status("--json"))["machine"]
            last = machine["last_snapshot"]
            assert (last["number"], last["late"], last["restored"], last["ended"]) == (
                1,
                ["holder"],
                True,
                "unquiesced",
            )
            told = status()
            assert "Last snapshot: number 1, " in told
            assert "any longer for holder." in told.replace("\n", " ")
        finally:
            one.close()
    finally:
        container.close()
