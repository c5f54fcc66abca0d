"""A program for the environment of one library: SOURCE PACKAGE. Uses it, is cloned as a machine is, and draws.

Prints JSON: of each surface the different values that COUNT clones drew, in each place, at once and after check(); and
what status() says that is not protected. The places: the thread that is cloned, a new one, and an old one, to which the
restore event runs elsewhere. The environment decides whether the process is activated (SNAPSAFE), and whether the
kernel repeats itself (LD_PRELOAD).
"""

import ctypes
import hashlib
import json
import os
import sys
import threading
import time
from pathlib import Path

import snapsafe_rt
from snapsafe_rt.source.vmclock_file import FileSource
from snapsafe_rt.testing.clones import clone_here, run_clones
from tests.libraries import TABLE

COUNT = 20
READ = {"x86_64": 0, "aarch64": 63}[os.uname().machine]
source = FileSource(sys.argv[1])
library = TABLE[sys.argv[2]]
activated = os.environ.get("SNAPSAFE") != "0"


def check():
    if activated:
        snapsafe_rt.check()


def elsewhere(call):
    """What it returns, or raises, in a thread of its own. The caller meanwhile sleeps in read(2): were it to wait for
    the GIL, a clone that the thread makes would wait for the caller, which it does not have."""
    found = []
    reader, writer = os.pipe()
    caller = f"/proc/{os.readlink('/proc/thread-self')}/syscall"  # /proc may be another namespace's

    def run():
        try:
            while not Path(caller).read_text().startswith(f"{READ} {reader:#x} "):
                time.sleep(0.001)
            found.append((call(), None))
        except BaseException as error:
            found.append((None, error))
        os.close(writer)

    thread = threading.Thread(target=run)
    thread.start()
    os.read(reader, 1)
    thread.join()
    os.close(reader)
    value, error = found[0]
    if error is not None:
        raise error
    return value


def value_of(surface):
    drawn = surface.draw()
    return hashlib.sha256(drawn if isinstance(drawn, bytes) else repr(drawn).encode()).hexdigest()[:16]


def of_main(surface):
    drawn = {"main": value_of(surface)}
    if not surface.only_main:
        drawn["new"] = elsewhere(lambda: value_of(surface))
    check()
    drawn["main checked"] = value_of(surface)
    if not surface.only_main:
        drawn["new checked"] = elsewhere(lambda: value_of(surface))
    return drawn


def of_old(surface):
    drawn = {"old": value_of(surface)}
    elsewhere(check)
    drawn["old checked"] = value_of(surface)
    return drawn


def cloned(surface, draws):
    """Of each place: the different values that COUNT clones of the calling thread drew."""
    generation = max(source.generation + 1, time.time_ns())

    def body(number):
        source.bump(generation)
        return json.dumps(draws(surface)).encode()

    for _ in range(5):
        # A lock that a thread of the library's held at the moment is held for ever in that clone.
        clones = clone_here(COUNT, body, timeout=10)
        bad = [str(clone) for clone in clones if clone.status]
        if not any("in time" in one for one in bad):
            break
    if bad:
        raise RuntimeError(bad[0])
    made = [json.loads(clone.output) for clone in clones]
    return {place: sorted({one[place] for one in made}) for place in made[0]}


def alarms():
    """What status() says that is not protected; nobody watches here, which it says of what the event renews."""
    rows = snapsafe_rt.status().rows
    bad = [row for row in rows if row.protection in ("unprotected", "unexamined") and "no watcher runs" not in row.note]
    return [f"{row.name} is {row.protection}: {row.note}" for row in bad]


def template(number):
    if "replay" in os.environ.get("LD_PRELOAD", ""):
        assert ctypes.CDLL(None).replay_trap_getrandom() == 0
    surfaces = library.program()
    if activated:
        snapsafe_rt.check()
    measured = {}
    for name, surface in surfaces.items():
        value_of(surface)  # what is seeded at its first use is seeded now
        value_of(surface)
        measured[name] = cloned(surface, of_main)
        if not surface.only_main:

            def old(surface=surface):
                value_of(surface)
                value_of(surface)
                return cloned(surface, of_old)

            measured[name] |= elsewhere(old)
    found = {name: {"level": one.level, "how": one.how, "values": measured[name]} for name, one in surfaces.items()}
    return json.dumps([found, alarms() if activated else []]).encode()


made = run_clones(1, template, timeout=float(os.environ.get("SNAPSAFE_TEST_SECONDS", "240")))
assert made.same_pid, "neither CAP_SYS_ADMIN nor user namespaces"
print("\n" + made[0].decode())
