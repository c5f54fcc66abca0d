"""The restore event: the refreshers, then the program's callbacks, once for the epoch that is reached.

It never runs inside somebody's draw, whose caller may hold a lock that a callback wants. It runs in check(), acheck()
and notify_restored(), or, if nobody calls those, on a thread of the watcher (snapsafe_rt.restore.watcher).
"""

import sys
import time

from snapsafe_rt import log
from snapsafe_rt.core import native
from snapsafe_rt.guards import loaded, table
from snapsafe_rt.restore import affinity, callbacks, dispatch, generation
from snapsafe_rt.restore.limit import Limit
from snapsafe_rt.source import probe
from snapsafe_rt.state import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from snapsafe_rt.restore.callbacks import Registration

STEP_SECONDS = 1.0  # how often a check() that has a limit looks at the clock
PASSES = 16  # events in one turn; only a source that is rewritten without pause brings so many


class Event:
    """One run of the event: what there was to do and what came of it."""

    def __init__(self, epoch: int, delivered: int) -> None:
        info = native.inspect_epoch()
        self.epoch = epoch
        self.cause = info.cause
        # Under SNAPSAFE_DISRUPTION=reseed a moved marker alone renews state, and the program is not told.
        self.told = state.settings.disruption == "event" or info.last_certain > delivered
        self.entries = tuple(callbacks.after) if self.told else ()
        for entry in self.entries:
            entry.look_for_home()
        self.callbacks = 0
        self.failed: list[tuple[object, BaseException]] = []  # who failed, and what it raised
        self.now = ""
        self.started = time.time()

    def begin(self) -> None:
        """Tell the auditors, and renew what no guard reaches: callbacks may draw on it."""
        try:
            sys.audit("snapsafe.restore", self.epoch)
        except BaseException as error:
            self.failed.append((sys.audit, error))
        native.renew_kernel()
        loaded.look()
        self.failed += [(table.refresh, error) for error in table.refresh()]

    def ran(self, entry: "Registration", error: "BaseException | None") -> None:
        self.callbacks += 1
        if error is not None:
            self.failed.append((entry.func, error))

    def finish(self) -> None:
        self.entries = ()
        self.now = ""
        ended = time.time()
        note(self.epoch, self.cause, self.started, ended, self.callbacks, callbacks.lines(self.failed))
        for who, error in self.failed:
            log.failed("restore", callbacks.name(who), error)
        log.restored(self.epoch, self.cause, ended - self.started, self.callbacks, len(self.failed))


ERRORS_KEPT, ERROR_LENGTH = 8, 300


def note(epoch: int, cause: str, began: float, ended: float, ran: int, errors: "list[str]") -> None:
    """Have the status page tell of a restore event that is over: times in seconds since 1970, how many callbacks ran,
    what they raised."""
    kept = [text[:ERROR_LENGTH] for text in errors[:ERRORS_KEPT]]
    if len(errors) > ERRORS_KEPT:
        kept.append(f"{len(errors) - ERRORS_KEPT} more")
    native.page_put({"event": [(str(epoch), cause, repr(began), repr(ended), str(ran), *kept)]})


last: Event | None = None

if native is not None:
    delivery = native.DeliveryLock()
    delivery.note_delivered(native.epoch())  # imported by the first registration: what was before is no event
    native.renew_kernel()
    native.prepare()


def pending() -> bool:
    """Was there a restore whose event was not run to its end yet?"""
    return native is not None and native.epoch() != delivery.delivered


def cause() -> str:
    """Why the last restore was counted; for callbacks. "" before the first.

    "generation": the source's generation moved; "disruption": its marker alone, so perhaps a live migration;
    "notified": by notify_restored(); "source": the source itself was lost, replaced or found late, which counts as a
    restore.
    """
    return native.inspect_epoch().cause if native is not None else ""


def check(timeout: "float | None" = None) -> int:
    """The barrier: after it everything that a restore calls for was done. For the start of a request or a job.

    Looks at the source, runs a pending restore event in this thread, waits for one that runs elsewhere, and returns the
    epoch, to be compared with an earlier one: the last one whose event is complete. Costs a look at the source while
    nothing happened. Returns at once, with the epoch of the event, in a callback, and in the thread of a loop that the
    event waits for.

    `timeout`: seconds to wait for an event that runs elsewhere; it cannot bound callbacks that run in this thread.
    Raises TimeoutError, naming the callback that is late, also at once where acheck() left the event on a loop of this
    thread that does not run now; an ExceptionGroup of what callbacks raised (a
    BaseExceptionGroup if a SystemExit or KeyboardInterrupt is among them; on CPython 3.10 snapsafe_rt.errors has both
    classes). Any thread; in a forked child the event that its parent was at is pending.
    """
    if native is None:
        return 0
    probe.probe()
    loaded.look()
    epoch = native.epoch()
    if epoch == delivery.delivered:
        return epoch
    return _check(epoch, None if timeout is None else Limit(timeout, STEP_SECONDS))


def _check(epoch: int, limit: "Limit | None") -> int:
    """Returns no epoch whose event is still to come: whoever compares it later would take that one for done."""
    while delivery.delivered < epoch:
        turn = delivery.value
        if run_here():
            break  # also in a child that a callback forked
        if not _wait_for_other(turn, limit):
            return epoch
        raise_of_last(epoch)
    return delivery.delivered


def run_here(first: "Callable[[], object] | None" = None) -> bool:
    """Run the event in this thread, after calling `first`, if nobody has the turn. Returns whether it was run; raises
    what callbacks did."""
    held = delivery.mine
    try:  # a signal's handler may raise at any point, but not within a call of the core
        claimed = delivery.acquire()
        if first is not None:
            first()
        if claimed:
            failed = deliver()
            if failed:
                raise group(failed, delivery.delivered)
        return claimed
    finally:
        if not held:
            delivery.release()
            log.flush()


def _wait_for_other(turn: int, limit: "Limit | None") -> bool:
    """Wait for the event that runs elsewhere, or for a step of the limit. False where waiting would never end: the
    event waits for this thread."""
    event: Event | None = delivery.event
    if event is not None and dispatch.epoch_around() == event.epoch:
        return False
    greenlet = affinity.greenlet()
    if delivery.mine and (greenlet is None or greenlet is delivery.greenlet):
        if delivery.loop is not None and affinity.running_loop() is not delivery.loop:
            raise TimeoutError(late_at_rest(event))
        return False
    left = None if limit is None else min(limit.left(), STEP_SECONDS)
    if left is not None and left <= 0:
        raise TimeoutError(late(event))
    hub = affinity.hub_here()
    if hub is not None:
        hub.wait(delivery.call_at_end, left)
    elif any(entry.home is not None and entry.home.is_here() for entry in _to_come(event)):
        return False
    else:
        delivery.wait(turn, left)
    return True


def _to_come(event: "Event | None") -> "tuple[Registration, ...]":
    if event is not None:
        return event.entries
    return tuple(callbacks.after) if delivery.parked else ()


def late(event: "Event | None") -> str:
    if delivery.parked:
        return "the restore event waits for the end of a snapshot that was announced"
    what = f" in {event.now}" if event and event.now else ""
    return f"the restore event still runs elsewhere{what}"


def late_at_rest(event: "Event | None") -> str:
    return f"{late(event)}, on a loop of this thread that does not run at present"


def report(failed: "list[tuple[object, BaseException]]") -> None:
    """Of callbacks that nobody waits for."""
    for who, error in failed:
        native.report_unraisable(error, who)


def raise_of_last(epoch: int) -> None:
    seen = last  # the next one may end meanwhile
    if seen is not None and seen.epoch >= epoch and seen.failed:
        raise group(seen.failed, seen.epoch)


def group(failed: "list[tuple[object, BaseException]]", epoch: int) -> BaseException:
    """A group of its own for each who raises it: a traceback grows on it."""
    from snapsafe_rt.errors import BaseExceptionGroup

    errors = [error for _, error in failed]
    return BaseExceptionGroup(f"in callbacks after the restore that began epoch {epoch}", errors)


def deliver() -> "list[tuple[object, BaseException]]":
    """Run the event until none is pending; the caller has claimed it and ends it. Returns who failed, and how."""
    delivery.greenlet = affinity.greenlet()
    failed: list[tuple[object, BaseException]] = []
    for event, entry in steps(failed):
        event.ran(entry, dispatch.run(entry, event.epoch))
    return failed


def steps(failed: "list[tuple[object, BaseException]]") -> "Iterator[tuple[Event, Registration]]":
    """The event's order, for whoever has claimed it, here or on a loop: yields each callback that is to run; the caller
    runs it, and tells ran(). `failed` gets who failed, and how."""
    global last
    for _ in range(PASSES):
        epoch = native.epoch()
        if epoch == delivery.delivered:
            break
        delivery.event = event = Event(epoch, delivery.delivered)
        delivery.advance()  # who waits has to see whether the event will want its thread
        event.begin()
        for entry in event.entries:
            if entry.live:
                event.now = callbacks.name(entry.func)
                yield event, entry
            if not delivery.mine:
                return  # a callback forked, and this is the child: there the whole event is pending
        event.finish()
        last = event
        delivery.note_delivered(event.epoch)
        failed += event.failed


def _run_after(first: "Callable[[], object]") -> int:
    """With the delivery held, so that the watcher does not run the event: the callbacks run in this thread."""
    run_here(first)
    return check()


generation.run_event = _run_after
