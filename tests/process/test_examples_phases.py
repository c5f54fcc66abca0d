"""examples/phases: a service that is snapshotted in a job loses nothing and repeats nothing; the twins do."""

import contextlib
import json
import os
import sqlite3
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from ..conftest import HELPERS
from ..helpers.postgres import PROGRAMS, Postgres
from ..helpers.running import EXAMPLES, SNAPSAFE_RUN, Running

pytestmark = [pytest.mark.any_python, pytest.mark.skipif(os.geteuid() != 0, reason="takes root, for a /run of its own")]

CLONES, JOBS = 5, 3  # as in helpers/snapshotted.py
ALL = 7 + JOBS * (CLONES + 1)  # the jobs there are
SCHEMA = (EXAMPLES / "phases/schema.sql").read_text()


class Database:
    """With the example's schema and that many jobs."""

    def __init__(self, kind, address, connect, sql):
        self.kind, self.address, self.connect = kind, address, connect
        connection = connect()
        for statement in SCHEMA.split(";"):
            if statement.strip():
                connection.execute(statement)
        for job in range(1, ALL + 1):
            connection.execute(sql, (job, f"job {job}"))
        connection.commit()
        connection.close()

    def ask(self, text):
        connection = self.connect()
        rows = connection.execute(text).fetchall()
        connection.close()
        return rows


@pytest.fixture(params=["postgres", "sqlite"])
def database(request, shm_path):
    insert = "INSERT INTO job (id, item) VALUES (?, ?)"
    if request.param == "sqlite":
        path = shm_path / "jobs.db"
        yield Database("sqlite", path, lambda: sqlite3.connect(path), insert)
        return
    psycopg = pytest.importorskip("psycopg", exc_type=ImportError)  # it needs libpq
    if not PROGRAMS:
        pytest.skip("no PostgreSQL here (Debian: postgresql)")
    folder = shm_path / "server"
    folder.mkdir()
    server = Postgres(folder)
    yield Database("postgres", server.address, lambda: psycopg.connect(server.address), insert.replace("?", "%s"))
    server.close()


@pytest.fixture
def journals(shm_path):
    folder = shm_path / "journals"
    folder.mkdir()
    return folder


def until(true):
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def lines(journals):
    return [line for path in sorted(journals.iterdir()) for line in path.read_text().splitlines()]


def run(run_python, managed, source_file, database, journals, *, quiesced, **settings):
    output = run_python(
        (HELPERS / "snapshotted.py").read_text(),
        *(EXAMPLES / "phases", source_file.path, database.kind, database.address, journals, int(quiesced)),
        env=source_file.env | settings,
        under=managed.container.under,
    )
    told = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert sorted(str(one["clone"]) for one in told) == [*map(str, range(CLONES)), "None"], output
    return {one["clone"]: one for one in told}


def test_quiesced_nothing_is_lost_or_repeated(run_python, managed, source_file, database, journals):
    told = run(run_python, managed, source_file, database, journals, quiesced=True)
    assert told[None]["left"] == []
    assert [one["errors"] for one in told.values()] == [[]] * (CLONES + 1)
    receipts = database.ask("SELECT number, job, node, result FROM receipt")
    assert sorted(job for _, job, _, _ in receipts) == list(range(1, ALL + 1))
    assert max(Counter(number for number, *_ in receipts).values()) == 1
    done = {one["node"]: JOBS + (7 if number is None else 0) for number, one in told.items()}
    assert len(done) == CLONES + 1
    assert Counter(node for _, _, node, _ in receipts) == done
    assert sorted(lines(journals)) == sorted(f"{number} {job} {result}" for number, job, _, result in receipts)
    last = managed.describe()["lastSnapshot"]
    assert (last["late"], last["restored"], last["ended"]) == ([], False, "unquiesced")


def test_the_original_goes_on_as_it_was(managed, environment, finish, database, journals):
    """The program itself, with its threads; no copy is made."""
    command = [*managed.container.under, *SNAPSAFE_RUN, sys.executable, EXAMPLES / "phases/service.py"]
    with Running([*command, f"--{database.kind}", database.address, "--journals", journals], environment) as service:
        node = service.line("ready").split()[-1]
        managed.until(lambda found: found["inhibitors"] == 1)
        snapsafe = [*managed.container.under, sys.executable, "-m", "snapsafe_rt"]
        for number in (1, 2):
            assert finish(*snapsafe, "quiesce").startswith(f"snapshot {number}: quiesced in ")
            fds = []
            for fd in Path(f"/proc/{service.process.pid}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # the state's file, which is read now and then
                    fds.append(os.readlink(fd))
            assert not [name for name in fds if name.startswith(("/dev/shm", "socket:", "anon_inode:inotify"))]
            receipts = database.ask("SELECT number, job, result FROM receipt")
            assert sorted(lines(journals)) == sorted(f"{number} {job} {result}" for number, job, result in receipts)
            finish(*snapsafe, "unquiesce")
            managed.until(lambda found: found["inhibitors"] == 1)
        until(lambda: database.ask("SELECT count(*) FROM receipt") == [(ALL,)])
        service.interrupt(130)
    receipts = database.ask("SELECT number, job, node FROM receipt")
    assert sorted(job for _, job, _ in receipts) == list(range(1, ALL + 1))
    assert {node for *_, node in receipts} == {node}
    assert len({number for number, *_ in receipts}) == len(lines(journals)) == ALL


@pytest.mark.parametrize("protection", ["1", "0"], ids=["told-after", "not-told"])
def test_the_twins(run_python, managed, source_file, database, journals, protection):
    """Nobody quiesces: the copies are made in the middle of job 7. Told after it is too late for what was open."""
    told = run(run_python, managed, source_file, database, journals, quiesced=False, SNAPSAFE=protection)
    failed = {number for number, one in told.items() if one["errors"]}
    times = Counter(job for _, job in database.ask("SELECT number, job FROM receipt"))
    numbers = Counter(number for number, _ in database.ask("SELECT number, job FROM receipt"))
    journal = Counter(lines(journals))
    # What stood in the buffer is written by everybody, the first half of a line as well.
    assert [journal[f"{job} {job} JOB {job}"] for job in range(1, 7)] == [CLONES + 1] * 6
    assert journal["7 7 JOB 7"] + journal["7 7 failed"] == CLONES + 1
    if database.kind == "sqlite":  # whose locks are the original's alone
        assert failed == {*range(CLONES), None}
        assert all("locked" in error for number in range(CLONES) for error in told[number]["errors"])
        assert journal["7 7 failed"] == CLONES + 1
        assert times[7] == 1  # though all say that it failed
    elif protection == "1":  # who closes the connection closes everybody's
        assert failed == {*range(1, CLONES), None}
        assert (times[7], journal["7 7 failed"]) == (1, CLONES)  # it was done, and five are told that it was not
    else:  # one transaction, six times done
        assert failed == set()
        assert times[7] == CLONES + 1
        assert [numbers[number] for number in (8, 9, 10)] == [CLONES + 1] * 3
        assert len({one["node"] for one in told.values()}) == 1
