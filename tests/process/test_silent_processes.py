"""A process whose memory is of a file system that does not answer: who looks at it is not held up, and says so."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snapsafe_rt.cli import processes
from snapsafe_rt.report import patience, remote
from snapsafe_rt.report.remote import Outside

from ..conftest import PACKAGE
from ..helpers.looking import end_lookers, impatient

PROGRAM = Path(__file__).parents[1] / "programs/silent.py"
QUICK = "from snapsafe_rt.report import patience; patience.ANSWER_SECONDS = patience.AGAIN_SECONDS = 0.3"
ENV = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
WHAT = pytest.mark.parametrize("what", ["page", "lock"])


def _mounts():
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        return False
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return done.returncode == 0 and "\tfuse\n" in Path("/proc/filesystems").read_text()


pytestmark = [
    pytest.mark.any_python,
    pytest.mark.skipif(not _mounts(), reason="a file system of one's own takes root and FUSE"),
]


@pytest.fixture
def silent():
    """Starts the program; gives its id and its server's, and ends the server, so that everybody can end."""
    started = []

    def start(what, how="silent"):
        process = subprocess.Popen(
            ["unshare", "-m", sys.executable, PROGRAM, what, how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        words = process.stdout.readline().split()
        if not words:
            pytest.skip(f"no such file system here: {process.communicate()[1].splitlines()[-1]}")
        pid, server = map(int, words)
        started.append((process, server))
        while (what, how) == ("lock", "silent") and " D " not in Path(f"/proc/{pid}/stat").read_text():
            time.sleep(0.001)  # until it waits itself
        return pid, server

    yield start
    for process, server in started:
        if process.poll() is None:
            os.kill(server, signal.SIGKILL)
        process.communicate()
    end_lookers()


def run(*command):
    program = f"import sys; {QUICK}; from snapsafe_rt.cli.main import main; sys.exit(main({[*command]}))"
    return subprocess.run([sys.executable, "-c", program], env=ENV, capture_output=True, text=True, timeout=60)


@WHAT
def test_it_is_looked_at_if_it_answers(silent, what):
    """The twin of those below."""
    pid, _ = silent(what, "served")
    one = patience.answer(pid, remote.inspect)
    assert (one.pid, one.recorded, one.protected) == (pid, what == "page", False)


@WHAT
def test_who_looks_by_himself_waits(silent, what):
    """The twin without the cure. Of what the server has been asked, SIGKILL ends no wait."""
    pid, server = silent(what)
    program = f"from snapsafe_rt.report import remote; print('begun', flush=True); remote.inspect({pid})"
    with subprocess.Popen([sys.executable, "-c", program], env=ENV, stdout=subprocess.PIPE, text=True) as looker:
        assert looker.stdout.readline() == "begun\n"
        with pytest.raises(subprocess.TimeoutExpired):
            looker.wait(0.7)
        looker.kill()
        if what == "page":
            with pytest.raises(subprocess.TimeoutExpired):
                looker.wait(0.3)
        os.kill(server, signal.SIGKILL)
        assert looker.wait(30) == -signal.SIGKILL


@pytest.mark.parametrize(("what", "command"), [("page", "status"), ("lock", "status"), ("lock", "audit")])
def test_a_command_ends_by_itself(silent, what, command):
    """Nobody waits for its output either."""
    pid, _ = silent(what)
    done = run(command, "--pid", str(pid))
    assert (done.returncode, done.stdout) == (77, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"snapsafe {command}: process {pid} does not answer: ")


@WHAT
def test_the_others_are_seen_all_the_same(silent, living, source_file, what):
    before = living(env=source_file.env)
    pid, _ = silent(what)
    after = living(env=source_file.env)
    with impatient(0.3, 0.3):
        found, _, unanswered = processes.find_all(quiet=True)
    assert pid in unanswered
    assert {before.pid, after.pid} <= {one.pid for one in found if one.protected}
    assert pid not in {one.pid for one in found}
    assert all(isinstance(one, Outside) for one in found)


def test_the_table_says_so(silent):
    pid, _ = silent("page")
    for command in (["status", "--all"], ["status", "--all", "--json"], ["metrics"]):
        done = run(*command)
        assert "Traceback" not in done.stderr
        if command == ["metrics"]:
            assert "\nsnapsafe_processes_silent 0\n" not in done.stdout
            assert f'pid="{pid}"' not in done.stdout
        else:
            assert done.returncode != 0
            assert str(pid) in done.stdout
