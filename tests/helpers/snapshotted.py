"""A script: examples/phases/service.py, one of its workers in the main thread, copied at a known place in its work.

    snapshotted.py EXAMPLE SOURCE DATABASE ADDRESS JOURNALS QUIESCED

The copies are forks: they have the memory and the descriptors, and the watcher's threads go on in them.
QUIESCED: "1" if an orchestrator quiesces the machine, which it begins in the middle of a job. Else the copies are made
in the middle of that job. Prints what the original and each copy made of it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import warnings

import snapsafe_rt
from snapsafe_rt.manager.client import Manager
from snapsafe_rt.snapshot.lifecycle import program
from snapsafe_rt.source.vmclock_file import FileSource
from snapsafe_rt.testing.clones import die_with_parent

# While callbacks run, and a moment longer, they have a thread of their own: CPython says so at a fork.
warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)

EXAMPLE, SOURCE, DATABASE, ADDRESS, JOURNALS, quiesced = sys.argv[1:]
QUIESCED = quiesced == "1"
sys.path.insert(0, EXAMPLE)
import service as example  # noqa: E402

CLONES, JOBS = 5, 3  # JOBS: of each copy, and of the original afterwards
MIDDLE = "job 7"
SNAPSAFE = [sys.executable, "-m", "snapsafe_rt"]

told_reader, told_writer = os.pipe()
clone = None  # its number
clones = []
errors = []


def snapshot():
    """Makes copies that stand still. Returns in each, when let_clones_go_on() lets it, and in the original."""
    global clone
    for number in range(CLONES):
        pid = os.fork()
        if pid == 0:
            die_with_parent()
            clone = number
            os.kill(os.getpid(), signal.SIGSTOP)
            return
        assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
        clones.append(pid)


def let_clones_go_on():
    """One after the other, to their end. Each finds the source as after a restore."""
    source = FileSource(SOURCE)
    source.bump(source.generation + 1)
    for pid in clones:
        os.kill(pid, signal.SIGCONT)
        assert os.waitpid(pid, 0)[1] == 0


def work(item):
    global orchestrator
    if item == MIDDLE and QUIESCED:
        with Manager() as manager:
            manager.call("Inhibit", who="the test", why="wants to know when it begins", mode="delay")
            orchestrator = subprocess.Popen([*SNAPSAFE, "quiesce"], stdout=subprocess.DEVNULL)
            manager.call("Prepare")
    elif item == MIDDLE:
        snapshot()
        if clone is None:
            let_clones_go_on()
    return item.upper()


def do_jobs(count):
    for _ in range(count):
        try:
            worker.do_job()
        except service.database.errors as error:
            errors.append(f"{type(error).__name__}: {error}".partition("\n")[0])


def tell(**more):
    told = {"clone": clone, "node": service.node, "errors": errors, **more}
    os.write(told_writer, json.dumps(told).encode() + b"\n")


def open_files():
    """But pipes, and those of the interpreter."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return [name for name in found if name.startswith(("/dev/shm", "socket:"))]


database = example.Postgres(ADDRESS) if DATABASE == "postgres" else example.SQLite(ADDRESS, timeout=0.0)
service = example.Service(database, JOURNALS, work)
[worker] = service.workers
while program.describe()["reason"] and QUIESCED:
    pass
do_jobs(7)
if QUIESCED:
    assert orchestrator.wait(30) == 0
    left = open_files()
    snapshot()
    if clone is None:
        subprocess.run([*SNAPSAFE, "unquiesce"], stdout=subprocess.DEVNULL, check=True)
    with service.gate:  # it is opened by the callbacks for the time after
        pass
    do_jobs(JOBS)
    if clone is None:
        service.finish()
        tell(left=left)
        let_clones_go_on()
    else:
        tell()
else:
    snapsafe_rt.check()
    do_jobs(JOBS)
    tell()
if worker.journal is not None:
    worker.journal.flush()
if clone is not None:
    os._exit(0)  # nothing is closed: a connection that is also others' goes on
service.finish()
os.close(told_writer)
with open(told_reader) as told:
    sys.stdout.write(f"\n{told.read()}")  # a callback of the original may be in the middle of a line
