"""examples/: each program is run as a user would run it, and a restore is played while it runs."""

import contextlib
import json
import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from ..helpers.running import EXAMPLES, SECONDS, SNAPSAFE_RUN, get, port_in

pytestmark = pytest.mark.any_python

PROGRAMS = sorted(path.name for path in EXAMPLES.glob("*.py"))


def test_the_table_names_every_example():
    named = set(re.findall(r"\]\(([\w./-]+)\)", (EXAMPLES / "README.md").read_text()))
    there = {entry.name for entry in EXAMPLES.iterdir() if not entry.name.startswith(("__pycache__", "README"))}
    assert there <= named, there - named
    assert not [name for name in named if not (EXAMPLES / name).exists()]


@pytest.mark.parametrize("program", PROGRAMS)
def test_wrong_usage_says_what_is_right(finish, program):
    _, said = finish(*SNAPSAFE_RUN, sys.executable, EXAMPLES / program, "--nonsense", status=2)
    assert said.startswith("usage: ")
    assert program in said


# ---- https_server.py, https_client.py ----


@pytest.mark.parametrize("protection", ["1", "0"], ids=["", "twin"])
def test_https(start, finish, source_file, protection):
    server = start("https_server.py", SNAPSAFE=protection)
    address, certificate = server.line().split()

    def ask(times):
        client = [sys.executable, EXAMPLES / "https_client.py", address, certificate, "--times", times]
        return [json.loads(line) for line in finish(*client).splitlines()]

    before = ask(3)
    source_file.bump()
    if protection == "1":
        assert server.line().startswith("restored (generation): this is node ")
    after = ask(2)
    restores = [answer["restores"] for answer in before + after]
    nodes = {answer["node"] for answer in before}, {answer["node"] for answer in after}
    assert [len(found) for found in nodes] == [1, 1]
    if protection == "1":
        assert restores == [0, 0, 0, 1, 1]
        assert nodes[0] != nodes[1]
    else:
        assert restores == [0] * 5
        assert nodes[0] == nodes[1]
    assert len({answer[key] for answer in before + after for key in ("session", "trace")}) == 10

    with socket.create_connection(("127.0.0.1", port_in(address)), timeout=SECONDS) as rubbish:
        rubbish.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            rubbish.recv(100)
    assert len(ask(1)) == 1
    rest, said = server.interrupt(130)
    assert rest == ""
    assert re.fullmatch(r"127\.0\.0\.1: \[SSL.*\n", said), said
    assert not Path(certificate).exists()
    _, said = finish(sys.executable, EXAMPLES / "https_client.py", address, EXAMPLES / "README.md", status=1)
    assert "is https_server.py running" in said


def test_https_on_a_port_that_is_taken(start, finish):
    address, _ = start("https_server.py").line().split()
    _, said = finish(sys.executable, EXAMPLES / "https_server.py", "--port", port_in(address), status=1)
    assert "another --port?" in said


def test_https_without_openssl(finish, tmp_path):
    _, said = finish(sys.executable, EXAMPLES / "https_server.py", status=1, PATH=str(tmp_path))
    assert said == "https_server.py: making a certificate takes the command openssl; install it\n"


# ---- gunicorn_prefork ----

ANNOUNCED = re.compile(r"pid (\d+) is instance (\w+), restores: (\d+)")


def announced(service, count):
    found = [ANNOUNCED.search(service.line(having="is instance")).groups() for _ in range(count)]
    assert len({pid for pid, _, _ in found}) == len({instance for _, instance, _ in found}) == count, found
    return {pid: (instance, restores) for pid, instance, restores in found}


def gunicorn(start, **settings):
    pytest.importorskip("gunicorn", reason="gunicorn is not installed (pip install gunicorn)")
    conf = EXAMPLES / "gunicorn_prefork" / "gunicorn.conf.py"
    service = start("gunicorn", "-c", conf, "--bind", "127.0.0.1:0", merged=True, **settings)
    return service, port_in(service.line(having="Listening at"))


def test_gunicorn_workers_are_each_told_once(start, source_file):
    service, port = gunicorn(start)
    workers = announced(service, 3)
    assert get(port)["restores"] == 0
    for restores in ("1", "2"):
        source_file.bump()
        told = announced(service, 4)  # without a request: the workers, and the master
        assert workers.keys() < told.keys()
        assert {count for _, count in told.values()} == {restores}
        assert not {instance for instance, _ in told.values()} & {instance for instance, _ in workers.values()}
        workers = {pid: told[pid] for pid in workers}
        answers = [get(port) for _ in range(6)]
        assert {answer["restores"] for answer in answers} == {int(restores)}
        assert all(workers[str(answer["pid"])][0] == answer["instance"] for answer in answers)
        assert len({answer["trace"] for answer in answers}) == 6
    # A worker that comes later has a name of its own as well.
    os.kill(int(next(iter(workers))), signal.SIGTERM)
    (late,) = announced(service, 1).values()
    assert late[1] == "2"
    assert late[0] not in {instance for instance, _ in told.values()}
    rest, _ = service.interrupt(0)
    assert "is instance" not in rest


def test_gunicorn_without_a_watcher_is_told_by_its_requests(start, source_file):
    service, port = gunicorn(start, SNAPSAFE_WATCH="0")
    workers = announced(service, 3)
    source_file.bump()
    answer = get(port)
    assert answer["restores"] == 1
    told = announced(service, 1)
    assert told == {str(answer["pid"]): (answer["instance"], "1")}
    assert workers[str(answer["pid"])][0] != answer["instance"]
    service.interrupt(0)


# ---- asyncio_service.py ----


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, (2, 1)), ({"SNAPSAFE_WATCH": "0"}, (2, 1)), ({"SNAPSAFE": "0"}, (1, 0))],
    ids=["watched", "by acheck", "twin"],
)
def test_asyncio(start, source_file, tmp_path, settings, expected):
    service = start("asyncio_service.py", "--database", tmp_path / "notes.db", **settings)
    assert service.line() == "connection 1 opened, restores: 0"
    port = int(service.line().split()[1])
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as client, client.makefile("rw") as stream:

        def ask(text):
            stream.write(f"{text}\n")
            stream.flush()
            answer = json.loads(stream.readline())
            return answer["id"], (answer["connection"], answer["restores"])

        first = ask("one")
        assert first[1] == (1, 0)
        source_file.bump()
        if not settings:
            assert service.line() == "connection 2 opened, restores: 1"  # before anybody asks
        second = ask("two")
        assert second[1] == expected
        assert second[0] != first[0]
        assert ask("three")[1] == expected
    _, said = service.interrupt(0)
    assert said == ""


def test_asyncio_says_which_file_is_wrong(finish):
    _, said = finish(sys.executable, EXAMPLES / "asyncio_service.py", "--database", "/nonexistent/x", status=1)
    assert said.startswith("asyncio_service.py: unable to open database file")


# ---- threads.py ----


@pytest.mark.parametrize("protection", ["1", "0"], ids=["", "twin"])
def test_threads(start, source_file, protection):
    program = start("threads.py", "--threads", "2", PYTHONDEVMODE="1", SNAPSAFE=protection)

    def work(jobs):
        """What each thread says of itself, until each of them had a job."""
        found = {}
        for _ in range(jobs):
            program.tell("job")
            name, _, epoch, _, seed, *_ = program.line().split()
            assert found.setdefault(name, (epoch, seed)) == (epoch, seed)
        return found

    before = work(20)
    assert {epoch for epoch, _ in before.values()} == {"0"}
    source_file.bump()
    after = work(20)
    both = before.keys() & after.keys()
    assert both
    for name in both:
        assert (after[name][0] == "1" and after[name][1] != before[name][1]) == (protection == "1")
    _, said = program.interrupt(130)
    assert said == ""


def test_threads_end_with_their_input(start):
    program = start("threads.py", PYTHONDEVMODE="1")
    program.tell("one")
    out, _ = program.process.communicate(timeout=SECONDS)
    assert program.process.returncode == 0, program.streams()
    assert out.decode().endswith("length 3\n")
    assert program.stderr() == b""


# ---- node_id.py ----


def test_node_id(finish):
    made = finish(*SNAPSAFE_RUN, sys.executable, EXAMPLES / "node_id.py", "--count", 5).split()
    assert len(set(made)) == 5
    assert made == sorted(made)
    assert len({id[12:26] for id in made}) == 1  # the node
    assert all(re.fullmatch("[0-9a-f]{32}", id) for id in made)


def test_node_id_of_a_forked_child_is_its_own(run_python, source_file):
    script = """
    import sys
    sys.path.insert(0, sys.argv[2])
    import node_id, snapsafe_rt
    from drawing import in_child
    plain = snapsafe_rt.per_generation(node_id.make_node)
    for draw, same in ((lambda: node_id.node(), False), (plain, True)):  # the twin: without the hook
        parents = draw().to_bytes(7, "big")
        assert (in_child(lambda: draw().to_bytes(7, "big")) == parents) == same
    """
    run_python(script, source_file.path, EXAMPLES, env=source_file.env)


# ---- cron_script.sh, cron_job.py ----


@pytest.fixture
def path(tmp_path):
    """What a crontab's PATH names: the environment that snapsafe is installed in."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, arguments in (("python", ""), ("snapsafe", "-m snapsafe_rt")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        (folder / name).chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_cron_script_writes_a_report(finish, tmp_path, path):
    reports = tmp_path / "reports"
    reports.mkdir()
    made = [
        finish(EXAMPLES / "cron_script.sh", reports, "--jitter", "0.01", PATH=path, PYTHONDEVMODE="1").strip()
        for _ in range(2)
    ]
    assert sorted(made) == sorted(str(entry) for entry in reports.iterdir())
    assert len(set(made)) == 2
    assert json.loads(Path(made[0]).read_text())["restores"] == 0
    _, said = finish(EXAMPLES / "cron_script.sh", tmp_path / "none", "--jitter", "0", PATH=path, status=1)
    assert said.startswith("cron_job.py: no report: ")


def test_cron_script_says_what_is_missing(finish):
    assert finish(EXAMPLES / "cron_script.sh", status=2)[1].startswith("usage: cron_script.sh FOLDER")
    _, said = finish(EXAMPLES / "cron_script.sh", "x", status=127, PATH="/usr/sbin:/sbin:/nonexistent")
    assert "no snapsafe on PATH" in said


@pytest.mark.parametrize("protection", ["1", "0"], ids=["", "twin"])
def test_cron_job_draws_its_delay_again_after_a_restore(run_python, source_file, protection):
    script = """
    import sys
    sys.path.insert(0, sys.argv[2])
    import cron_job
    from stage import bump
    drawn = []
    def draw_delay(jitter):
        drawn.append(jitter)
        if len(drawn) == 1:
            bump()
            return 60 if sys.argv[3] == "1" else 0.3  # the twin sleeps it out
        return 0
    cron_job.draw_delay = draw_delay
    cron_job.wait(5)
    print(len(drawn))
    """
    env = source_file.env | {"SNAPSAFE": protection}
    drawn = run_python(script, source_file.path, EXAMPLES, protection, env=env, timeout=30)
    assert int(drawn) == 1 + int(protection)


def test_cron_job_is_interrupted_in_its_sleep(start, tmp_path):
    job = start("cron_job.py", tmp_path, "--jitter", "1000000", PYTHONDEVMODE="1")
    threads = Path(f"/proc/{job.process.pid}/task")
    while job.process.poll() is None and len(list(threads.iterdir())) < 2:  # the watcher's come before the sleep
        os.sched_yield()
    job.interrupt(130)
    assert not list(tmp_path.iterdir())


# ---- pytest_own_app ----


@pytest.mark.parametrize("runner", [[], SNAPSAFE_RUN], ids=["pytest", "snapsafe run pytest"])
def test_pytest_own_app(finish, tmp_path, runner):
    command = [*runner, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLES / "pytest_own_app"]
    assert "2 passed" in finish(*command)
    out, _ = finish(*command, status=1, SNAPSAFE="0")
    assert "1 failed, 1 passed" in out
    assert "20 clones of this process: 1 value came out alike" in out
