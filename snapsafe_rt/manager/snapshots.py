"""Snapshots that are announced: the methods Inhibit, Quiesce, Unquiesce and what belongs to them; their timers; and the
state file. Quiesced programs have no connection, so they read in that file when they may go on."""

import contextlib
import json
import os
import time
from typing import Any, Protocol

from snapsafe_rt.manager import phases
from snapsafe_rt.manager.client import NAMED_MOST, listed
from snapsafe_rt.manager.interface import Call, Client, Error, Method, Reply, denied, invalid
from snapsafe_rt.manager.loop import Loop, Timer
from snapsafe_rt.manager.phases import Failed, Lock, Phases
from snapsafe_rt.report import procfs
from snapsafe_rt.varlink import MANAGER, trusted

WHAT = "snapshot"
TEXT_MOST = 256  # characters of who, why, and each error; more are cut off
ERRORS_MOST = 8  # of one holder, that are passed on
FAILED_MOST = 32  # holders whose errors are


class Restores(Protocol):
    """What snapshots need of the manager itself: it looks for restores, publishes them, and stops programs."""

    @property
    def published(self) -> int: ...
    @property
    def generation(self) -> "int | None": ...
    @property
    def frozen(self) -> bool: ...

    def announced(self) -> None:
        """A snapshot begins. What a detector reports from now on belongs to no restore that was told of before, so it
        is published. Without this a restore within the next seconds would be taken for a late echo of the last one."""

    def look(self) -> None:
        """Publish a restore if a detector has noticed one."""

    def told(self) -> None:
        """An agent says that the machine was restored: publish that, unless a detector has noticed it already."""

    def unknown(self) -> None:
        """Publish a restore if there may have been one that no detector would have noticed."""

    def freeze(self) -> str:
        """As Actions.freeze()."""

    def thaw(self) -> None: ...

    def say(self, text: str) -> None: ...


class Snapshots:
    """`delay_max`, `quiesced_max`: seconds that a delay lock is waited for, and that the machine stays quiesced.
    `path`: of the state's file."""

    def __init__(self, restores: Restores, loop: Loop, path: str, delay_max: float, quiesced_max: float) -> None:
        self.delay_max = delay_max
        self._quiesced_max = quiesced_max
        self._path = path
        self._restores = restores
        self._loop = loop
        self.publish, self.freeze, self.thaw = restores.look, restores.freeze, restores.thaw  # of phases.Actions
        self._phases = Phases(self)
        self._monitors: set[Client] = set()
        self._timer: Timer | None = None
        self._timeout = delay_max
        self._until = 0.0  # by the loop's clock: when the timer goes off
        self._since = 0.0  # by it, too: of the state
        self._published = 0  # when the machine was quiesced
        self._last: dict[str, Any] | None = None
        self._problem = ""  # why the state cannot be told
        self._tell_state(0)

    def problem(self) -> str:
        """Why no snapshot can be announced, or ""."""
        if self._problem and self.running:
            self._tell_state(0)
        return self._problem

    @property
    def state(self) -> str:
        return self._phases.state

    @property
    def running(self) -> bool:
        return self.state == phases.RUNNING

    def methods(self) -> "dict[str, Method]":
        return {
            f"{MANAGER}Inhibit": self._inhibit,
            f"{MANAGER}Prepare": self._prepare,
            f"{MANAGER}Ready": self._ready,
            f"{MANAGER}ListInhibitors": self._list,
            f"{MANAGER}Quiesce": self._call_quiesce,
            f"{MANAGER}Unquiesce": self._unquiesce,
            f"{MANAGER}Monitor": self._monitor,
        }

    def describe(self) -> "dict[str, Any]":
        return {
            "state": self._phases.state,
            "snapshot": self._phases.snapshot,
            "inhibitors": len(self._phases.locks),
            "inhibitDelayMax": self.delay_max,
            "lastSnapshot": self._last,
        }

    # ---- what happens to the manager ----

    def gone(self, client: Client) -> None:
        self._monitors.discard(client)
        self._phases.gone(client)

    def restored(self) -> None:
        """One was published. Where Unquiesce is still to come (hold), the time for that begins in the clone."""
        self._phases.restored()
        if self.state == phases.QUIESCED:
            with contextlib.suppress(OSError):  # then programs go by the limit that they know
                self._limit(self.state)
        self.tell()

    def tell(self) -> None:
        for client in self._monitors:
            client.tell()

    def close(self) -> None:
        if not self.running:
            self._restores.unknown()
            self._phases.end()
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    # ---- what the machine of states wants done ----

    def changed(self) -> None:
        now = self._loop.monotonic()
        state, took = self._phases.state, now - self._since
        self._limit(state)
        self._since = now
        if state == phases.QUIESCING:
            self._restores.announced()
        elif state == phases.QUIESCED:
            self._published = self._restores.published
        self._note(state, took)
        self.tell()

    def _limit(self, state: str) -> None:
        """How long the state may last, from now on. Raises OSError as _tell_state()."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        stays = {phases.QUIESCING: self._timeout, phases.QUIESCED: self._quiesced_max}.get(state, 0.0)
        self._until = self._loop.monotonic() + stays
        self._tell_state(stays)
        over = {phases.QUIESCING: self._phases.expire, phases.QUIESCED: self._overdue}.get(state)
        if over is not None:
            self._timer = self._loop.later(stays, over)

    def _note(self, state: str, took: float) -> None:
        if state == phases.QUIESCING:
            self._last = {
                "number": self._phases.snapshot,
                "at": time.time(),
                "quiesceSeconds": None,
                "quiescedSeconds": None,
                "unquiesceSeconds": None,
                "late": [],
                "restored": False,
                "ended": None,
            }
            return
        last = self._last
        assert last is not None
        if state == phases.RUNNING:
            last["unquiesceSeconds"] = took
            return
        if state == phases.UNQUIESCING:
            last["ended"] = self._phases.ended
            last["restored"] = self._was_restored()
        last["quiesceSeconds" if last["quiesceSeconds"] is None else "quiescedSeconds"] = took

    def _was_restored(self) -> bool:
        return self._restores.published != self._published

    def announce(self, client: Client) -> None:
        client.finish(self._announcement())

    def _announcement(self) -> Reply:
        left = max(0.0, self._until - self._loop.monotonic()) if self._phases.state == phases.QUIESCING else 0.0
        told = {"snapshot": self._phases.snapshot, "seconds": left, "state": self._phases.state}
        return Reply({**told, "dump": self._phases.dump})

    def settled(self, client: Client, late: "list[Lock]", failed: "list[Failed]", reason: str) -> None:
        assert self._last is not None
        self._last["late"] = [lock.who for lock in late[:NAMED_MOST]]
        if late:
            names = listed([f"{lock.who} (pid {lock.pid}: {lock.why})" for lock in late])
            self._restores.say(f"snapshot {self._phases.snapshot}: waited {self._timeout:g} s in vain for {names}")
        outcome: Reply | Error
        if failed:
            told = [{"who": one.lock.who, "pid": one.lock.pid, "errors": one.errors} for one in failed[:FAILED_MOST]]
            outcome = Error(f"{MANAGER}CallbackFailed", failed=told)
        elif reason:
            name = "NotPublished" if self._phases.ended == phases.NOT_TOLD else "NotFrozen"
            outcome = Error(f"{MANAGER}{name}", reason=reason)
        else:
            outcome = Reply(
                {
                    "snapshot": self._phases.snapshot,
                    "late": [lock._asdict() for lock in late],
                    "seconds": self._last["quiesceSeconds"],
                    "frozen": self._restores.frozen,
                }
            )
        client.finish(outcome)

    def _overdue(self) -> None:
        self._restores.say(f"nobody called Unquiesce within {self._quiesced_max:g} s: the programs go on")
        self._restores.unknown()
        self._phases.overdue()

    def _tell_state(self, seconds: float) -> None:
        """Write the state file, and how long that holds at the most. Raises OSError where a snapshot must not be taken
        then: programs would not see that it begins, or would go on before it is over. Where the machine runs, the file
        is removed instead."""
        self._problem = ""
        try:
            self._write_state(seconds)
        except OSError as error:
            self._problem = f"{self._path}: {error.strerror}"
            if self.state in (phases.QUIESCING, phases.QUIESCED):
                raise
            with contextlib.suppress(OSError):
                os.unlink(self._path)  # programs go on where there is none

    def _write_state(self, seconds: float) -> None:
        """By a rename, for programs read it at any moment. Raises OSError."""
        told: dict[str, Any] = {"state": self._phases.state, "snapshot": self._phases.snapshot, "until": 0}
        if seconds:
            told |= {"until": time.time() + seconds, "seconds": seconds}
        temporary = self._path + ".new"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            os.fchmod(fd, 0o644)  # whatever the umask
            os.write(fd, json.dumps(told, separators=(",", ":")).encode() + b"\n")
            os.rename(temporary, self._path)
        except OSError:
            os.unlink(temporary)
            raise
        finally:
            os.close(fd)

    # ---- what is answered ----

    def _inhibit(self, call: Call) -> Reply:
        what, who, why, mode, uid, pid = call.take(what=str, who=str, why=str, mode=str, uid=int, pid=int)
        if what not in (None, WHAT):
            raise invalid("what")
        if not who:
            raise invalid("who")
        if why is None:
            raise invalid("why")
        if mode not in (phases.DELAY, phases.BLOCK):
            raise invalid("mode")
        if (uid, pid) != (None, None):
            must_be_trusted(call)
        uid = call.client.uid if uid is None else uid
        if mode == phases.BLOCK and not trusted(uid):
            raise denied()
        lock = Lock(WHAT, _text(who), _text(why), mode, uid, call.client.pid if pid is None else pid)
        self._phases.inhibit(call.client, lock)
        return Reply({"state": self._phases.state})

    def _prepare(self, call: Call) -> "Reply | None":
        call.take()
        return self._announcement() if self._phases.prepare(call.client) else None

    def _ready(self, call: Call) -> Reply:
        [errors] = call.take(errors=list)
        told = [_text(error) for error in (errors or [])[:ERRORS_MOST]]
        self._phases.ready(call.client, told)
        return Reply({})

    def _list(self, call: Call) -> Reply:
        call.take()
        return Reply({"inhibitors": [lock._asdict() for lock in self._phases.locks.values()]})

    def _call_quiesce(self, call: Call) -> None:
        timeout, hold, dump = call.take(timeout=float, hold=bool, dump=bool)
        must_be_trusted(call)
        if timeout is not None and not timeout >= 0:
            raise invalid("timeout")
        if self.running:
            if self._restores.frozen:
                raise Error(f"{MANAGER}NotFrozen", reason="they were stopped by Freeze, and cannot be asked")
            self._timeout = self.delay_max if timeout is None else min(timeout, self.delay_max)
            self._published = self._restores.published
        try:
            self._phases.quiesce(call.client, hold=bool(hold), dump=bool(dump))
        except OSError as error:
            raise Error(f"{MANAGER}NotPublished", reason=f"{error.filename}: {error.strerror}") from None

    def _unquiesce(self, call: Call) -> Reply:
        [restored] = call.take(restored=bool)
        must_be_trusted(call)
        if self.running:
            raise Error(f"{MANAGER}NotQuiesced", snapshot=self._last)
        if self.state == phases.QUIESCED:
            self._restores.look()
            if restored and not self._was_restored():
                self._restores.told()
        self._phases.unquiesce()
        assert self._last is not None
        return Reply(
            {"restored": self._last["restored"], "generation": self._restores.generation, "snapshot": self._last}
        )

    def _monitor(self, call: Call) -> "Reply | None":
        call.take()
        if not call.more:
            return self._news()
        self._monitors.add(call.client)
        call.client.follow(self._news)
        return None

    def _news(self) -> Reply:
        told = {"state": self.state, "snapshot": self._phases.snapshot}
        return Reply({**told, "generation": self._restores.generation})


def must_be_trusted(call: Call) -> None:
    if not trusted(call.client.uid):
        raise denied()


def _text(text: str) -> str:
    """A client's words, safe for a terminal and of bounded length."""
    return procfs.printable(text[:TEXT_MOST])[:TEXT_MOST]
