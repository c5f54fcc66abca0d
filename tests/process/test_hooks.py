"""packaging/qemu and packaging/criu, run as the guest agent and CRIU run them; with these themselves in tests/vm and
tests/criu."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import PACKAGE
from ..helpers.managed import Client

pytestmark = [pytest.mark.any_python, pytest.mark.skipif(os.geteuid() != 0, reason="takes root, for a /run of its own")]

CRIU = Path(__file__).parents[2] / "packaging/criu/snapsafe.sh"
OK, LATE, NO_MANAGER, BLOCKED = 0, 75, 69, 79


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="no shellcheck here")
@pytest.mark.parametrize("script", sorted(CRIU.parents[1].glob("*/*.sh")), ids=lambda path: path.name)
def test_shellcheck(script):
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture
def command(shm_path):
    """What a user has as `snapsafe` in PATH."""
    path = shm_path / "snapsafe"
    path.write_text(f'#!/bin/sh\nPYTHONPATH={PACKAGE.parent} exec {sys.executable} -m snapsafe_rt "$@"\n')
    path.chmod(0o755)
    return path


def run(managed, script, *arguments, **settings):
    """(exit code, stderr)."""
    done = subprocess.run(
        [*managed.container.under, script, *arguments],
        env={"PATH": os.environ["PATH"], **{name: str(value) for name, value in settings.items()}},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.fixture
def outcome(managed):
    """outcome("late") makes quiesce end so."""
    clients = []

    def make(how):
        if how == "no manager":
            managed.end()
        elif how != "ready":
            clients.append(Client(managed.socket))
            mode = {"late": "delay", "blocked": "block"}[how]
            clients[-1].call("Inhibit", who="the test", why=how, mode=mode)

    yield make
    for client in clients:
        client.peer.close()


# ---- QEMU's guest agent ----


@pytest.fixture
def agent(managed, shm_path, finish):
    """agent("freeze", "ask=yes") runs the hook as it is printed, with that configuration."""
    text = finish(sys.executable, "-m", "snapsafe_rt", "manager", "--print", "snapsafe-fsfreeze.sh")
    hook = shm_path / "hook"
    hook.write_text(text)
    hook.chmod(0o755)

    def call(action, configuration):
        file = shm_path / "fsfreeze.conf"
        file.unlink(missing_ok=True)
        if configuration is not None:
            file.write_text(f"{configuration}\n")
        return run(managed, hook, action, SNAPSAFE_FSFREEZE=file, PYTHONPATH=PACKAGE.parent)

    return call


ASKED = {
    ("yes", "ready"): (OK, "quiesced"),
    ("yes", "late"): (OK, "quiesced"),
    ("yes", "blocked"): (OK, "running"),
    ("yes", "no manager"): (OK, None),
    ("required", "ready"): (OK, "quiesced"),
    ("required", "late"): (LATE, "running"),
    ("required", "blocked"): (BLOCKED, "running"),
    ("required", "no manager"): (NO_MANAGER, None),
}


@pytest.mark.parametrize(("ask", "how"), ASKED)
def test_the_agent_asks_if_it_is_told_to(managed, agent, outcome, ask, how):
    outcome(how)
    configuration = f"ask={ask}\ntimeout=0.1"
    code, said = agent("freeze", configuration)
    expected, state = ASKED[ask, how]
    assert code == expected, said
    assert ("the test" in said) == (how in ("late", "blocked"))
    if state is None:
        return
    assert managed.describe()["state"] == state
    assert agent("thaw", configuration)[0] == 0
    assert managed.describe()["state"] == "running"


@pytest.mark.parametrize("configuration", [None, "", "ask=no", "ask=perhaps"])
def test_else_it_does_nothing(managed, agent, configuration):
    code, said = agent("freeze", configuration)
    assert (code, managed.describe()["snapshot"]) == (0, 0)
    assert ("neither" in said) == (configuration == "ask=perhaps")


def test_a_restore_alone_does_not_end_it(managed, agent, source_file):
    """Programs of a clone wait for its thaw."""
    agent("freeze", "ask=yes")
    before = managed.describe()["published"]
    source_file.bump()
    assert managed.until(lambda found: found["published"] == before + 1)["state"] == "quiesced"
    assert agent("thaw", "ask=yes")[0] == 0
    assert managed.describe()["lastSnapshot"]["restored"]


# ---- CRIU ----


@pytest.fixture
def criu(managed, command):
    def call(action, **more):
        settings = {"CRTOOLS_SCRIPT_ACTION": action, "CRTOOLS_INIT_PID": managed.container.holder.pid}
        return on_the_host(CRIU, **{"SNAPSAFE_COMMAND": command, **settings, **more})

    return call


def on_the_host(script, **settings):
    """CRIU runs there: it sees the tasks' folder through their root alone."""
    environment = {"PATH": os.environ["PATH"], **{name: str(value) for name, value in settings.items()}}
    done = subprocess.run([script], env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("how", "code", "state"), [("ready", 0, "quiesced"), ("blocked", 1, "running")])
def test_a_dump_is_asked_for(managed, criu, outcome, how, code, state):
    outcome(how)
    found, said = criu("pre-dump")
    assert found == code, said
    assert managed.describe()["state"] == state
    if how == "blocked":
        assert "the test" in said
        assert "nothing is dumped" in said
        return
    for action in ("network-lock", "pre-stream"):
        criu(action)
    assert managed.describe()["state"] == "quiesced"
    assert criu("post-dump") == (0, "")
    assert managed.describe()["lastSnapshot"]["ended"] == "unquiesced"


def test_a_dump_without_a_manager_or_a_command(managed, criu):
    code, said = criu("pre-dump", SNAPSAFE_COMMAND="/no/such")
    assert (code, managed.describe()["snapshot"]) == (0, 0)
    assert "SNAPSAFE_COMMAND" in said
    managed.process.kill()
    managed.wait()
    assert criu("pre-dump")[0] == 0
    managed.socket.unlink()
    assert criu("pre-dump") == (0, "")
