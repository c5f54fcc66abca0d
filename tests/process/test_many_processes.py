"""status --all and metrics where many processes run: what is shown of them, and what it costs."""

import json
import os
import pty
import re
import select
import subprocess
import sys

import pytest

from snapsafe_rt.report import procfs, remote

from ..conftest import FOLDER, PACKAGE

pytestmark = pytest.mark.any_python

ENV = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "NO_COLOR": "1"}
CALLS_MOST = 4200  # of functions, for one process; 10,000 was too much
MANY = 60


def run(*arguments, **more):
    done = subprocess.run(
        [sys.executable, "-m", "snapsafe_rt", "status", *map(str, arguments)],
        env=ENV,
        capture_output=True,
        text=True,
        timeout=120,
        **more,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def on_terminal(columns, *arguments):
    """What a terminal of so many columns shows."""
    child, fd = pty.fork()
    if not child:
        os.environ.update(ENV, COLUMNS=str(columns), LINES="50")
        os.execv(sys.executable, [sys.executable, "-m", "snapsafe_rt", "status", *map(str, arguments)])
    said = b""
    try:
        while select.select([fd], [], [], 60)[0]:
            said += os.read(fd, 1 << 16)
    except OSError:  # EIO: it has ended
        pass
    os.waitpid(child, 0)
    os.close(fd)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode())
    return [line.rpartition("\r")[2] for line in text.replace("\r\n", "\n").split("\n")]


@pytest.fixture
def two(living, source_file):
    good = living(env=source_file.env)
    bad = living(env={"SNAPSAFE_SOURCES": "vmclock:/no/such"})
    return good.pid, bad.pid


def pids(*arguments):
    return {one["pid"] for one in json.loads(run("--all", "--json", *arguments)[1])["processes"]}


def test_which_of_them(two):
    good, bad = two
    assert {good, bad} <= pids()
    assert pids("--unprotected") & {good, bad} == {bad}
    assert pids("--user", os.getuid()) >= {good, bad}
    assert pids("--user", "nobody") & {good, bad} == set()
    cgroup = procfs.cgroup(good)
    assert pids("--cgroup", cgroup) >= {good, bad}
    assert pids("--cgroup", f"{cgroup.rstrip('/')}/no/such") == set()
    code, out, _ = run("--all", "--cgroup", "/no/such")
    assert code == 1
    assert out.startswith("No Python process runs here in that cgroup or of that user")
    code, out, _ = run("--all", "--unprotected")
    assert code == 1
    assert not re.search(rf"^\s*{good} ", out, re.MULTILINE)
    assert re.search(r"^\d+ of \d+ protected\.$", out, re.MULTILINE), "of all, not of those that are shown"


def test_by_cgroup_and_by_user(two):
    for by, title in (("cgroup", procfs.cgroup(two[0]) or "?"), ("user", "root" if os.getuid() == 0 else None)):
        code, out, _ = run("--all", "--by", by)
        assert code == 1
        heading, _, *lines = out.splitlines()
        assert heading.split() == [by, "protected", "unprotected"]
        if title:
            [line] = [line for line in lines if line.startswith(f"{title} ")]
            assert re.search(r" \d+ of \d+ .*all: no source", line), line


def test_options_that_go_with_all():
    for option in (["--unprotected"], ["--by", "user"], ["--cgroup", "/"], ["--user", "root"]):
        code, out, error = run(*option)
        assert (code, out) == (2, "")
        assert error == f"snapsafe status: {option[0]} goes with --all\n"
    assert run("--all", "--user", "no-such-user")[0] == 2


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_columns_that_fit(two, columns):
    lines = on_terminal(columns, "--all")
    [heading] = [line for line in lines if line.lstrip().startswith("pid ")]
    shown = heading.split()
    assert {"pid", "program", "unprotected"} <= set(shown)
    assert "user" in shown
    assert ("source" in shown) == (columns > 80)
    assert max(map(len, lines)) <= columns
    assert any(str(two[1]) in line for line in lines), "a line for each, not a block"


FORKS = """
import os, random, ssl, sqlite3, sys, uuid
reader, writer = os.pipe()
children = []
for _ in range(int(sys.argv[1])):
    child = os.fork()
    if not child:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    children.append(child)
print(*children, flush=True)
sys.stdin.read()
"""


def test_what_one_process_costs(source_file, tmp_path):
    """Counted in calls of functions, which no load of the machine changes. A thousand took 1.7 s of CPU time then."""
    program = tmp_path / "forks.py"
    program.write_text(FORKS)
    env = {**os.environ, **source_file.env, "PYTHONPATH": os.pathsep.join(map(str, [FOLDER, PACKAGE.parent]))}
    with subprocess.Popen(
        [sys.executable, program, str(MANY)], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        children = [int(word) for word in parent.stdout.readline().split()]
        for child in children[:10]:  # what is found in files is found once
            assert remote.inspect(child).protected
        calls = 0

        def count(frame, event, value):
            nonlocal calls
            calls += event in ("call", "c_call")

        kept = []
        sys.setprofile(count)
        try:
            kept = [remote.inspect(child) for child in children[10:]]
        finally:
            sys.setprofile(None)
        assert all(one.protected for one in kept)
        assert calls / len(kept) < CALLS_MOST, calls / len(kept)
        assert not any(one._lines or one._mapped for one in kept), "the maps of a thousand would take 100 MB"
        parent.stdin.close()
