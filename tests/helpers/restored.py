"""For scripts: a restore and its event, on the watcher's thread or, under SNAPSAFE_WATCH=0, in check()."""

import contextlib
import os
import sys
import time
import traceback

from stage import bump

import snapsafe_rt
from snapsafe_rt.core import native
from snapsafe_rt.errors import BaseExceptionGroup
from snapsafe_rt.restore import events

WATCHED = os.environ.get("SNAPSAFE_WATCH") != "0"
SECONDS = 20

_raised = []
if WATCHED:
    sys.unraisablehook = lambda args: _raised.append(args.exc_value)


def until(condition, seconds=SECONDS):
    """Waits for what another thread or process does. False if it does not."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def at_rest(state):
    """Waits until every other thread sleeps at the same moment, and returns what `state` was then: what was begun has
    come to its end, and what this thread did would have woken one. One that sleeps in two looks, and was not given the
    CPU in between, slept all the time; then so did all of them at once, and nobody could wake another."""
    looked = [0]

    def asleep():
        before, found, after = _looks(), state(), _looks()
        looked[0] = found
        return before == after and all("S" in lines[0] for lines in after.values())

    assert until(asleep), _looks()
    return looked[0]


def stays(state, seconds=1.0):
    """Waits at rest and returns what `state` was and is that long afterwards: the same where nothing wakes by itself.
    Three rounds at most, for an event that could not be run at once is tried again after a tick, once."""
    for _ in range(3):
        before = at_rest(state)
        time.sleep(seconds)
        if (after := state()) == before:
            break
    return before, after


def _looks():
    """Of each thread but main: is it asleep, and how often was it given the CPU?"""
    return others(("State:", "ctxt"))


def others(word):
    """Of each thread but main: the lines of its status with that word, or one of those words."""
    words = (word,) if isinstance(word, str) else word
    found = {}
    for tid in set(os.listdir("/proc/self/task")) - {str(os.getpid())}:
        with contextlib.suppress(OSError):  # it has just ended
            lines = read(f"/proc/self/task/{tid}/status").splitlines()
            found[tid] = [line for line in lines if any(word in line for word in words)]
    return found


def switches():
    """How often each thread but main was given the CPU."""
    return others("ctxt")


def restore():
    """Moves the source and returns what callbacks raised, after the event."""
    bump()
    return settle()


def settle():
    """Lets a pending event be run: by the watcher alone where there is one."""
    if not WATCHED:
        try:
            snapsafe_rt.check()
        except BaseExceptionGroup as group:
            return list(group.exceptions)
        return []
    done = until(lambda: native.epoch() == events.delivery.delivered and native.wait_quiet(0))
    assert done, f"the watcher ran no event: {snapsafe_rt.status().watching}"
    raised = list(_raised)
    _raised.clear()
    return raised


def read(path):
    with open(path) as file:
        return file.read()


def resident():
    """KiB in memory."""
    return int(read("/proc/self/statm").split()[1]) * 4


def threads():
    found = []
    for tid in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # it has just ended
            found.append(read(f"/proc/self/task/{tid}/comm").strip())
    return sorted(found)


def descriptors():
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one the folder was read with
            found[int(fd)] = os.readlink(f"/proc/self/fd/{fd}")
    return found


def in_child(body):
    """Forks a child that runs `body`, says what it raised, and exits with 1 then. Returns its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            body()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def children_end(pids):
    """Their exit statuses, in time."""
    found = {}

    def ended():
        for pid in set(pids) - set(found):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                found[pid] = status
        return len(found) == len(pids)

    assert until(ended), f"still running: {set(pids) - set(found)}"
    return [found[pid] for pid in pids]
