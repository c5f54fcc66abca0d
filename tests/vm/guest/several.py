"""A service of several processes: workers forked before the snapshot, a multiprocessing pool, one that may not open the
device. Each draws when asked, after the restore."""

import json
import multiprocessing
import os
import subprocess
import sys

import channel
import surfaces

COUNT = 200
DRAWS = surfaces.prepare(surfaces.select("getrandbits", "ssl", "urandom", "uuid4"))
STRANGER = """
import json, os, random, sys, uuid
protected = os.environ.get("SNAPSAFE") != "0"
random.random(), uuid.uuid4()
print(json.dumps(["ready"]), flush=True)
for line in sys.stdin:
    uuids = [uuid.uuid4().hex for _ in range(2000)]
    drawn = [random.getrandbits(64) for _ in range(10)]
    status = None
    if protected:
        import snapsafe_rt
        status = snapsafe_rt.status().as_dict()
        snapsafe_rt.notify_restored(bytes.fromhex(line.strip()))
    renewed = [random.getrandbits(64) for _ in range(10)]
    print(json.dumps([uuids, drawn, renewed, status]), flush=True)
"""


def draw_all(_=None):
    found = {
        name: [int.from_bytes(channel.eight_bytes(draw()), "little") for _ in range(COUNT)]
        for name, draw in DRAWS.items()
    }
    return os.getpid(), found, channel.status()


def forked():
    """A worker: a function that asks it and returns what it drew."""
    ask, answer = os.pipe(), os.pipe()
    if os.fork() == 0:
        draw_all()
        os.read(ask[0], 1)
        with open(answer[1], "w") as file:
            json.dump(draw_all(), file)
        os._exit(0)
    os.close(answer[1])
    return lambda: (os.write(ask[1], b"x"), json.load(open(answer[0])))[1]


if __name__ == "__main__":
    environment = os.environ | {"SNAPSAFE_STRICT": "0"}
    command = [sys.executable, "-c", STRANGER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    stranger = subprocess.Popen(command, user=1000, group=1000, extra_groups=[], **pipes)
    stranger.stdout.readline()
    strict = subprocess.run(
        [sys.executable, "-c", "pass"],
        user=1000,
        group=1000,
        extra_groups=[],
        env=os.environ | {"SNAPSAFE_STRICT": "1"},
        capture_output=True,
        text=True,
    )
    draw_all()
    workers = [forked(), forked()]
    pool = multiprocessing.get_context("fork").Pool(2)
    pool.map(draw_all, range(4), chunksize=1)
    channel.send(ready=True, status=channel.status(), strict=[strict.returncode, strict.stderr])
    host = channel.wait_for_host()
    drawn = [draw_all(), *(worker() for worker in workers), *pool.map(draw_all, range(4), chunksize=1)]
    stranger.stdin.write(host.hex() + "\n")
    stranger.stdin.flush()
    uuids, before, renewed, status = json.loads(stranger.stdout.readline())
    states = [row[2] for row in drawn]
    values = [row[1] for row in drawn]
    channel.send(values=values, states=states, uuids=uuids, before=before, renewed=renewed, stranger=status)
    channel.wait_for_host()
