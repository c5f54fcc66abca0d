"""A script: examples/phases/service.py, one of its workers in the main thread, copied at a known place in its work.

    snapshotted.py EXAMPLE SOURCE DATABASE ADDRESS JOURNALS QUIESCED

QUIESCED: "1" if an orchestrator quiesces the machine, which it begins in the middle of a job. Else the copies are made
in the middle of that job. Prints what the original and each copy made of it.
"""

import json
import os
import subprocess
import sys

import snapsafe_rt
from snapsafe_rt.manager.client import Manager
from snapsafe_rt.publish import FileSource
from snapsafe_rt.testing.clones import die_with_parent, raw_clone

EXAMPLE, SOURCE, DATABASE, ADDRESS, JOURNALS, QUIESCED = sys.argv[1:]
sys.path.insert(0, EXAMPLE)
import service as example  # noqa: E402

CLONES, JOBS = 5, 3  # JOBS: of each copy, and of the original afterwards
MIDDLE = "job 7"
SNAPSAFE = [sys.executable, "-m", "snapsafe_rt"]

reader, writer = os.pipe()
clone = None  # its number


def snapshot():
    """Returns in each copy, one after the other, and last in the original."""
    global clone
    generation = FileSource(SOURCE).generation + 1
    for number in range(CLONES):
        pid = raw_clone(0)
        if pid == 0:
            die_with_parent()
            clone = number
            FileSource(SOURCE).bump(generation)
            return
        os.waitpid(pid, 0)


def work(item):
    global orchestrator
    if item == MIDDLE and QUIESCED == "1":
        with Manager() as manager:
            manager.call("Inhibit", who="the test", why="wants to know when it begins", mode="delay")
            orchestrator = subprocess.Popen([*SNAPSAFE, "quiesce"], stdout=subprocess.DEVNULL)
            manager.call("Prepare")
    elif item == MIDDLE:
        snapshot()
    return item.upper()


def do_job():
    try:
        worker.do_job()
    except service.database.errors as error:
        errors.append(f"{type(error).__name__}: {error}".strip())


errors = []
database = example.Postgres(ADDRESS) if DATABASE == "postgres" else example.SQLite(ADDRESS, timeout=0.0)
service = example.Service(database, JOURNALS, work)
[worker] = service.workers
for _ in range(7):
    do_job()
if QUIESCED == "1":
    assert orchestrator.wait(30) == 0
    looked = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if int(fd) > 2]
    snapshot()
if clone is None and QUIESCED == "1":
    subprocess.run([*SNAPSAFE, "unquiesce"], stdout=subprocess.DEVNULL, check=True)
snapsafe_rt.check()
for _ in range(JOBS):
    do_job()
os.write(writer, json.dumps({"clone": clone, "node": service.node, "errors": errors}).encode() + b"\n")
if clone is not None:
    if worker.journal is not None:
        worker.journal.flush()
    os._exit(0)  # nothing is closed: a connection that is also others' goes on
service.finish()
os.close(writer)
with open(reader) as told:
    sys.stdout.write(told.read())
