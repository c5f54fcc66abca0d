"""examples/phases: dumped by CRIU when the machine is quiesced, and restored many times; connected it cannot be."""

import contextlib
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter

import psycopg
from trees import LAB, SNAPSAFE, SOURCE, TIMEOUT, Failed, criu, must

from snapsafe_rt.manager.client import Manager
from tests.helpers.postgres import Postgres

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples/phases"
JOBS = 20  # of each copy, and of the original: before the dump, and after it


def until(what, true):
    end = time.monotonic() + TIMEOUT
    while not true():
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {TIMEOUT:.0f} s")
        time.sleep(0.01)


class Database:
    """With the example's tables."""

    def __init__(self, kind, folder):
        self.kind, self.server, self.jobs = kind, None, 0
        if kind == "postgres":
            (folder / "server").mkdir()
            self.server = Postgres(folder / "server")
            self.address, self.mark = self.server.address, "%s"
        else:
            self.address, self.mark = str(folder / "jobs.db"), "?"
        for statement in filter(str.strip, (EXAMPLE / "schema.sql").read_text().split(";")):
            self.ask(statement)

    def ask(self, text, *values):
        connection = (psycopg if self.server else sqlite3).connect(self.address)
        with contextlib.closing(connection):
            cursor = connection.execute(text, values)
            rows = cursor.fetchall() if cursor.description else []
            connection.commit()
        return rows

    def do_jobs(self):
        """Puts them there, and waits until they are done."""
        for _ in range(JOBS):
            self.jobs += 1
            self.ask(f"INSERT INTO job (id, item) VALUES ({self.mark}, 'job')", self.jobs)
        until(f"{self.kind}: {self.jobs} receipts", lambda: self.ask("SELECT count(*) FROM receipt") == [(self.jobs,)])


class Service:
    def __init__(self, database, folder):
        self.image, self.journals = folder / "image", folder / "journals"
        self.image.mkdir()
        self.journals.mkdir()
        command = [SNAPSAFE, "run", sys.executable, EXAMPLE / "service.py", f"--{database.kind}", database.address]
        with (folder / "stderr").open("wb") as errors:
            self.process = subprocess.Popen(
                list(map(str, [*command, "--journals", self.journals])),
                env={**os.environ, "SNAPSAFE_SOURCES": f"vmclock:{SOURCE}"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        self.pid = self.process.pid

    def dump(self, log, *options):
        criu("dump", self.image / log, "--tree", self.pid, "--leave-running", *options)

    def restore(self, number, script):
        log = self.image / f"restore-{number}.log"
        criu("restore", log, "--restore-detached", "--action-script", script)

    def end(self, how=signal.SIGTERM):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, how)
        with contextlib.suppress(ChildProcessError):  # the copies are ours, too: we are the first process here
            os.waitpid(self.pid, 0)


def describe():
    with Manager() as manager:
        return manager.call("Describe")


def has_lock():
    until("the lock of the service", lambda: describe()["inhibitors"] == 1)


def check(kind, script, copies):
    """Raises Failed."""
    folder = LAB / f"phases-{kind}"
    folder.mkdir()
    database = Database(kind, folder)
    service = Service(database, folder)
    try:
        has_lock()
        database.do_jobs()
        if database.server:
            refuses(service)
        service.dump("dump.log", "--action-script", script)
        last = describe()["lastSnapshot"]
        must((last["ended"], last["late"]) == ("unquiesced", []), f"{kind}: {last}")
        has_lock()
        database.do_jobs()
        must(len(database.ask("SELECT DISTINCT node FROM receipt")) == 1, f"{kind}: the original became another node")
        for number in range(copies):
            service.end()
            service.restore(number, script)
            has_lock()
            database.do_jobs()
        service.end()
        compare(database, service, copies)
    finally:
        service.end(signal.SIGKILL)
        if database.server:
            database.server.close()


def refuses(service):
    """The twin: what is not quiesced has connections. That to the manager alone would not matter: it is in the
    watcher's own descriptor table, which CRIU does not dump."""
    try:
        service.dump("unquiesced.log")
    except Failed as error:
        must("socket" in str(error), f"not quiesced, the dump failed for another reason: {error}")
    else:
        raise Failed("not quiesced, it could be dumped")


def compare(database, service, copies):
    receipts = database.ask("SELECT number, job, node, result FROM receipt")
    jobs, nodes = Counter(job for _, job, _, _ in receipts), Counter(node for *_, node, _ in receipts)
    must(set(jobs.values()) == {1}, f"{database.kind}: jobs that were not done once: {jobs}")
    must(len({number for number, *_ in receipts}) == len(receipts), f"{database.kind}: numbers that were given twice")
    must(sorted(nodes.values()) == [*[JOBS] * copies, 2 * JOBS], f"{database.kind}: {nodes}")
    lines = sorted(line for path in service.journals.iterdir() for line in path.read_text().splitlines())
    expected = sorted(f"{number} {job} {result}" for number, job, _, result in receipts)
    must(lines == expected, f"{database.kind}: {lines}")
