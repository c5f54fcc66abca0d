"""What is true of this process, for people and for programs."""

import os
import sys

from snapsafe_rt import activation, patches, settings, sources
from snapsafe_rt.core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CAUSES = ("", "generation", "disruption", "notified", "source")  # enum ss_cause in cython/epoch.h
_FENCES = ("down", "cpu", "host", "degraded")  # enum ss_fence in cython/entropy.h

LIMITS = (
    "a value drawn before the snapshot and kept (a variable, a socket buffer) is in every clone",
    "an open TLS session is the same in every clone: close it before the snapshot",
    "the hash secret of str and bytes, and multiprocessing's authkey, stay as they were",
)


class Row:
    """One subsystem: `protection` is a level of patches.LEVELS, `note` a sentence."""

    __slots__ = ("covers", "name", "note", "protection")

    def __init__(self, name: str, covers: tuple[str, ...], protection: str, note: str) -> None:
        self.name = name
        self.covers = covers
        self.protection = protection
        self.note = note


class Status:
    """A picture of one moment. `protected` is True only if a source is watched and nothing loaded is unprotected."""

    def __init__(self) -> None:
        state = activation.state
        self.version = settings.VERSION
        self.python = f"{sys.implementation.name} {sys.version.split()[0]}"
        self.pid = os.getpid()
        self.active = state.active
        self.why_not = state.why_not
        self.problems = list(state.problems)
        self.candidates = [candidate.as_dict() for candidate in state.candidates]
        self.epoch = 0
        self.restores: dict[str, Any] = {"count": 0, "last_cause": None, "last_time": None}
        self.source: dict[str, Any] | None = None
        self.fence: dict[str, Any] = {"state": "down", "seconds_left": 0.0, "cpu": False, "kernel_reseeded": False}
        self.callbacks: dict[str, int] = {"after": 0, "before": 0, "after_in_original": 0}
        self.watching: dict[str, Any] = {"how": "off", "reason": "nothing is registered"}
        self.event: dict[str, Any] | None = None
        self.rows: list[Row] = []

    @classmethod
    def now(cls) -> "Status":
        activation.probe(now=True)
        status = cls()
        if native is None:
            return status
        status._read_epoch()
        status._read_fence()
        status._read_events()
        if status.active:
            status._read_source()
            status.rows = [status._row(*line) for line in patches.report()]
        return status

    def _read_epoch(self) -> None:
        self.epoch = native.epoch()
        info = native.inspect_epoch()
        self.restores["count"] = info.restores
        if info.restores:
            self.restores["last_cause"] = _CAUSES[info.cause]
            self.restores["last_time"] = info.last_ns / 1e9

    def _read_fence(self) -> None:
        info = native.inspect_entropy()
        self.fence = {
            "state": _FENCES[info.fence],
            "seconds_left": round(info.seconds_left, 1),
            "cpu": info.cpu,
            "kernel_reseeded": info.kernel_reseeded,
        }
        if info.failures:
            self.problems.append(f"{info.failures} times neither the kernel nor the CPU gave entropy")
        if info.fence == 3 and not info.hash:
            self.problems.append("no libcrypto to condition degraded entropy with: kernel bytes are used as they are")

    def _read_events(self) -> None:
        callbacks, events = (sys.modules.get(f"snapsafe_rt.{name}") for name in ("callbacks", "events"))
        if callbacks is not None:
            self.callbacks = {name: len(getattr(callbacks, name)) for name in self.callbacks}
        if "snapsafe_rt.watching" in sys.modules:
            self.watching = sys.modules["snapsafe_rt.watching"].describe()
        if events is not None and events.last is not None:
            self.event = events.last.as_dict()
            self.event["pending"] = events.pending()

    def _read_source(self) -> None:
        watched = activation.state.watched
        if watched is None or watched.rank is None:
            return
        info = native.describe_source(watched.slot)
        if info.lost:
            return
        self.source = {
            "source": watched.name,
            "what": sources.RANKS[watched.rank],
            "synchronous": info.synchronous,
            "value": info.value,
            "stuck": info.stuck,
            "check_ns": round(native.read_cost(), 1),
        }
        if info.stuck:
            self.problems.append(f"{watched.name}: its writer died half-way, the sequence count is odd")
        if native.sigbus_state() == -1:
            self.problems.append(
                "the program replaced our SIGBUS handler: if the source's file is truncated the process is killed"
            )

    def _row(self, name: str, level: str, note: str) -> Row:
        covers = patches.covers(name)
        if level in ("guarded", "refreshed"):
            if self.source is None:
                level, note = "unprotected", "no source: a restore is seen only if notify_restored() is called"
            elif self.fence["state"] == "degraded":
                note += "; entropy is degraded: likely, not surely, unique until the fence falls"
        return Row(name, covers, level, note)

    @property
    def unprotected(self) -> list[str]:
        """Names of the loaded subsystems that a restore would leave as they are."""
        return [row.name for row in self.rows if row.protection == "unprotected"]

    @property
    def degraded(self) -> bool:
        return bool(self.fence["state"] == "degraded")

    @property
    def protected(self) -> bool:
        return self.active and self.source is not None and not self.unprotected and not self.degraded

    def as_dict(self) -> "dict[str, Any]":
        """The keys are stable; `snapsafe status --json` prints them."""
        return {
            "version": self.version,
            "python": self.python,
            "pid": self.pid,
            "active": self.active,
            "why_not": self.why_not,
            "protected": self.protected,
            "epoch": self.epoch,
            "restores": self.restores,
            "source": self.source,
            "candidates": self.candidates,
            "fence": self.fence,
            "callbacks": self.callbacks,
            "watching": self.watching,
            "event": self.event,
            "subsystems": [
                {"name": row.name, "covers": list(row.covers), "protection": row.protection, "note": row.note}
                for row in self.rows
            ],
            "problems": self.problems,
            "limits": list(LIMITS),
        }

    def __repr__(self) -> str:
        return f"<Status protected={self.protected} epoch={self.epoch} unprotected={self.unprotected}>"
