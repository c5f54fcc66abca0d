"""What is true of this process, for people and for programs."""

import os

from snapsafe_rt import settings
from snapsafe_rt.core import native
from snapsafe_rt.guards import table, unexamined
from snapsafe_rt.restore import callbacks, watcher
from snapsafe_rt.restore.watcher import NOTHING_REGISTERED
from snapsafe_rt.source import probe, selection
from snapsafe_rt.state import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

LIMITS = (
    "a value drawn before the snapshot and kept (a variable, a socket buffer) is in every clone",
    "an open TLS session is the same in every clone: close it before the snapshot",
    "the hash secret of str and bytes, and multiprocessing's authkey, stay as they were",
)


NO_SOURCE = "no source: a restore is seen only if notify_restored() is called"
DEGRADED = "; entropy is degraded: likely, not surely, unique until the fence falls"
SETTLE_LOOKS = 20  # a millisecond apart

DETACHED = (
    "the device is let go of for a snapshot, and there is no file to watch instead: a restore is noticed when that is "
    "over"
)


def event_as_dict(fields: "Sequence[str]") -> "dict[str, Any]":
    """A restore event, from the fields that the status page has of it. Raises IndexError, ValueError."""
    epoch, cause, began, ended, callbacks, *errors = fields
    return {
        "epoch": int(epoch),
        "cause": cause,
        "began": float(began),
        "ended": float(ended),
        "callbacks": int(callbacks),
        "errors": errors,
    }


def snapshot_as_dict(fields: "Sequence[str]") -> "dict[str, Any]":
    """The last snapshot that was announced, from snapsafe_rt.snapshot.lifecycle's fields.

    Raises IndexError, ValueError.
    """
    number, began, ended, came_of, kept, *errors = fields
    return {
        "number": int(number),
        "began": float(began),
        "ended": float(ended) or None,
        "came_of": came_of,
        "kept": kept,
        "errors": errors,
    }


def _fact(kind: str, read: "Callable[[Sequence[str]], dict[str, Any]]") -> "dict[str, Any] | None":
    lines = native.page_lines(kind) if native is not None else []
    return read(lines[0]) if lines else None


def _settled(slot: int) -> "Any":
    """What a source shows. While its sequence count is odd somebody writes it, or has died at that: a moment tells."""
    word = native.FutexWord()
    for _ in range(SETTLE_LOOKS):
        info = native.describe_source(slot)
        if not info.stuck:
            break
        word.wait(0, 0.001)
    return info


class Row:
    """One subsystem: `protection` is a level of table.LEVELS, `note` a sentence."""

    __slots__ = ("covers", "name", "note", "protection")

    def __init__(self, name: str, covers: tuple[str, ...], protection: str, note: str) -> None:
        self.name = name
        self.covers = covers
        self.protection = protection
        self.note = note


class Status:
    """A picture of one moment. `protected` is True only if a source is watched, whose writer is not known to be gone,
    and nothing loaded is unprotected or unexamined. `reasons` says why it is not."""

    def __init__(self) -> None:
        self.version = settings.VERSION
        self.python = settings.PYTHON
        self.pid = os.getpid()
        self.active = state.active
        self.why_not = state.why_not
        self.problems = list(state.problems)
        with state.lock:
            self.candidates = [candidate.as_dict() for candidate in state.candidates]
        self.epoch = 0
        self.restores: dict[str, Any] = {"count": 0, "last_cause": None, "last_time": None}
        self.source: dict[str, Any] | None = None
        self.fence: dict[str, Any] = {"state": "down", "seconds_left": 0.0, "cpu": False, "kernel_reseeded": False}
        self.callbacks = 0
        self.watching: dict[str, Any] = {"how": "off", "reason": "nothing is registered"}
        self.rows: list[Row] = []
        self.last_event = _fact("event", event_as_dict)
        self.lifecycle: dict[str, Any] = {
            "kind": state.settings.lifecycle,
            "lock": False,
            "phase": "running",
            "reason": NOTHING_REGISTERED,
            "last_snapshot": None,
        }

    @classmethod
    def now(cls) -> "Status":
        probe.probe(now=True)
        status = cls()
        if native is None:
            return status
        status._read_epoch()
        status._read_fence()
        status._read_events()
        if status.active:
            with state.lock:  # with which another thread examines the candidates anew
                status._read_source()
            lines = table.report() + table.named_report()
            status._take_rows(lines, unexamined.report())
            if state.settings.watch and native.in_main_interpreter():
                status._report_lost(status.watching["reason"])
            table.publish()
            if native.page_problem():
                status.problems.append(native.page_problem())
        return status

    def _read_epoch(self) -> None:
        self.epoch = native.epoch()
        info = native.inspect_epoch()
        self.restores["count"] = info.restores
        if info.restores:
            self.restores["last_cause"] = info.cause
            self.restores["last_time"] = info.last_ns / 1e9

    def _read_fence(self) -> None:
        info = native.inspect_entropy()
        self.fence = {
            "state": info.fence,
            "seconds_left": round(info.seconds_left, 1),
            "cpu": info.cpu,
            "kernel_reseeded": info.kernel_reseeded,
        }
        self._report_entropy(info.failures, info.hash)

    def _report_entropy(self, failures: int, has_hash: bool) -> None:
        if failures:
            self.problems.append(f"{failures} times neither the kernel nor the CPU gave entropy")
        if self.degraded and not has_hash:
            self.problems.append("no libcrypto to condition degraded entropy with: kernel bytes are used as they are")

    def _read_events(self) -> None:
        self.callbacks = len(callbacks.after)
        self.watching = watcher.describe()
        if watcher.lifecycle is not None:
            self.lifecycle |= watcher.lifecycle.describe()
            watcher.lifecycle.publish()
        self._take_snapshot(next(iter(native.page_lines("snapshot")), None))

    def _take_snapshot(self, fields: "Sequence[str] | None") -> None:
        if fields is not None:
            self.lifecycle["last_snapshot"] = snapshot_as_dict(fields)
            if fields[4] and not float(fields[2]):
                self.problems.append(f"CRIU cannot dump it: {fields[4]}")

    def _read_source(self) -> None:
        watched = state.watched
        if watched is None or watched.rank is None:
            if state.detached is not None:
                self.problems.append(DETACHED)
            return
        info = _settled(watched.slot)
        if info.lost:
            return
        if watched.gone:
            self.problems.append(f"{watched.name} {watched.doubt}")
            return
        deserted = watched.deserted
        self.source = {
            "source": watched.name,
            "what": selection.RANKS[watched.rank],
            "synchronous": info.synchronous,
            "value": info.value,
            "stuck": info.stuck,
            "via": watched.via,
            "deserted": deserted is True,
            "distrust": watched.distrust(deserted),
            "check_ns": round(native.read_cost(), 1),
        }
        self._report_desertion()
        if info.stuck:
            self.problems.append(f"{watched.name}: its writer died half-way, the sequence count is odd")
        if native.sigbus_state() == -1:
            self.problems.append(
                "the program put a SIGBUS handler above ours: if the source's file is truncated the process is killed, "
                "unless that one passes the signal on, as faulthandler's does"
            )

    def _report_desertion(self) -> None:
        if self.source is not None and self.source["distrust"]:
            self.problems.append(f"{self.source['source']} {self.source['distrust']}")
        if self.source is not None and self.source["deserted"]:
            self.problems.append(
                f"{self.source['source']} is kept by a manager that does not run, or that nothing tells of a restore: "
                "see `systemctl status snapsafe-manager`, or start `snapsafe manager`"
            )

    def _report_lost(self, reason: str) -> None:
        """Callbacks that nothing will call though the program did not ask for that."""
        if self.callbacks and self.watching["how"] == "off":
            note = f"no watcher runs ({reason}): they are called by check() alone"
            self.rows.append(Row("callbacks", (), "unprotected", note))

    def _take_rows(self, lines: "list[tuple[str, str, str]]", of_files: "list[tuple[str, str, str]]") -> None:
        """`of_files`: what the mapped files show, which a row that does not know of it is not believed against."""
        known = {name: (level, note) for name, level, note in lines}
        known.update((name, (level, note)) for name, level, note in of_files)
        self.rows = [self._row(name, *verdict) for name, verdict in known.items()]

    def _row(self, name: str, level: str, note: str) -> Row:
        guard = table.find(name)
        if level in ("guarded", "refreshed", "kept") and not (guard and guard.notifies):
            if self.source is None:
                level, note = "unprotected", NO_SOURCE
            elif self.fence["state"] == "degraded":
                note += DEGRADED
        return Row(name, guard.covers if guard else (), level, note)

    @property
    def unprotected(self) -> list[str]:
        """Names of the loaded subsystems that a restore would leave as they are."""
        return [row.name for row in self.rows if row.protection == "unprotected"]

    @property
    def unexamined(self) -> list[str]:
        """Names of the loaded libraries that bear signs of a generator, and that nobody has measured."""
        return [row.name for row in self.rows if row.protection == "unexamined"]

    @property
    def degraded(self) -> bool:
        return bool(self.fence["state"] == "degraded")

    @property
    def reasons(self) -> list[str]:
        """Every reason why this is not protected, as a sentence; none where it is."""
        if not self.active:
            return [f"it is not active: {self.why_not}"]
        found = []
        if self.source is None:
            found.append(NO_SOURCE)
        elif self.source["deserted"]:
            found.append("the manager that writes the source does not run")
        elif self.source["distrust"]:
            found.append(f"the source {self.source['distrust']}")
        found += [
            f"{row.name} is {row.protection}: {row.note}"
            for row in self.rows
            if row.protection in ("unprotected", "unexamined") and row.note != NO_SOURCE
        ]
        if self.degraded:
            found.append("entropy is degraded: values are likely, not surely, unique")
        return found

    @property
    def protected(self) -> bool:
        """The one place that decides it, for every view."""
        return not self.reasons

    def as_dict(self) -> "dict[str, Any]":
        """The keys are stable; `snapsafe status --json` prints them."""
        return {
            "version": self.version,
            "python": self.python,
            "pid": self.pid,
            "active": self.active,
            "why_not": self.why_not,
            "protected": self.protected,
            "reasons": self.reasons,
            "epoch": self.epoch,
            "restores": self.restores,
            "source": self.source,
            "candidates": self.candidates,
            "fence": self.fence,
            "callbacks": self.callbacks,
            "watching": self.watching,
            "subsystems": [
                {"name": row.name, "covers": list(row.covers), "protection": row.protection, "note": row.note}
                for row in self.rows
            ],
            "unexamined": self.unexamined,
            "last_event": self.last_event,
            "lifecycle": self.lifecycle,
            "problems": self.problems,
            "limits": list(LIMITS),
        }

    def __repr__(self) -> str:
        missing = f"unprotected={self.unprotected} unexamined={self.unexamined}"
        return f"<Status protected={self.protected} epoch={self.epoch} {missing}>"
