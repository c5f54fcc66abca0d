"""examples/phases: a service that is snapshotted in the middle of a job loses nothing and repeats nothing; the twins do."""

import json
import os
import re
import sqlite3
import subprocess
from collections import Counter

import pytest

from ..conftest import HELPERS
from ..helpers.managed import Container, Manager
from ..helpers.postgres import PROGRAMS, Postgres
from ..helpers.running import EXAMPLES

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="takes root, for a /run of its own")

CLONES, JOBS = 5, 3  # as in helpers/snapshotted.py
ALL = 7 + JOBS * (CLONES + 1)  # the jobs there are
SCHEMA = (EXAMPLES / "phases/schema.sql").read_text()
LINE = re.compile(r"(\d+) (\d+) JOB \2")


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
    yield Database(
        "postgres", server.address, lambda: psycopg.connect(server.address), insert.replace("?", "%s")
    )
    server.close()


@pytest.fixture
def machine(shm_path, source_file):
    """A manager, and a namespace in which its folder is /run/snapsafe."""
    run = shm_path / "run" / "snapsafe"
    run.mkdir(parents=True)
    container = Container(shm_path / "dev", run.parent)
    manager = Manager(run, source_file.uri, under=container.under, at="/run/snapsafe")
    manager.container = container
    yield manager
    manager.close()
    container.close()


@pytest.fixture
def journals(shm_path):
    folder = shm_path / "journals"
    folder.mkdir()
    return folder


def lines(journals):
    return [line for path in sorted(journals.iterdir()) for line in path.read_text().splitlines()]


def run(run_python, machine, source_file, database, journals, *, quiesced, **settings):
    output = run_python(
        (HELPERS / "snapshotted.py").read_text(),
        *(EXAMPLES / "phases", source_file.path, database.kind, database.address, journals, int(quiesced)),
        env=source_file.env | settings,
        under=machine.container.under,
    )
    told = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert [one["clone"] for one in told] == [*range(CLONES), None]
    return told


def test_quiesced_nothing_is_lost_or_repeated(run_python, machine, source_file, database, journals):
    told = run(run_python, machine, source_file, database, journals, quiesced=True)
    assert [one["errors"] for one in told] == [[]] * (CLONES + 1)
    assert len({one["node"] for one in told}) == CLONES + 1
    receipts = database.ask("SELECT number, job, node, result FROM receipt")
    assert sorted(job for _, job, _, _ in receipts) == list(range(1, ALL + 1))
    assert max(Counter(number for number, *_ in receipts).values()) == 1
    assert Counter(node for _, _, node, _ in receipts) == {one["node"]: JOBS for one in told[:-1]} | {
        told[-1]["node"]: 7 + JOBS
    }
    assert sorted(lines(journals)) == sorted(f"{number} {job} {result}" for number, job, _, result in receipts)
    last = machine.describe()["lastSnapshot"]
    assert (last["late"], last["ended"]) == ([], "unquiesced")


@pytest.mark.parametrize("protection", ["1", "0"], ids=["told-after", "not-told"])
def test_the_twins(run_python, machine, source_file, database, journals, protection):
    told = run(run_python, machine, source_file, database, journals, quiesced=False, SNAPSAFE=protection)
    receipts = database.ask("SELECT number, job, node, result FROM receipt")
    print(json.dumps(told, indent=1), receipts, lines(journals), sep="\n")
    assert 0
