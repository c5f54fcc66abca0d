"""The real manager, and programs that are asked before a snapshot."""

import select
import time

from .managed import Manager

# While callbacks run, and a moment longer, they have a thread of their own: CPython says so at a fork.
STAGE = """
import os, signal, sys, threading, time, warnings
warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
import snapsafe_rt
from announced import *
from restored import at_rest, descriptors, read, resident, stays, switches, threads, until
from snapsafe_rt.source import probe
from snapsafe_rt.state import state
from snapsafe_rt.snapshot import announcers
from snapsafe_rt.restore import events
from snapsafe_rt.core import native
"""


class Lab:
    """A manager whose device is a file, and programs that watch what it writes."""

    def __init__(self, folder, source, living):
        self.folder, self.device, self._living = folder, source, living
        self.manager = None
        self.env = {"TEST_MANAGER": str(folder / "socket"), "SNAPSAFE_SOURCES": f"vmclock:{folder / 'published'}"}

    def start(self, **more):
        self.manager = Manager(self.folder, self.device.uri, **more)
        return self.manager

    def program(self, code="", env=None, **more):
        one = self._living(env={**self.env, **(env or {})}, **more)
        one(STAGE + code)
        return one

    def call(self, method, **parameters):
        peer = self.manager.notified.peer  # nobody else hears what it tells its service manager
        while select.select([peer], [], [], 0)[0]:
            peer.recv(65536)
        return self.manager.call(method, **parameters)

    def quiesce(self, **parameters):
        return self.call("Quiesce", **parameters)["parameters"]

    def inhibitors(self):
        return self.call("ListInhibitors")["parameters"]["inhibitors"]

    def until_locks(self, count):
        """Of that many processes: one that has just let go of a lock and taken another may be listed twice."""
        end = time.monotonic() + 20
        while len(held := [one["pid"] for one in self.inhibitors()]) != count or len(set(held)) != count:
            assert time.monotonic() < end, self.inhibitors()
            time.sleep(0.01)


def after(one, phase="running"):
    """What was called by the time that the program is in that phase, and holds a lock again if it runs."""
    one(f"phase({phase!r})" + ("; locked()" if phase == "running" else ""))
    return one("answer = taken()")
