"""Runs the program's side of a snapshot that is announced: performs what snapsafe_rt.snapshot.machine decides.

Imported by the first registration for the time before a snapshot.
"""

import time

from snapsafe_rt import hooks, log
from snapsafe_rt.core import native
from snapsafe_rt.guards import table
from snapsafe_rt.restore import affinity, callbacks, dispatch, events, watcher
from snapsafe_rt.restore.watcher import NOTHING_REGISTERED
from snapsafe_rt.snapshot import announcers, machine
from snapsafe_rt.snapshot.machine import AFTER, BEFORE, IDLE, LATE, QUIESCED, REFUSE, RUN, RUNNING, STAND
from snapsafe_rt.source import probe
from snapsafe_rt.state import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from snapsafe_rt.restore.callbacks import Registration
    from snapsafe_rt.restore.watcher import Item

    Failures = list[tuple[object, BaseException]]  # who raised, and what

LOCK_SECONDS = 0.5  # how often it is looked whether who has the delivery lock still lives


class Snapshot:
    """One that was announced: `outcome` is "", while it is not over, then "original", "clone" or "failed"."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.began = time.time()
        self.ended = 0.0
        self.outcome = ""
        self.errors: list[str] = []  # of callbacks, cut as for the manager
        self.kept = ""  # the device that could not be detached, and why

    def fields(self) -> "tuple[str, ...]":
        """For the status page; report.status.snapshot_as_dict() reads them."""
        errors = [error[: announcers.ERROR_LENGTH] for error in self.errors[: announcers.ERRORS_KEPT]]
        return str(self.number), repr(self.began), repr(self.ended), self.outcome, self.kept, *errors


class Calls:
    """Callbacks that run while this thread has the delivery lock: what an events.Event is to who waits for it, or
    calls check() in one of them."""

    def __init__(self, phase: str, entries: "tuple[Registration, ...]") -> None:
        self.phase = phase
        self.entries = entries
        for entry in entries:
            entry.look_for_home()
        self.epoch = -2 - native.epoch()  # no event's, and not -1: see dispatch.event_around()
        self.now = ""
        events.delivery.event = self
        events.delivery.advance()  # who waits has to see whether its thread is wanted


class Lifecycle:
    """This process. `now` is assigned with the activation's lock held, and read by everybody."""

    def __init__(self) -> None:
        self.now = machine.State()
        self.last: Snapshot | None = None
        self.announcer: Any = None
        self._why_none = ""
        self._callback = ""  # that runs
        self._renewed = 0  # the epoch of the last restore that was seen while quiesced
        self._orphaned = False  # a child whose parent has the thread that worked

    def _change(self, function: "Callable[..., machine.State]", *arguments: object) -> machine.State:
        with state.lock:
            self.now = now = function(self.now, *arguments)
            return now

    def _tell(self, farewell: "bytes | None" = None, again: bool = False) -> None:
        """The watcher has something else to do now, and the status page to say."""
        watcher.update(again=again, farewell=farewell)
        self.publish()

    # ---- what the watcher is to do: watcher.Phases ----

    def wanted(self) -> bool:
        return bool(callbacks.before or callbacks.after_in_original or self.now.phase != RUNNING)

    def plan(self) -> "tuple[tuple[str, bytes, bool] | None, list[Item], int]":
        """With the activation's lock held."""
        announcer, phase = self._choose(), self.now.phase
        if announcer is None:
            return None, [], 0
        at = RUNNING if phase == BEFORE else phase
        connection = None if phase == AFTER else announcer.connection(at)
        looks = phase == QUIESCED and announcer.detaches
        return connection, announcer.paths(at), announcers.LOOK_MS if looks else 0

    def _choose(self) -> "Any":
        chosen = state.settings.lifecycle
        if self.announcer is None and not self._why_none:
            why = "register_before_snapshot()"
            if chosen == "snapsafe":
                self.announcer = announcers.Manager(why)
            elif chosen == "logind":
                from snapsafe_rt.snapshot import logind

                self.announcer = logind.make(why)
                self._why_none = "" if self.announcer is not None else logind.MISSING
            else:
                self._why_none = "SNAPSAFE_LIFECYCLE=off"
        return self.announcer

    def woken(self, heard: bool) -> None:
        """Called by the watcher's runner, whatever woke it. `heard`: it was the announcer."""
        now = self.now
        if now.step != IDLE:
            self._adopt()
        elif now.phase != RUNNING:
            self.look()
        elif self.announcer is not None:
            self._listen(now, heard)

    def _listen(self, now: machine.State, heard: bool) -> None:
        said = self.announcer.hear()
        if said == "announced" or (said == "late" and now.halfway):
            self._announced(now.number)
        elif said == "late":
            self._change(machine.late, now.number)
            self._tell()
            self.look()
        elif now.halfway and native.connection_state()[0] == announcers.HELD and not self.announcer.still_on():
            if self._acquire(lambda: self._runs(now.number)):
                self._change(machine.missed, now.number, state.active)
                self._work()
        elif heard:  # it has come, or gone, or given the lock, or refused it
            self._tell()

    def _announced(self, number: int) -> None:
        if not self._acquire(lambda: self._runs(number)):
            return
        try:
            if events.pending():
                events.report(events.deliver())
            if events.delivery.mine:  # else a callback forked, and this is the child
                now = self._change(machine.begin, number, tuple(callbacks.before), state.active)
                if now.step != IDLE:
                    self.last = Snapshot(self.announcer.snapshot)
                    self._tell()
                self._work()
        finally:
            events.delivery.release()
        while self.now.phase == QUIESCED and not native.inspect_watcher().running:
            time.sleep(announcers.LOOK_MS / 1000)  # no thread is to be had that would look instead
            self.look()

    def _adopt(self) -> None:
        """A fork has left the thread that worked in the parent: go on with what it was at, if we are such a child. An
        event that somebody runs in check() goes first. Else the thread that works is in this process."""
        if not self._orphaned and events.delivery.taken:
            return
        if self._acquire(lambda: self.now.step != IDLE):
            self._orphaned = False
            self._change(machine.forked)
            self._work()
            self._tell()

    def _runs(self, number: int) -> bool:
        """Has no other thread begun with the snapshot that was announced after that one? If it has, it may be the only
        one left to see the end, and must not be waited for."""
        return self.now.phase == RUNNING and self.now.number == number

    def _acquire(self, wanted: "Callable[[], bool]") -> bool:
        """Wait for the delivery lock: an event that runs elsewhere goes first. False if it is not `wanted` any more."""
        while wanted():
            word = events.delivery.value
            if events.delivery.acquire():
                events.delivery.greenlet = affinity.greenlet()
                return True
            events.delivery.wait(word, LOCK_SECONDS)
        return False

    def look(self) -> None:
        """Is the snapshot over that we were asked about, or came too late for?"""
        seen = self.now
        if seen.phase == QUIESCED:
            self._renew()
        if seen.step != IDLE or seen.phase not in (QUIESCED, LATE):
            return
        if self.announcer.still_on():
            watcher.update()  # a child's plan may still be its parent's, of a moment before
            return
        with state.lock:
            then = machine.over(self.now, seen.number)
            if then is self.now or (
                then.phase == AFTER and not (events.delivery.unpark() or events.delivery.acquire())
            ):
                return
            self.now = then
        if then.phase == AFTER:
            self._work()
        else:
            self.announcer.over()
            self._tell(again=True)

    def _renew(self) -> None:
        epoch = native.epoch()
        if epoch not in (self._renewed, events.delivery.delivered):
            self._renewed = epoch
            events.report([(table.refresh, error) for error in table.refresh()])

    # ---- the thread that has the delivery lock ----

    def _work(self) -> None:
        """Do what the machine asks for, and give the lock back or park it. In a child that a callback forked nothing is
        this thread's any more."""
        failed: Failures = []
        try:
            if self.now.step != IDLE:
                self._steps(self.last or Snapshot(0), failed)
        except BaseException:
            if events.delivery.mine:
                self._change(machine.broken)
                self._tell()
            raise
        finally:
            events.delivery.release()
        events.report(failed)
        log.flush()
        if self.now.phase in (QUIESCED, LATE):
            self.look()

    def _steps(self, snapshot: Snapshot, failed: "Failures") -> None:
        self.last = snapshot
        calls: Calls | None = None
        while events.delivery.mine and self.now.step != IDLE:
            now = self.now
            if now.step == RUN:
                calls = calls if calls is not None and calls.phase == now.phase else Calls(now.phase, now.todo)
                failed += self._run(now.todo[0], calls)
            elif now.step == REFUSE:
                self._refuse(snapshot, failed)
            elif now.step == STAND:
                self._stand(snapshot)
            else:
                failed += self._return()
        if events.delivery.mine:
            snapshot.errors += callbacks.lines(failed)
            if self.now.outcome:
                snapshot.ended, snapshot.outcome = time.time(), self.now.outcome
            self._tell()

    def _run(self, entry: "Registration", calls: Calls) -> "Failures":
        error = None
        if entry.live:
            self._callback = calls.now = callbacks.name(entry.func)
            try:
                error = dispatch.run(entry, calls.epoch)
            finally:
                self._callback = ""
        if not events.delivery.mine:
            return []
        if self._change(machine.ran, error is not None, state.active).step != RUN:
            calls.entries = ()
        if error is None:
            return []
        log.failed(calls.phase if calls.phase == BEFORE else AFTER, callbacks.name(entry.func), error)
        return [(entry.func, error)]

    def _refuse(self, snapshot: Snapshot, failed: "Failures") -> None:
        snapshot.errors = callbacks.lines(failed)
        self._change(machine.refuse, tuple(callbacks.after_in_original))
        self._tell(farewell=self.announcer.farewell(snapshot.errors))
        events.report(failed)
        failed.clear()

    def _stand(self, snapshot: Snapshot) -> None:
        """In one step for all threads: one that deactivates finds the lock ours and the source attached, or neither."""
        with state.lock:
            if state.active and self.announcer.detaches:
                snapshot.kept = probe.detach(devices=self.announcer.dump)
            if self._change(machine.stand, state.active).phase != QUIESCED:
                return
            events.delivery.event = None
            events.delivery.park()
        self._tell(farewell=self.announcer.farewell([]))

    def _return(self) -> "Failures":
        """Whether this is a clone, the source decides, whatever was announced."""
        failed: Failures = []
        probe.reattach()
        self.announcer.over()
        self._tell()
        events.delivery.greenlet = affinity.greenlet()
        restored = events.pending()
        if restored:
            failed = events.deliver()
        if events.delivery.mine:
            told = restored and events.last is not None and events.last.told
            self._change(machine.returned, restored, told, tuple(callbacks.after_in_original))
        return failed

    # ---- fork, deactivation ----

    def after_fork_in_child(self) -> None:
        """A child takes a lock of its own, and is told of the end as its parent is."""
        now = self._change(machine.forked)
        self._orphaned = now.step != IDLE
        if now.phase == QUIESCED:
            events.delivery.park()

    def forget(self) -> None:
        """With the activation's lock held: the process is not active any more, or nothing is registered."""
        self._change(machine.deactivated)
        if events.delivery.unpark():
            events.delivery.release()
        self.publish()

    # ---- status ----

    def describe(self) -> "dict[str, Any]":
        """Keys as in docs/command.md, but for the last snapshot."""
        reason = ""
        phase = self.now.phase
        connection, error = native.connection_state()
        if not native.in_main_interpreter():
            reason = "only the main interpreter takes a lock"
        elif not state.active:
            reason = "not active"
        elif not state.settings.watch:
            reason = "SNAPSAFE_WATCH=0: there is no thread to hold it"
        elif self._why_none:
            reason = self._why_none
        elif not self.wanted():
            reason = NOTHING_REGISTERED
        elif phase != QUIESCED and not native.inspect_watcher().running:
            reason = f"no thread to hold it ({watcher.describe()['reason']})"
        elif phase == LATE:
            reason = "a snapshot is under way: it is asked for when that is over"
        elif phase == RUNNING and self.announcer is not None:
            reason = self.announcer.reason(connection, error)
        elif phase in (BEFORE, AFTER):
            reason = "a snapshot was announced" if phase == BEFORE else "a snapshot is over"
            reason += f"; now runs {self._callback}" if self._callback else ""
        elif phase == QUIESCED:
            reason = "stands still for a snapshot"
        lock = (phase == BEFORE and state.active) or not reason
        return {"kind": state.settings.lifecycle, "lock": lock, "phase": phase, "reason": reason}

    def publish(self) -> None:
        """Have the status page say it."""
        told = self.describe()
        last = [self.last.fields()] if self.last is not None else []
        native.page_put({"lifecycle": [(told["kind"], told["phase"], told["reason"])], "snapshot": last})


program = Lifecycle()


def attach() -> None:
    """From here on the watcher and the status page ask this room, if somebody may announce snapshots. Idempotent."""
    if watcher.lifecycle is None and native is not None and state.settings.lifecycle != "off":
        watcher.lifecycle = program
        hooks.forked.add(program.after_fork_in_child)
        program.publish()
