"""Before and after a snapshot that somebody announces. Imported by the first registration for the time before one.

    running ──announced──> before ──ready──> quiesced ──over──> after ──> running
                              └──a callback failed──> late ──over──> running

running   a delay lock is held, or asked for; the watcher has the connection (cython/contact.h)
before    the callbacks run, last-in first-out, on the watcher's runner and on their loops and hubs
quiesced  inotify and connection are let go of, and for CRIU the device; the event's turn is held by nobody, so that no
          callback of a restore runs before the snapshot is over; what only the event renews is renewed at once, for the
          program's threads go on
after     the source is looked at again: if it has moved the restore event runs, else after_in_original
late      no lock is to be had before the present snapshot is over
"""

import time

from snapsafe_rt import hooks
from snapsafe_rt.core import native
from snapsafe_rt.guards import table
from snapsafe_rt.restore import affinity, callbacks, dispatch, events, watcher
from snapsafe_rt.restore.watcher import NOTHING_REGISTERED
from snapsafe_rt.snapshot import announcers
from snapsafe_rt.snapshot.announcers import ERROR_LENGTH, ERRORS_KEPT, LATE, QUIESCED, RUNNING
from snapsafe_rt.source import probe
from snapsafe_rt.state import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from snapsafe_rt.restore.callbacks import Registration
    from snapsafe_rt.restore.watcher import Item

BEFORE, AFTER = "before", "after"
TURN_SECONDS = 0.5  # how often it is looked whether who has the event's turn gives it back

phase = RUNNING
now = ""
"""The callback that runs."""

_announcer: "Any" = None
_why_none = ""
_done: "list[Registration]" = []  # whose callback before the snapshot was run, and not undone
_failed: "list[Registration]" = []
_halfway = False  # a child that was forked while its parent's callbacks ran: it goes on, whoever is asked
_last: "Snapshot | None" = None
_renewed = 0  # the epoch of the last restore that was seen while the program stood still


class Snapshot:
    """One that was announced: `came_of` is "", while it is not over, then "original", "clone" or "failed"."""

    __slots__ = ("began", "came_of", "ended", "errors", "kept", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.began = time.time()
        self.ended = 0.0
        self.came_of = ""
        self.errors: list[str] = []  # of callbacks, cut as for the manager
        self.kept = ""  # the device that could not be let go of, and why

    def fields(self) -> "tuple[str, ...]":
        """For the record; report.snapshot_as_dict() reads them."""
        errors = [error[:ERROR_LENGTH] for error in self.errors[:ERRORS_KEPT]]
        return str(self.number), repr(self.began), repr(self.ended), self.came_of, self.kept, *errors


class Calls:
    """Callbacks that run in the event's turn: what an events.Event is to who waits for it, or checks in one of them."""

    __slots__ = ("entries", "epoch", "now")

    def __init__(self, entries: "list[Registration]") -> None:
        self.entries = tuple(entries)
        self.epoch = -2 - native.epoch()  # no event's, and not -1: see dispatch.inside()
        self.now = ""
        events.barrier.event = self
        events.barrier.advance()  # who waits has to see whether its thread is wanted


# ---- what the watcher is to do ----


def wanted() -> bool:
    """Is somebody to be asked before a snapshot, or to be told that it is over?"""
    return bool(callbacks.before or callbacks.after_in_original or phase != RUNNING)


def plan() -> "tuple[tuple[str, bytes, bool] | None, list[Item], int]":
    """The connection, what to watch besides, and how often to look instead of sleeping (ms; 0: not). With the
    activation's lock."""
    announcer = _choose()
    if announcer is None:
        return None, [], 0
    at = RUNNING if phase in (BEFORE, RUNNING) else phase
    contact = None if phase == AFTER else announcer.contact(at)
    return contact, announcer.paths(at), announcer.look_ms if phase == QUIESCED else 0


def _choose() -> "Any":
    global _announcer, _why_none
    chosen = state.settings.lifecycle
    if _announcer is None and not _why_none:
        why = "register_before_snapshot()"
        if chosen == "snapsafe":
            _announcer = announcers.Manager(why)
        elif chosen == "logind":
            from snapsafe_rt.snapshot import logind

            _announcer = logind.make(why)
            _why_none = "" if _announcer is not None else logind.MISSING
        else:
            _why_none = "SNAPSAFE_LIFECYCLE=off"
    return _announcer


# ---- the runner ----


def woken(heard: bool) -> None:
    """Called by the watcher's runner, whatever woke it. `heard`: it was the announcer."""
    if phase == RUNNING and _announcer is not None:
        told = _announcer.hear()
        if told == "announced" or (told == "late" and _halfway):
            _announced()
        elif told == "late":
            _move(LATE)
            _look()
        elif _halfway and native.contact_state()[0] == announcers.HELD and not _announcer.still_on():
            _ended_for_parent()
        elif heard:  # it has come, or gone, or given the lock, or refused it
            watcher.update()
            hooks.facts_changed()
    elif phase in (QUIESCED, LATE):
        _look()
    elif not events.barrier.taken:  # a child that was forked in the middle
        if phase == AFTER:
            events.barrier.claim()
            _over()
        else:
            _move(RUNNING)


def _move(to: str, farewell: "bytes | None" = None, again: bool = False) -> None:
    global phase
    phase = to
    watcher.update(again=again, farewell=farewell)
    hooks.facts_changed()


def _announced() -> None:
    """Run what is to be run before it, and say so."""
    global _last, _halfway
    _claim()
    _halfway = False
    _last = Snapshot(_announcer.snapshot)
    went_on = False
    try:
        if events.pending():
            _tell(events.deliver())
        went_on = events.barrier.mine and _before(_last)
    finally:
        if not went_on:
            events.barrier.end()
    if went_on:
        _look()
        while (
            phase == QUIESCED and not native.inspect_watcher().running
        ):  # no more threads to be had: nobody else looks
            time.sleep(announcers.LOOK_MS / 1000)
            _look()


def _ended_for_parent() -> None:
    """A child that was forked while its parent's callbacks ran, and was asked for nothing before all was over."""
    global _halfway
    _claim()
    _halfway = False
    _over()


def _claim() -> None:
    """An event that runs elsewhere goes first."""
    while True:
        turn = events.barrier.value
        if events.barrier.claim():
            events.barrier.greenlet = affinity.greenlet()
            return
        events.barrier.wait(turn, TURN_SECONDS)


def _before(snapshot: Snapshot) -> bool:
    """Returns whether the program is quiesced now; if not, the turn is to be given back."""
    _move(BEFORE)
    failed: list[tuple[object, BaseException]] = []
    calls = Calls(callbacks.before)
    for entry in reversed(calls.entries):
        if entry in _done or not entry.live:
            continue
        error = _run(entry, calls)
        if not events.barrier.mine:
            return False  # a callback forked, and this is the child: it is asked by itself
        if error is None:
            _done.append(entry)
        else:
            _failed.append(entry)
            failed.append((entry.func, error))
    if not state.active:  # meanwhile
        forget()
        return False
    if failed:
        snapshot.errors = callbacks.lines(failed)
        _tell(failed)
        _move(LATE, farewell=_announcer.farewell(snapshot.errors))
        _undo(snapshot)
        return False
    if _announcer.lets_go:
        snapshot.kept = probe.detach(devices=_announcer.dump)
    events.barrier.event = None
    events.barrier.hold()
    _move(QUIESCED, farewell=_announcer.farewell([]))
    return True


def _run(entry: "Registration", calls: Calls) -> "BaseException | None":
    global now
    now = calls.now = callbacks.name(entry.func)
    try:
        return dispatch.run(entry, calls.epoch)
    finally:
        now = ""


def _undo(snapshot: Snapshot) -> None:
    """A callback failed: the snapshot is refused, and what the others did is undone at once."""
    pairs = {entry.pair for entry in _failed if entry.pair is not None}
    _tell(_run_original(snapshot, pairs))
    _end(snapshot, "failed")
    if events.barrier.mine:
        events.barrier.end()
        _look()


def _run_original(snapshot: Snapshot, without: "set[object]") -> "list[tuple[object, BaseException]]":
    failed: list[tuple[object, BaseException]] = []
    calls = Calls(callbacks.after_in_original)
    for entry in calls.entries:
        if not entry.live or entry.pair in without:
            continue
        error = _run(entry, calls)
        if not events.barrier.mine:
            break
        if error is not None:
            failed.append((entry.func, error))
    calls.entries = ()
    snapshot.errors += callbacks.lines(failed)
    return failed


def _renew() -> None:
    global _renewed
    epoch = native.epoch()
    if epoch not in (_renewed, events.barrier.delivered):
        _renewed = epoch
        _tell([(table.refresh, error) for error in table.refresh()])


def _look() -> None:
    """Is it over?"""
    seen = _last
    if phase == QUIESCED:
        _renew()
    if phase == LATE and _failed:
        return  # who undoes what was done looks then
    if phase in (QUIESCED, LATE) and _announcer.still_on():
        watcher.update()  # a child's plan may still be its parent's, of a moment before
    elif phase == LATE:
        _announcer.over()
        _move(RUNNING, again=True)
    elif phase == QUIESCED and (events.barrier.resume() or events.barrier.claim()):
        if _last is seen:
            _over()
        else:  # over it was, for another thread as well, and this is the next one
            events.barrier.hold()


def _over() -> None:
    """Decided by the source, whatever was announced. The turn is this thread's."""
    global phase
    phase = AFTER
    snapshot = _last or Snapshot(0)
    failed: list[tuple[object, BaseException]] = []
    try:
        probe.reattach()
        _announcer.over()
        _move(AFTER)
        events.barrier.greenlet = affinity.greenlet()
        restored = events.pending()
        if restored:
            failed = events.deliver()
            snapshot.errors += callbacks.lines(failed)
        if events.barrier.mine and not (restored and events.last is not None and events.last.told):
            failed += _run_original(snapshot, set())
        if events.barrier.mine:
            _end(snapshot, "clone" if restored else "original")
    finally:
        if events.barrier.mine:
            _move(RUNNING)
            events.barrier.end()
    _tell(failed)


def _end(snapshot: Snapshot, came_of: str) -> None:
    if not events.barrier.mine:
        return
    snapshot.ended, snapshot.came_of = time.time(), came_of
    _done.clear()
    _failed.clear()


def _tell(failed: "list[tuple[object, BaseException]]") -> None:
    for who, error in failed:
        native.report_unraisable(error, who)


# ---- fork, deactivation ----


def after_fork_in_child() -> None:
    """A child takes a lock of its own. One that was forked while its parent stood still does so as well; what was run
    in the parent, before the snapshot, is not run again."""
    global phase, _halfway
    _failed.clear()
    if phase == QUIESCED:
        events.barrier.hold()
    elif phase in (BEFORE, LATE):
        _halfway = phase == BEFORE
        phase = RUNNING


def forget() -> None:
    """The process is not active any more: nobody tells of the snapshot's end, and nobody waits for it."""
    global phase
    phase = RUNNING
    _done.clear()
    _failed.clear()
    if events.barrier.resume():
        events.barrier.end()


# ---- status ----


def describe() -> "dict[str, Any]":
    """Keys as in docs/command.md, but for the last snapshot."""
    reason = ""
    contact, error = native.contact_state()
    if not native.in_main_interpreter():
        reason = "only the main interpreter takes a lock"
    elif not state.active:
        reason = "not active"
    elif not state.settings.watch:
        reason = "SNAPSAFE_WATCH=0: there is no thread to hold it"
    elif _why_none:
        reason = _why_none
    elif not wanted():
        reason = NOTHING_REGISTERED
    elif phase != QUIESCED and not native.inspect_watcher().running:
        reason = f"no thread to hold it ({watcher.describe()['reason']})"
    elif phase == LATE:
        reason = "a snapshot is under way: it is asked for when that is over"
    elif phase == RUNNING and _announcer is not None:
        reason = _announcer.reason(contact, error)
    elif phase == BEFORE:
        reason = f"a snapshot was announced; now runs {now}" if now else "a snapshot was announced"
    elif phase == AFTER:
        reason = f"a snapshot is over; now runs {now}" if now else "a snapshot is over"
    elif phase == QUIESCED:
        reason = "stands still for a snapshot"
    lock = phase == BEFORE or not reason
    return {"kind": state.settings.lifecycle, "lock": lock, "phase": phase, "reason": reason}


def fields() -> "tuple[str, str, str]":
    """For the record."""
    told = describe()
    return told["kind"], told["phase"], told["reason"]


def last() -> "tuple[str, ...] | None":
    """The same of the last snapshot."""
    return _last.fields() if _last is not None else None


class _Phases:
    """What the watcher wants of this room."""

    wanted = staticmethod(wanted)
    plan = staticmethod(plan)
    woken = staticmethod(woken)
    forget = staticmethod(forget)
    describe = staticmethod(describe)


def attach() -> None:
    """From here on the watcher and the status page ask this room. Idempotent."""
    if watcher.phases is None:
        watcher.phases = _Phases()
        hooks.forked.add(after_fork_in_child)
        hooks.facts["lifecycle"] = fields
        hooks.facts["snapshot"] = last
