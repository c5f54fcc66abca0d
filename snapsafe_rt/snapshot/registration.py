"""Registers callbacks for the time before a snapshot, and for the original after it."""

from snapsafe_rt.restore import callbacks, registration
from snapsafe_rt.snapshot import lifecycle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])


def register_before_snapshot(func: "F", /, *args: "Any", **kwargs: "Any") -> "F":
    """Call func(*args, **kwargs) before a snapshot that is announced; returns func.

    Run last-in first-out when the manager announces a snapshot (SNAPSAFE_LIFECYCLE=logind: when systemd-logind
    announces sleep), and by AWS Lambda SnapStart's hooks. Without an announcement they never run. The first
    registration takes a delay lock, in the background, now or as soon as a manager is there: see docs/events.md.
    Whoever takes the snapshot waits for the callbacks, up to a limit; if one raises, the manager refuses the snapshot.
    Where the callbacks run, threads, forks and errors raised here: as register_after_restore(), but check() runs none.
    """
    lifecycle.attach()
    registration.register(callbacks.before, func, args, kwargs)
    return func


def register_at_snapshot(
    *,
    before: "Callable[[], object] | None" = None,
    after_in_original: "Callable[[], object] | None" = None,
    after_in_clone: "Callable[[], object] | None" = None,
) -> None:
    """In the shape of os.register_at_fork: `before` as register_before_snapshot(), `after_in_clone` as
    register_after_restore(); `after_in_original` runs, in the order of registration, when an announced snapshot is
    over and this process was not restored. Where a `before` raises, those `after_in_original` run at once whose
    `before` did not.

    Raises TypeError if none is given or one is not callable. Any thread.
    """
    functions = (before, after_in_original, after_in_clone)
    given = [(entries, func) for entries, func in zip(callbacks.LISTS, functions, strict=True) if func is not None]
    if not given:
        raise TypeError("at least one of before, after_in_original and after_in_clone is needed")
    for _, func in given:
        callbacks.check_callable(func)
    lifecycle.attach()
    pair = object()
    for entries, func in given:
        registration.register(entries, func, (), {}, pair)
