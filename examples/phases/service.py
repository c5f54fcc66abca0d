"""A service that may be snapshotted: asked before, it ends what is open; told after, it goes on.

    sqlite3 jobs.db <examples/phases/schema.sql
    snapsafe run python examples/phases/service.py --sqlite jobs.db --journals FOLDER
    snapsafe run python examples/phases/service.py --postgres "dbname=jobs" --journals FOLDER

Threads take jobs from a table, each job in one transaction, and each thread writes a journal of its own. Look at:

    Gate              no job is under way while the snapshot is taken
    Service.finish()  afterwards nothing is open, and no number is kept that two clones would use
    Service.renew()   begins with finish(), for a clone of a snapshot that nobody announced
"""

import argparse
import contextlib
import os
import signal
import sqlite3
import sys
import threading
import time

import snapsafe_rt

BLOCK = 10  # numbers that a worker takes at once
IDLE = 0.1  # seconds between two looks for a job
AGAIN = 1.0  # seconds, after an error of the database

# Both databases understand these. With SKIP LOCKED the workers of PostgreSQL take different jobs at the same time.
TAKE_NUMBERS = "UPDATE numbers SET next = next + ? RETURNING next"
TAKE_JOB = """UPDATE job SET node = ? WHERE id = (SELECT id FROM job WHERE node IS NULL ORDER BY id LIMIT 1 {lock})
              RETURNING id, item"""
PUT_RECEIPT = "INSERT INTO receipt (number, job, node, result) VALUES (?, ?, ?, ?)"


class Postgres:
    def __init__(self, address):
        import psycopg

        self.errors = psycopg.Error
        self.connect = lambda: psycopg.connect(address, application_name="snapsafe-example")

    def sql(self, text):
        return text.format(lock="FOR UPDATE SKIP LOCKED").replace("?", "%s")


class SQLite:
    errors = sqlite3.Error

    def __init__(self, path, timeout=30.0):
        # A connection is its thread's own, but finish() closes it in another thread, while its own waits at the gate.
        options = {"timeout": timeout, "isolation_level": "IMMEDIATE", "check_same_thread": False}
        self.connect = lambda: sqlite3.connect(path, **options)

    def sql(self, text):
        return text.format(lock="")


class Gate:
    """Each job runs inside it (`with gate`). When shut() returns no job is under way."""

    def __init__(self):
        self.changed = threading.Condition()
        self.is_open, self.inside = True, 0

    def __enter__(self):
        with self.changed:
            self.changed.wait_for(lambda: self.is_open)
            self.inside += 1

    def __exit__(self, *_):
        with self.changed:
            self.inside -= 1
            self.changed.notify_all()

    def shut(self):
        with self.changed:
            self.is_open = False
            self.changed.wait_for(lambda: not self.inside)

    def open(self):
        with self.changed:
            self.is_open = True
            self.changed.notify_all()


class Worker:
    """What one thread has open, and the numbers that it has taken and not used."""

    def __init__(self, service, name):
        self.service, self.name = service, name
        self.connection = self.journal = None
        self.numbers = iter(())

    def open(self):
        service = self.service
        self.connection = service.database.connect()
        self.journal = open(os.path.join(service.journals, f"{service.node}-{self.name}.log"), "a")  # noqa: SIM115

    def close(self):
        self.numbers = iter(())
        with contextlib.ExitStack() as closing:
            for thing in (self.connection, self.journal):
                if thing is not None:
                    closing.callback(thing.close)
            self.connection = self.journal = None

    def ask(self, text, *values):
        return self.connection.execute(self.service.database.sql(text), values)

    def number(self):
        for number in self.numbers:
            return number
        (after,) = self.ask(TAKE_NUMBERS, BLOCK).fetchone()
        self.connection.commit()
        self.numbers = iter(range(after - BLOCK, after))
        return next(self.numbers)

    def do_job(self):
        """Do one job. Returns False if there is none."""
        with self.service.gate:
            try:
                if self.connection is None:
                    self.open()
                return self._do_job()
            except BaseException:
                self.close()  # closing rolls back, so the job can be taken again
                raise

    def _do_job(self):
        number, node = self.number(), self.service.node
        job = self.ask(TAKE_JOB, node).fetchone()
        if job is None:
            self.connection.rollback()
            return False
        self.journal.write(f"{number} {job[0]} ")
        result = "failed"
        try:
            made = self.service.work(job[1])
            self.ask(PUT_RECEIPT, number, job[0], node, made)
            self.connection.commit()
            result = made
        finally:
            self.journal.write(f"{result}\n")
        return True

    def run(self):
        while True:
            try:
                if not self.do_job():
                    time.sleep(IDLE)
            except self.service.database.errors as error:
                print(f"{self.name}: {error}", file=sys.stderr, flush=True)
                time.sleep(AGAIN)


class Service:
    def __init__(self, database, journals, work=str.upper, workers=1):
        self.database, self.journals, self.work = database, journals, work
        self.gate = Gate()
        self.node = snapsafe_rt.entropy(8).hex()
        self.workers = [Worker(self, f"worker-{number}") for number in range(workers)]
        snapsafe_rt.register_at_snapshot(
            before=self.finish, after_in_original=self.gate.open, after_in_clone=self.renew
        )

    def finish(self):
        """Afterwards no transaction, connection or file is open, and no number is kept."""
        self.gate.shut()
        for worker in self.workers:
            worker.close()

    def renew(self):
        self.finish()  # already done, if the snapshot was announced
        self.node = snapsafe_rt.entropy(8).hex()
        self.gate.open()
        print(f"restored: this is node {self.node}", flush=True)

    def run(self):
        for worker in self.workers:
            threading.Thread(target=worker.run, daemon=True).start()
        print(f"ready: this is node {self.node}", flush=True)
        try:
            threading.Event().wait()
        finally:
            self.finish()


def main():
    parser = argparse.ArgumentParser(description="Does the jobs of a table.")
    database = parser.add_mutually_exclusive_group(required=True)
    database.add_argument("--sqlite", metavar="FILE")
    database.add_argument("--postgres", metavar="ADDRESS", help="as libpq takes it; needs psycopg 3")
    parser.add_argument("--journals", metavar="FOLDER", required=True)
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    found = SQLite(options.sqlite) if options.sqlite else Postgres(options.postgres)
    Service(found, options.journals, workers=options.workers).run()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
