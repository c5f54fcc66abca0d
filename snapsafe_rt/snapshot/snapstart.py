"""AWS Lambda SnapStart: its runtime tells of the snapshot and of the restore by the hooks of snapshot_restore_py.

awslambdaric (lambda_runtime_hooks_runner.py, 4.2.2) takes the hooks for the time before the snapshot off the end of
their list, and calls those for the time after the restore from the beginning of theirs, which it leaves as it is. So
ours, the first of both, is the last to run before the snapshot, when all else has been closed, and the first after
the restore: the handler's hooks find state renewed and the program's callbacks called. The group of what callbacks
raised passes through: the runtime reports it and exits with 64 (before) or 65 (after), as for any hook. It reports
the group's own words alone, so what is in it is told by sys.unraisablehook, in the function's log.

Not race-free: what other threads draw between the restore and the hook is the template's, unless a source is watched.
"""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards.guard import Guard
from snapsafe_rt.state import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from snapsafe_rt.guards.guard import Verdict

_modules: "list[ModuleType]" = []  # more than one where a program unloads and imports it again

_seen: "tuple[int, int] | None" = None


class SnapStart(Guard):
    """notify_restored() is called before the handler's own hooks; it guards nothing itself."""

    name = "snapstart"
    covers = ("AWS Lambda SnapStart: told of each restore", "snapshot_restore_py")
    triggers = ("snapshot_restore_py",)
    level = "refreshed"
    unloaded = "SnapStart's hooks are registered when snapshot_restore_py is imported"
    notifies = True

    def install(self, module: "ModuleType") -> None:
        """Register both hooks, in front of those that are there. Not in a hook: the runtime walks through the list."""
        if not native.in_main_interpreter():
            return  # the runtime is the main one's, and a restore must not be counted twice
        for entries, ours in ((module.get_before_snapshot(), _BEFORE), (module.get_after_restore(), _AFTER)):
            _put(entries, ours)
        if module not in _modules:
            _modules.append(module)

    def remove(self) -> None:
        """Take out both, and nothing else. Not in a hook either: the next one would be passed over."""
        for module in _modules:
            for entries in (module.get_before_snapshot(), module.get_after_restore()):
                entries[:] = [entry for entry in entries if not _is_ours(entry)]
        _modules.clear()

    def is_loaded(self) -> bool:
        return sys.modules.get("snapshot_restore_py") in _modules

    def protection(self) -> "Verdict":
        if not native.in_main_interpreter():
            return "not loaded", "SnapStart's hooks are registered by the main interpreter alone"
        return super().protection()

    def displaced(self) -> str:
        if any(map(_is_ours, sys.modules["snapshot_restore_py"].get_after_restore())):
            return ""
        return "the program emptied the list of hooks, ours with it: deactivate() and activate() again"

    def note(self) -> str:
        return "notify_restored() is called before the handler's own hooks"


def _put(entries: "list[Any]", ours: "tuple[Any, ...]") -> None:
    if not any(map(_is_ours, entries)):
        entries.insert(0, ours)


def _is_ours(entry: object) -> bool:
    return entry is _BEFORE or entry is _AFTER


def before_snapshot() -> None:
    """Run the program's callbacks, and import what the restore will want: that has ten seconds, this has minutes."""
    global _seen
    _seen = None
    from snapsafe_rt.restore import callbacks, events  # noqa: F401

    _told(run_before)
    _seen = counter()


def run_before() -> None:
    """Call what was registered for the time before a snapshot, last-in first-out. Raises the errors as a group."""
    from snapsafe_rt.restore import callbacks
    from snapsafe_rt.restore.dispatch import settle

    errors: list[BaseException] = []
    for entry in reversed(tuple(callbacks.before)):
        try:
            if entry.live:
                settle(entry())
        except BaseException as error:
            errors.append(error)
    if errors:
        from snapsafe_rt.errors import BaseExceptionGroup

        raise BaseExceptionGroup("in callbacks before the snapshot", errors)


def after_restore() -> None:
    """One restore is one epoch: where a counter has moved before anything ran here, that was it."""
    global _seen
    seen, _seen = _seen, None
    for module in _modules:
        _put(module.get_before_snapshot(), _BEFORE)  # it was taken off, and a restored process can be snapshotted again
    if has_moved(seen):
        from snapsafe_rt.restore.events import check

        _told(check)
    else:
        from snapsafe_rt.restore.generation import notify_restored

        _told(notify_restored)


def _told(run: "Callable[[], object]") -> None:
    from snapsafe_rt.errors import BaseExceptionGroup

    try:
        run()
    except BaseExceptionGroup as group:
        for error in group.exceptions:
            native.report_unraisable(error, run)
        raise


def counter() -> "tuple[int, int] | None":
    """Slot and value of a source that moves by restores alone, before the clone runs. One that moves later, or at its
    writer's will (SysGenID), is no word on the restore we are told of: a restore too many is the lesser evil."""
    watched = state.watched
    if watched is None or watched.kind != "vmclock":
        return None
    native.epoch()
    info = native.inspect_epoch()
    return (info.source, info.generation) if info.synchronous else None


_BEFORE: "tuple[Any, ...]" = (before_snapshot, (), {})
_AFTER: "tuple[Any, ...]" = (after_restore, (), {})

GUARD = SnapStart()


def has_moved(seen: "tuple[int, int] | None") -> bool:
    """Has the source that counter() saw moved since? Then the restore is counted. Without `seen` nothing is looked at:
    a look at any other source would count what notify_restored() counts."""
    now = counter() if seen else None
    return seen is not None and now is not None and seen[0] == now[0] and seen != now
