"""The manager as the announcer of snapshots, over Varlink; the other announcer is snapsafe_rt.snapshot.logind.

The watcher has the connection (cython/connection.h). This module says what is sent on it and what the answers mean. It
is called by the watcher's runner, and by plan() with the activation's lock held.
"""

import errno
import json
import os
import sys
import time

from snapsafe_rt import settings, varlink
from snapsafe_rt.core import native
from snapsafe_rt.restore.limit import Limit
from snapsafe_rt.restore.watcher import entry
from snapsafe_rt.snapshot.machine import QUIESCED, RUNNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snapsafe_rt.restore.watcher import Item

# States of the connection: the words for them in cython/shown.h.
ABSENT, UNTRUSTED, FAILED, ENDED = "absent", "untrusted", "failed", "ended"
ASKED, HELD, HEARD = "asked", "held", "heard"
LOOK_MS = 50  # how often a quiesced program looks whether the snapshot is over
GRACE_SECONDS = 5.0  # how long after its own deadline a manager is still waited for
QUIESCING_SECONDS = 60.0  # how long "quiescing" is believed where no deadline is told; logind's own is 5 seconds
LOOKED_SECONDS = 2.0  # how often still_on() is asked at the least: the watcher's tick, and some more
STATE_MOST = 4096  # bytes of the state file that are read
ERRORS_KEPT, ERROR_LENGTH = 7, 300  # the manager takes eight

_NOT_UNDERSTOOD = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


class Announcer:
    """Who announces snapshots, at the socket `path`. `snapshot`: number of the last one."""

    detaches = False
    """Does a quiesced program hold neither inotify nor a connection, which CRIU could not restore, and look instead?"""

    def __init__(self, path: str) -> None:
        self.path = path
        self.snapshot = 0
        self._deaf: tuple[tuple[int, int], str] | None = None  # the socket that gives no lock, and why

    def _refuse(self, why: str) -> None:
        self._deaf = identity(self.path), why

    def _refused(self) -> str:
        return self._deaf[1] if self._deaf is not None and self._deaf[0] == identity(self.path) else ""


class Manager(Announcer):
    """Its socket, and the state file beside that, which is read while there is no connection."""

    detaches = True

    def __init__(self, why: str) -> None:
        super().__init__(settings.MANAGER)
        self.state_file = self.path + ".state"
        asked = {"what": "snapshot", "who": who(), "why": why, "mode": "delay"}
        self._greeting = varlink.call("Inhibit", asked) + varlink.call("Prepare")
        self._limit: tuple[tuple[str, int, float], Limit] | None = None  # what was read last, and how long that counts
        self._looked = False  # for the end of this snapshot
        self._state: os.stat_result | None = None  # of the state file, taken before it was read
        self.dump = False
        """Is it CRIU that takes the snapshot? It dumps no process that maps a device, so devices are detached. In a
        snapshot of the machine they stay: a clone sees by them that it is one before it draws."""

    def connection(self, phase: str) -> "tuple[str, bytes, bool] | None":
        if phase != RUNNING or self._refused() or self._has_no_state():
            return None
        return _address(self.path), self._greeting, True

    def paths(self, phase: str) -> "list[Item]":
        """The files whose change the watcher has to wake us for."""
        if phase == RUNNING:
            items = [entry(self.path, look(self.path), announcer=True)]
            if self._has_no_state():  # the manager writes it as soon as it can
                items.append(entry(self.state_file, None, announcer=True))
        else:
            if not self._looked:  # else the watch compares with what still_on() has read, and misses no later change
                self._state = look(self.state_file)
                self._looked = True
            items = [entry(self.state_file, self._state, phase == QUIESCED, announcer=True)]
        return [item for item in items if item is not None]

    def _has_no_state(self) -> bool:
        """Is there a socket, and no state file? As in a container that only the socket is mounted into.

        No lock is taken then. A quiesced program could not see that the snapshot is still on: it would go on at once,
        ask for the next lock, and be refused it until the end.
        """
        return look(self.state_file) is None and look(self.path) is not None

    def hear(self) -> str:
        """What has come: "announced", "late" (no lock, for a snapshot is under way), or "" for nothing of the kind."""
        heard, number = native.connection_take(), 0
        try:
            while True:
                answer, heard = varlink.split(heard)
                if answer is None:
                    return ""
                error, parameters = varlink.reply(answer)
                if error == "OperationInProgress":
                    return "late"
                if error:
                    self._refuse(f"the manager at {self.path}: it gives no lock ({error[:60]})")
                    return ""
                if number == 1:  # to Prepare; the one before said that the lock is ours
                    self.snapshot = int(parameters["snapshot"])
                    self.dump = parameters.get("dump") is True
                    return "announced"
                number += 1
        except (varlink.Malformed, *_NOT_UNDERSTOOD):
            self._refuse(f"the manager at {self.path}: what it says is not understood")
            return ""

    def farewell(self, errors: "list[str]") -> bytes:
        """The call Ready with what the callbacks raised, cut so that it fits into one message."""
        kept = [error.encode("ascii", "backslashreplace").decode()[:ERROR_LENGTH] for error in errors[:ERRORS_KEPT]]
        if len(errors) > ERRORS_KEPT:
            kept.append(f"{len(errors) - ERRORS_KEPT} more")
        return varlink.call("Ready", {"errors": kept})

    def still_on(self) -> bool:
        """Is the snapshot still on? It counts as over where the state file is gone, and where the manager has let its
        own deadline pass: then it was killed, and nobody waits for ever."""
        self._looked, self._state = True, look(self.state_file)
        try:
            with open(self.state_file, "rb") as file:
                found = json.loads(file.read(STATE_MOST))
            state, number, until = str(found["state"]), int(found["snapshot"]), float(found["until"])
            # A manager of before says by the time of day alone when it is over, and that jumps in a clone.
            seconds = float(found["seconds"] if "seconds" in found else until - time.time()) if until else None
        except FileNotFoundError:
            return False
        except (OSError, *_NOT_UNDERSTOOD):
            state, number, until, seconds = "quiescing", -1, 0.0, None
        if state not in ("quiescing", "quiesced"):
            return False
        key, limit = (state, number, until), self._limit  # once: over() may clear it in another thread
        if limit is None or limit[0] != key:
            seconds = QUIESCING_SECONDS if seconds is None else min(max(seconds, 0.0), 86400.0)
            self._limit = limit = key, Limit(seconds + GRACE_SECONDS, LOOKED_SECONDS)
        return limit[1].left() > 0

    def over(self) -> None:
        self._limit = None
        self._looked = False

    def reason(self, state: str, error: int) -> str:
        """Why there is no lock, in words, or "" if there is one. `state`, `error`: of the connection."""
        if state == HELD:
            return ""
        refused = self._refused()
        if refused:
            return refused
        if self._has_no_state():
            return (
                f"{self.state_file} is not there, which tells when a snapshot is over: share the folder, not the socket"
            )
        if state == FAILED and error == errno.ECONNREFUSED:
            state = ABSENT
        return {
            ABSENT: f"no manager at {self.path} ({os.strerror(error)})",
            UNTRUSTED: f"who listens at {self.path} is another user, who is not root",
            FAILED: f"{self.path} could not be connected to ({os.strerror(error)})",
            ENDED: f"the manager at {self.path} has ended the connection; it is asked again",
            ASKED: f"the manager at {self.path} has not answered yet",
        }.get(state, "it is being asked for")


def _address(path: str) -> str:
    """Root's programs, and those of the manager's own user, come by the socket that others cannot crowd."""
    there = look(path + settings.TRUSTED)
    return path + settings.TRUSTED if there is not None and there.st_uid == os.geteuid() else path


def who() -> str:
    """How a list of inhibitors names this program."""
    name = os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else ""
    return (name if name not in ("", "-c", "-m") else os.path.basename(sys.executable or "python"))[:64]


def look(path: str) -> "os.stat_result | None":
    try:
        return os.stat(path)
    except OSError:
        return None


def identity(path: str) -> "tuple[int, int]":
    found = look(path)
    return (found.st_dev, found.st_ino) if found else (0, 0)
