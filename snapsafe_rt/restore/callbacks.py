"""The callbacks of the restore event and of a snapshot: who is called, and where."""

from snapsafe_rt import hooks
from snapsafe_rt.restore import affinity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Registration:
    """One callback. `live` falls when it is unregistered, also for an event that has begun. `pair` is one object for
    all that were registered by one register_at_snapshot(). `homeless`: it was registered where no loop ran."""

    def __init__(
        self,
        func: "Callable[..., Any]",
        args: "tuple[Any, ...]",
        kwargs: "dict[str, Any]",
        pair: "object | None" = None,
    ) -> None:
        check_callable(func)
        self.pair = pair
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self.home: affinity.Home | None = affinity.here()
        self.homeless = self.home is None
        self.live = True
        if self.home is not None:
            import contextvars  # noqa: F401 - it is called in a copy of a context, when there may be no descriptor

    def look_for_home(self) -> None:
        """What a coroutine function awaits, say a pool that was made at import, belongs to the main thread's loop if
        one runs by now."""
        if self.homeless:
            self.home = affinity.home_of_main_thread() if affinity.is_coroutine_function(self.func) else None

    @property
    def ended(self) -> bool:
        """Will it never be called again, because its home has ended?"""
        return self.home is not None and self.home.gone and not self.homeless

    def __call__(self) -> "Any":
        return self.func(*self.args, **self.kwargs)


def after_fork_in_child() -> None:
    """What belonged to a loop or hub that runs in the parent alone belongs to no thread here."""
    for entry in [entry for entries in LISTS for entry in entries]:
        if entry.home is not None and entry.home.lost_in_child():
            entry.home = None


def check_callable(func: object) -> None:
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


# Changed by append() and remove() alone, each one step, by the GIL or by the list's own lock; whoever walks through one
# makes a copy first, by tuple(), which is one step too.
before: list[Registration] = []
after_in_original: list[Registration] = []
after: list[Registration] = []
LISTS = (before, after_in_original, after)  # in the order of register_at_snapshot()


def drop_everywhere(entry: Registration) -> None:
    """Its loop or hub has ended."""
    for entries in LISTS:
        drop(entries, entry)


def drop(entries: "list[Registration]", entry: Registration) -> bool:
    entry.live = False
    try:
        entries.remove(entry)
    except ValueError:  # another thread did
        return False
    return True


hooks.forked.add(after_fork_in_child)
