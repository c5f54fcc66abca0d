"""Who announces snapshots to this program: the manager, over Varlink. snapsafe_rt.snapshot.logind is another one.

The watcher holds the connection (cython/contact.h); here is what is said on it, and what the answers mean. All of it
runs in the watcher's runner or with the activation's lock held.
"""

import errno
import json
import os
import sys
import time

from snapsafe_rt import settings
from snapsafe_rt.core import native
from snapsafe_rt.restore.watcher import entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from snapsafe_rt.restore.watcher import Item

RUNNING, LATE, QUIESCED = "running", "late", "quiesced"  # what the program is at; see snapsafe_rt.snapshot.lifecycle

NONE, ABSENT, UNTRUSTED, FAILED, ENDED, ASKED, HELD, HEARD = range(8)  # enum ss_contact_state in cython/contact.h
LOOK_MS = 50  # how often a program that stands still looks whether the snapshot is over
GRACE_SECONDS = 5.0  # how long a manager may be late with what it says that it will do
QUIESCING_SECONDS = 60.0  # as long is believed that others are waited for; logind's limit is 5 by default
STATE_MOST = 4096  # bytes of the state file that are read
ERRORS_KEPT, ERROR_LENGTH = 7, 300  # the manager takes eight

_INTERFACE = "org.snapsafe.Manager."
_NOT_UNDERSTOOD = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


class Manager:
    """One of them: its socket, and the file beside it that tells the state while there is no connection."""

    kind = "snapsafe"
    lets_go = True
    """A program that was asked holds neither inotify nor connection until the snapshot is over."""

    look_ms = LOOK_MS

    def __init__(self, why: str) -> None:
        self._greeting = _call("Inhibit", what="snapshot", who=who(), why=why, mode="delay") + _call("Prepare")
        self._deaf: tuple[tuple[int, int], str] | None = None  # a socket that is of no use, and why
        self._limit: tuple[tuple[str, int], float] | None = None  # what was read of the state, and how long it holds
        self._looked = False
        self._state: os.stat_result | None = None  # how the state file was when it was read last
        self.snapshot = 0
        self.dump = False
        """Is it CRIU that takes it, who dumps no process that maps a device? In a snapshot of the machine the device is
        what tells a clone, before it runs."""

    @property
    def state_file(self) -> str:
        return settings.MANAGER + ".state"

    def contact(self, phase: str) -> "tuple[str, bytes, bool] | None":
        if phase != RUNNING or self._refused() or self._has_no_state():
            return None
        return settings.MANAGER, self._greeting, True

    def paths(self, phase: str) -> "list[Item]":
        """What has to change for there to be news."""
        if phase == RUNNING:
            items = [entry(settings.MANAGER, look(settings.MANAGER), announcer=True)]
            if self._has_no_state():  # which comes when there is room again
                items.append(entry(self.state_file, None, announcer=True))
        else:
            if not self._looked:  # else as of when it was read, whoever plans now: what came after that is news
                self._state = look(self.state_file)
                self._looked = True
            items = [entry(self.state_file, self._state, phase == QUIESCED, announcer=True)]
        return [item for item in items if item is not None]

    def _has_no_state(self) -> bool:
        """Then the program would go on as soon as it was asked, and be refused another lock again and again."""
        return look(self.state_file) is None and look(settings.MANAGER) is not None

    def _refused(self) -> str:
        return self._deaf[1] if self._deaf is not None and self._deaf[0] == identity(settings.MANAGER) else ""

    def hear(self) -> str:
        """What the manager answered: "announced", "late" (a snapshot is under way already), or "" for nothing."""
        answers = native.contact_take().split(b"\0")
        try:
            for number, answer in enumerate(answers[:-1]):
                found = json.loads(answer)
                parameters = found.get("parameters") or {}
                if "error" in found:
                    return self._judge(str(found["error"]), parameters)
                if number == 1:
                    self.snapshot = int(parameters["snapshot"])
                    self.dump = parameters.get("dump") is True
                    return "announced"
        except _NOT_UNDERSTOOD:
            self._refuse("what it says is not understood")
        return ""

    def _judge(self, error: str, parameters: "dict[str, Any]") -> str:
        if error == _INTERFACE + "OperationInProgress":
            return "late"
        said = error.removeprefix(_INTERFACE).removeprefix("org.varlink.service.")
        self._refuse(f"it gives no lock ({said[:60]})")
        return ""

    def _refuse(self, why: str) -> None:
        self._deaf = identity(settings.MANAGER), f"the manager at {settings.MANAGER}: {why}"

    def farewell(self, errors: "list[str]") -> bytes:
        """Ready, with what the callbacks raised; short enough for a message."""
        kept = [error.encode("ascii", "backslashreplace").decode()[:ERROR_LENGTH] for error in errors[:ERRORS_KEPT]]
        if len(errors) > ERRORS_KEPT:
            kept.append(f"{len(errors) - ERRORS_KEPT} more")
        return _call("Ready", errors=kept)

    def still_on(self) -> bool:
        """Is the snapshot not over? A file that is gone, or that nobody has kept to, means that it is."""
        self._looked, self._state = True, look(self.state_file)
        try:
            with open(self.state_file, "rb") as file:
                found = json.loads(file.read(STATE_MOST))
            state, number, until = str(found["state"]), int(found["snapshot"]), float(found["until"])
        except FileNotFoundError:
            return False
        except (OSError, *_NOT_UNDERSTOOD):
            state, number, until = "quiescing", -1, 0.0
        if state not in ("quiescing", "quiesced"):
            return False
        key, limit = (state, number), self._limit  # another runner may be at the end of it
        if limit is None or limit[0] != key:
            # By a clock that stands still while the machine does; a clone's time of day may be anything.
            left = until - time.time() if until else QUIESCING_SECONDS
            self._limit = limit = key, time.monotonic() + min(max(left, 0.0), 86400.0) + GRACE_SECONDS
        return time.monotonic() < limit[1]

    def over(self) -> None:
        self._limit = None
        self._looked = False

    def reason(self, state: int, error: int) -> str:
        """Why there is no lock, by the state of the connection; "" where there is one."""
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
            ABSENT: f"no manager at {settings.MANAGER} ({os.strerror(error)})",
            UNTRUSTED: f"who listens at {settings.MANAGER} is another user, who is not root",
            FAILED: f"{settings.MANAGER} could not be connected to ({os.strerror(error)})",
            ENDED: f"the manager at {settings.MANAGER} has ended the connection; it is asked again",
            ASKED: f"the manager at {settings.MANAGER} has not answered yet",
        }.get(state, "it is being asked for")


def who() -> str:
    """How a list of inhibitors names this program."""
    name = os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else ""
    return (name if name not in ("", "-c", "-m") else os.path.basename(sys.executable or "python"))[:64]


def _call(method: str, **parameters: "Any") -> bytes:
    return json.dumps({"method": _INTERFACE + method, "parameters": parameters}).encode() + b"\0"


def look(path: str) -> "os.stat_result | None":
    try:
        return os.stat(path)
    except OSError:
        return None


def identity(path: str) -> "tuple[int, int]":
    found = look(path)
    return (found.st_dev, found.st_ino) if found else (0, 0)
