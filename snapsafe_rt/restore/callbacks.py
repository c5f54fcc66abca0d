"""The callbacks of the restore event and of a snapshot: who is called, and where."""

import sys

from snapsafe_rt import activation
from snapsafe_rt.core import native
from snapsafe_rt.restore import affinity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])


class Registration:
    """One callback. `live` falls when it is unregistered, also for an event that has begun. `pair` is one object for
    all that were registered by one register_at_snapshot()."""

    __slots__ = ("args", "func", "home", "kwargs", "live", "pair")

    def __init__(
        self,
        func: "Callable[..., Any]",
        args: "tuple[Any, ...]",
        kwargs: "dict[str, Any]",
        pair: "object | None" = None,
    ) -> None:
        _check_callable(func)
        self.pair = pair
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self.home = affinity.here()
        self.live = True

    def __call__(self) -> "Any":
        return self.func(*self.args, **self.kwargs)


def after_fork_in_child() -> None:
    """What belonged to a loop or hub that runs in the parent alone belongs to no thread here."""
    for entry in (*before, *after_in_original, *after):
        if entry.home is not None and entry.home.lost_in_child():
            entry.home = None
    lifecycle = sys.modules.get("snapsafe_rt.snapshot.lifecycle")
    if lifecycle is not None:
        lifecycle.after_fork_in_child()


def _check_callable(func: object) -> None:
    if not callable(func):
        raise TypeError(f"a callback must be callable, not {type(func).__name__}")


def name(func: object) -> str:
    """How messages name a callback."""
    try:
        return f"{getattr(func, '__module__', '?')}.{getattr(func, '__qualname__', type(func).__name__)}"
    except Exception:  # an attribute of its own
        return type(func).__name__


def lines(failed: "list[tuple[object, BaseException]]") -> "list[str]":
    """Who raised what, for people."""
    return [f"{name(who)}: {type(error).__name__}: {_words(error)}" for who, error in failed]


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as another:
        return f"its __str__ raised {type(another).__name__}"


# Changed by append() and remove() alone, each one step under the GIL; whoever walks through one makes a copy first.
before: list[Registration] = []
after_in_original: list[Registration] = []
after: list[Registration] = []


def register_after_restore(func: "F", /, *args: "Any", **kwargs: "Any") -> "F":
    """Call func(*args, **kwargs) after each restore; returns func, so that it serves as a decorator.

    Callbacks run in the order of registration, once for each restore, all of them even if one raises; see check() for
    where and when. Registered in a coroutine or under gevent, func runs on that loop or hub, and may be a coroutine
    function; its registration ends with its loop. Elsewhere it runs in the thread that calls check(), or in a thread
    of its own; a coroutine function then gets a loop of its own, or acheck()'s. Registered twice, it runs twice.
    Registered in a callback, it counts from the next restore on. Forked children inherit registrations; those of a loop
    or hub that runs in the parent alone belong to no thread there.

    Activates the process if nothing did so yet. The first registration starts two native threads that sleep until a
    restore (SNAPSAFE_WATCH=0: none, and only check(), acheck() and notify_restored() run callbacks; so it is in
    interpreters other than the main one). Raises TypeError if func is not callable. Any thread.
    """
    _register(after, func, args, kwargs)
    return func


def register_before_snapshot(func: "F", /, *args: "Any", **kwargs: "Any") -> "F":
    """Call func(*args, **kwargs) before a snapshot that is announced; returns func.

    Run last-in first-out when the manager announces a snapshot (SNAPSAFE_LIFECYCLE=logind: when systemd-logind
    announces sleep), and by AWS Lambda SnapStart's hooks; without an announcement never. The first registration takes a
    delay lock, in the background and whenever there is who gives it: see docs/events.md. Whoever takes the snapshot
    waits for the callbacks, but not for ever; what one raises makes it refuse the snapshot. Where the callbacks run,
    threads, forks and errors raised here: as register_after_restore(), but that nothing runs them in check().
    """
    _register(before, func, args, kwargs)
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
    kinds = {"before": before, "after_in_original": after_in_original, "after": after_in_clone}
    given = {kind: func for kind, func in kinds.items() if func is not None}
    if not given:
        raise TypeError("at least one of before, after_in_original and after_in_clone is needed")
    for func in given.values():
        _check_callable(func)
    pair = object()
    for kind, func in given.items():
        _register(globals()[kind], func, (), {}, pair)  # the parameters hide the lists


def unregister(func: "Callable[..., Any]") -> bool:
    """Take back every registration of func (compared by ==), of whichever kind. Returns whether there was one.

    In a running event it is not called any more if it was not yet. With the last callback the watcher's threads end.
    Any thread, callbacks too.
    """
    found = False
    for entries in (before, after_in_original, after):
        for entry in tuple(entries):
            if entry.func == func:
                found |= drop(entries, entry)
    if found:
        _update_watching()
    return found


def _register(
    entries: "list[Registration]",
    func: "Callable[..., Any]",
    args: "tuple[Any, ...]",
    kwargs: "dict[str, Any]",
    pair: "object | None" = None,
) -> None:
    entry = Registration(func, args, kwargs, pair)
    activation.activate_unless_told()
    from snapsafe_rt.restore import events  # noqa: F401 - it counts from here on which restores were told of

    if entries is not after and native is not None and activation.state.settings.lifecycle != "off":
        from snapsafe_rt.snapshot import lifecycle  # noqa: F401 - a program that is not asked before a snapshot pays nothing

    if entry.home is not None:  # each asyncio.run() of a program may leave some
        for old in tuple(entries):
            if old.home is not None and old.home.gone:
                drop(entries, old)
    entries.append(entry)
    _update_watching()


def drop_everywhere(entry: Registration) -> None:
    """Its loop or hub has ended."""
    for entries in (before, after_in_original, after):
        drop(entries, entry)


def drop(entries: "list[Registration]", entry: Registration) -> bool:
    entry.live = False
    try:
        entries.remove(entry)
    except ValueError:  # another thread did
        return False
    return True


def _update_watching() -> None:
    from snapsafe_rt.restore import watcher

    watcher.update()
    if native is not None and native.in_main_interpreter():
        native.record_callbacks(len(after))


def run_before() -> None:
    """Call what was registered for the time before a snapshot, last-in first-out. Raises the errors as a group."""
    from snapsafe_rt.restore.dispatch import settle

    errors: list[BaseException] = []
    for entry in reversed(tuple(before)):
        try:
            if entry.live:
                settle(entry())
        except BaseException as error:
            errors.append(error)
    if errors:
        from snapsafe_rt.errors import group

        raise group("in callbacks before the snapshot", errors)
