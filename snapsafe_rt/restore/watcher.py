"""Decides whether the watcher's threads run, and what they look at."""

import os
import stat

from snapsafe_rt import hooks, log
from snapsafe_rt.core import importing, native
from snapsafe_rt.guards import table
from snapsafe_rt.restore import callbacks
from snapsafe_rt.source import probe, selection
from snapsafe_rt.state import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    Item = tuple[str, str | None, int, bool, bool, bool, int, int]
    # Is a thread wanted; what it watches; the connection that it holds; how often it looks instead, in ms
    Plan = tuple[bool, list[Item], tuple[str, bytes, bool] | None, int]

    class Phases(Protocol):
        def wanted(self) -> bool:
            """Is somebody to be asked before a snapshot, or to be told that it is over?"""

        def plan(self) -> "tuple[tuple[str, bytes, bool] | None, list[Item], int]":
            """The connection, what to watch besides, and how often to look instead of sleeping (ms; 0: not)."""

        def woken(self, heard: bool) -> None:
            """The runner was woken; `heard`: by who announces snapshots."""

        def forget(self) -> None:
            """No watcher runs any more."""

        def publish(self) -> None:
            """Have the status page say it."""

        def describe(self) -> dict[str, object]:
            """For status(): kind, lock, phase, reason."""


# inotify(7); linux/inotify.h
MODIFY, ATTRIB, CLOSE_WRITE, MOVED_TO, CREATE = 0x2, 0x4, 0x8, 0x80, 0x100
DELETE_SELF, MOVE_SELF, ONLYDIR = 0x400, 0x800, 0x1000000

WATCH_ITEMS = 12  # SS_WATCH_ITEMS in cython/watch_holdings.h

NOTHING_REGISTERED = "nothing is registered for the time before a snapshot"

lifecycle: "Phases | None" = None
"""The program's side of snapshots that are announced; snapsafe_rt.snapshot.lifecycle puts it here when it is loaded."""

_NOTHING: "Plan" = (False, [], None, 0)
_planned = _NOTHING
_exit_hooked = False
_ended = False  # the interpreter is about to: only check() runs events


def update(again: bool = False, farewell: "bytes | None" = None) -> None:
    """Start, stop or redirect the threads as things are now. `again`: even if the plan is the same as before.
    `farewell`: the last words on the connection that ends with it.

    Called when something was registered, unregistered, activated or probed. A thread that cannot be started is told by
    status(): check() still works.
    """
    global _planned
    if native is None or _ended:
        return
    if state.active and (callbacks.after or table.refreshers()):
        importing(_load_events)
    if not native.in_main_interpreter():
        return  # other interpreters run their callbacks in check(): a thread could outlive them
    with state.lock:
        asked = lifecycle is not None and lifecycle.wanted()
        plan = _NOTHING
        if state.active and state.settings.watch and (callbacks.after or table.refreshers() or asked):
            contact, paths, look_ms = lifecycle.plan() if lifecycle is not None and asked else (None, [], 0)
            items = paths if look_ms else [*_items()[: WATCH_ITEMS - len(paths)], *paths]
            plan = (True, items, contact, look_ms)
        elif lifecycle is not None:
            lifecycle.forget()
        wanted = plan[0]
        if plan == _planned and not (wanted and (again or not native.inspect_watcher().running)):
            return
        if wanted:
            _hook_exit()
        try:  # noqa: SIM105 - contextlib is not imported at start-up
            native.plan_watching(plan[1], wanted, woken, plan[2], plan[3], farewell)
        except OSError:
            pass  # inspect_watcher() has the error
        _planned = plan  # not before: a child that is forked in between has the old one


def _load_events() -> None:
    from snapsafe_rt.restore import events  # noqa: F401 - the epoch that is now is no restore to tell of


def _items() -> "list[Item]":
    """The watched source itself, and for each candidate the entry by which it, or a better one, would appear."""
    watched = state.watched
    items: list[Item] = []
    if watched is not None and not watched.gone:  # else nobody writes it
        device = watched.rank != selection.FILE
        mask = 0 if device else MODIFY | ATTRIB | DELETE_SELF | MOVE_SELF
        # What stays mapped though its path leads elsewhere is not news each time.
        leads_to = (watched.leads_to() or (0, 0)) if device else watched.identity
        if watched.doubt and not device:
            leads_to = (watched.found.st_dev, watched.found.st_ino) if watched.found else (0, 0)
        items.append((watched.path, None, mask, device, watched.kind == "sysgenid", False, *leads_to))
    for candidate in state.candidates:
        if watched is not None and watched.rank == selection.BEST:
            break  # nothing is better
        item = entry(candidate.path, candidate.found, candidate is not watched or candidate.doubt != "")
        if item is not None and item not in items:
            items.append(item)
    return items[:WATCH_ITEMS]  # check() looks at the rest


def entry(path: str, found: "os.stat_result | None", written: bool = False, announcer: bool = False) -> "Item | None":
    """The nearest folder on the way to it that exists, and the name that has to appear there. `found`: what is there
    now, at the path's end; `written`: is it news that it was written or permitted? `announcer`: is it of who announces
    snapshots?"""
    folder, name = os.path.split(path)
    missing = False
    while not os.path.isdir(folder):
        missing = True
        folder, name = os.path.split(folder)
        if not name:
            return None
    mask = CREATE | MOVED_TO | ONLYDIR | DELETE_SELF | MOVE_SELF
    dev = ino = 0
    if missing:
        dev, ino = _obstacle(os.path.join(folder, name))
    elif found is not None:
        dev, ino = found.st_dev, found.st_ino
        # Written, or permitted, after it was made. Not before it is there: all that write to /dev/null would wake us.
        if written:
            mask |= ATTRIB
        if written and stat.S_ISREG(found.st_mode):
            mask |= CLOSE_WRITE
            ino = (ino + found.st_mtime_ns + found.st_size) % 2**64  # as look_up() in watch_items.c
    return folder or "/", name, mask, False, False, announcer, dev, ino


def _obstacle(path: str) -> "tuple[int, int]":
    """What is no folder where one has to appear; zeros where nothing is: all that appears there is news."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return (0, 0) if stat.S_ISDIR(found.st_mode) else (found.st_dev, found.st_ino)


def describe() -> "dict[str, str]":
    """`how` a restore is noticed that nobody draws or checks for, in the core's words; and why no better, or not at
    all."""
    if not native.in_main_interpreter():
        return {"how": "off", "reason": _why_off()}
    info = native.inspect_watcher()
    reason = ""
    watched = state.watched
    if info.running and watched is not None and watched.via:
        reason = f"{watched.via} opened the device, and its driver cannot be asked here"
    elif info.error:
        reason = os.strerror(info.error)
    elif not info.running:
        reason = _why_off()
    return {"how": info.how, "reason": reason}


def _why_off() -> str:
    if not state.active:
        return "not active"
    if not state.settings.watch:
        return "SNAPSAFE_WATCH=0"
    if not native.in_main_interpreter():
        return "only the main interpreter has a watcher"
    return "nothing is registered"


def _hook_exit() -> None:
    global _exit_hooked
    if not _exit_hooked:
        import atexit

        atexit.register(_at_exit)
        _exit_hooked = True


def _at_exit() -> None:
    """The threads end before the interpreter does; an event gets a second to come to its end."""
    global _planned, _ended
    _planned = _NOTHING
    _ended = True
    native.plan_watching([], False, None)
    native.wait_quiet(1000)


def woken(paths: bool, heard: bool) -> None:
    """Called by the watcher's thread: run what nobody has checked for, and report what it raises.

    `paths`: a source came, went or was replaced. `heard`: who announces snapshots has said something.
    """
    from snapsafe_rt.restore import events

    if lifecycle is not None:
        lifecycle.woken(heard)
    if paths and not state.quiesced:
        probe.probe(now=True)
        update(again=True)
    if native.epoch() == events.delivery.delivered or not events.delivery.acquire():
        return
    try:
        failed = events.deliver()
    finally:
        events.delivery.release()
    events.report(failed)
    log.flush()


hooks.source_changed.add(update)
