"""What is dumped and restored: an idle main process, forked workers, threads that draw without a pause.

    program.py MARK FOLDER VALUES WORKERS THREADS

Before each draw a thread looks at the first word of the file MARK (mapped, 0 while there is no copy), so that a value
which was under way when the tree was frozen is told from one of the copy; this does not depend on the package. Each
process writes FOLDER/COPY.PID.json when it has VALUES of each kind from every thread, and FOLDER/COPY.PID.again when
the callback ran for a second time. Main draws nothing: its result comes when its callback ran, which is what wakes it.
"""

import json
import mmap
import os
import pathlib
import random
import signal
import sys
import threading
import time
import uuid

import snapsafe_rt

sys.path.append(str(pathlib.Path(__file__).parents[1] / "helpers"))
from surfaces import prepare, select

MARK, FOLDER = sys.argv[1:3]
VALUES, WORKERS, THREADS = map(int, sys.argv[3:6])
CALLBACK_SECONDS = 2.0
SURFACES = ["random", "gauss", "instance", "urandom", "secrets", "uuid4", "uuid1", "uuid7", "ssl", "tls", "sqlite"]
SURFACES += ["tempfiles"]

with open(MARK, "rb") as file:
    mark = mmap.mmap(file.fileno(), 4096, mmap.MAP_SHARED, mmap.PROT_READ)
calls: list[float] = []
called = threading.Event()
seeded = random.Random(42)


def copy() -> int:
    return int.from_bytes(mark[:4], "little")


def write(name: str, value: object) -> None:
    if not copy():  # to be dumped again: CRIU would look for a file that is open now
        return
    path = f"{FOLDER}/{copy()}.{os.getpid()}.{name}"
    with open(f"{path}.part", "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.rename(f"{path}.part", path)


@snapsafe_rt.register_after_restore
def restored() -> None:
    calls.append(time.monotonic())
    called.set()
    if len(calls) == 2:
        write("again", snapsafe_rt.epoch())


def draws() -> dict:
    """A thread's own, by the words of the table."""
    surfaces = select(*SURFACES)
    made = prepare(surfaces)
    return {one.words: made[one.name] for one in surfaces if one.name in made}


def draw(ret: dict) -> None:
    made = list(draws().items())
    rows = {name: [] for name, _ in made}
    got = 0
    while got < VALUES:
        for name, one in made:
            before = copy()
            value = one()
            if before:
                rows[name].append(str(value))
        got = min(len(values) for values in rows.values())
    for name, values in rows.items():
        ret.setdefault(name, []).extend(values)


def forked() -> list[str]:
    """uuid4 of a child that is forked now, and of this process: pages that a fork wipes still are."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, " ".join(uuid.uuid4().hex for _ in range(100)).encode())
        os._exit(0)
    os.wait()
    with open(reading, encoding="ascii") as pipe:
        os.close(writing)
        return [*pipe.read().split(), *(uuid.uuid4().hex for _ in range(100))]


def run(threads: int) -> None:
    rows: dict = {}
    workers = [threading.Thread(target=draw, args=(rows,)) for _ in range(threads)]
    for worker in workers:
        worker.start()
    with open(f"{FOLDER}/ready.{os.getpid()}", "w", encoding="utf-8"):
        pass
    if not workers:
        called.wait()  # so main has no result where no callback runs
    for worker in workers:
        worker.join()
    if os.environ.get("SNAPSAFE") != "0":
        called.wait(CALLBACK_SECONDS)
    rows["uuid4 of a fork after it"] = forked()
    end = time.monotonic() + CALLBACK_SECONDS  # after a fork the watcher waits a second
    while snapsafe_rt.status().watching["how"] == "starting" and time.monotonic() < end:
        time.sleep(0.01)
    rows["uuid.getnode()"] = [f"{uuid.getnode():x}"]
    write(
        "json",
        {
            "rows": rows,
            "kept": [seeded.random() for _ in range(10)],
            "calls": len(calls),
            "epoch": snapsafe_rt.epoch(),
            "status": snapsafe_rt.status().as_dict(),
        },
    )
    signal.pause()


for _ in range(WORKERS):
    if os.fork() == 0:
        break
else:
    run(0)
run(THREADS)
