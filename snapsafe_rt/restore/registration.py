"""Registers and takes back callbacks. Loading this loads what runs them (events), to which a restore before that is no
event."""

from snapsafe_rt import hooks
from snapsafe_rt.core import native
from snapsafe_rt.restore import callbacks, events, watcher  # noqa: F401 - events: see above
from snapsafe_rt.restore.callbacks import Registration, drop
from snapsafe_rt.state import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])


def register_after_restore(func: "F", /, *args: "Any", **kwargs: "Any") -> "F":
    """Call func(*args, **kwargs) after each restore; returns func, so that it serves as a decorator.

    Callbacks run in the order of registration, once for each restore, all of them even if one raises; see check() for
    where and when. Registered in a coroutine of asyncio or trio, or under gevent or eventlet, func runs on that loop or
    hub; its registration ends with the loop. Elsewhere it runs in the thread that calls check(), or in a thread of its
    own. A coroutine function that was registered where no loop ran, say at import, runs on the asyncio loop of the main
    thread if that has one by then, else on acheck()'s, else on one of its own. Registered twice, it runs twice.
    Registered in a callback, it counts from the next restore on. Forked children inherit registrations; those of a loop
    or hub that runs in the parent alone belong to no thread there.

    Activates the process if nothing did so yet. The first registration starts two native threads that sleep until a
    restore (SNAPSAFE_WATCH=0: none, and only check(), acheck() and notify_restored() run callbacks; so it is in
    interpreters other than the main one). Raises TypeError if func is not callable. Any thread.
    """
    register(callbacks.after, func, args, kwargs)
    return func


def unregister(func: "Callable[..., Any]") -> bool:
    """Take back every registration of func (compared by ==), of whichever kind. Returns whether there was one.

    In a running event it is not called any more if it was not yet. With the last callback the watcher's threads end.
    Any thread, callbacks too.
    """
    found = False
    for entries in callbacks.LISTS:
        for entry in tuple(entries):
            if entry.func == func:
                found |= drop(entries, entry)
    if found:
        _tell_watcher()
    return found


def register(
    entries: "list[Registration]",
    func: "Callable[..., Any]",
    args: "tuple[Any, ...]",
    kwargs: "dict[str, Any]",
    pair: "object | None" = None,
) -> None:
    """Add a callback to one of the lists of snapsafe_rt.restore.callbacks."""
    entry = Registration(func, args, kwargs, pair)
    hooks.activation_wanted()
    if entry.home is not None:  # each asyncio.run() of a program may leave some
        for old in tuple(entries):
            if old.ended:
                drop(entries, old)
    entries.append(entry)
    _tell_watcher()


def _tell_watcher() -> None:
    watcher.update()
    if native is not None and native.in_main_interpreter():
        with state.lock:  # of two threads the second tells the number of both
            native.page_callbacks(len(callbacks.after))
