"""Runs one callback: here, or on the loop or hub that is its home."""

from snapsafe_rt.core import native
from snapsafe_rt.restore import affinity, callbacks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from snapsafe_rt.restore.callbacks import Registration

LOOK_SECONDS = 0.5  # how often it is looked whether the home that a callback waits for has ended


def run(entry: "Registration", epoch: int) -> "BaseException | None":
    """One callback, to its end. Returns what it raised, of whatever kind: the others have to run."""
    home = entry.home
    native.calling(True)
    try:
        if home is None or home.is_here():
            settle(entry())
        elif entry.ended:
            callbacks.drop_everywhere(entry)
        else:
            return run_at(home, entry, epoch)
    except BaseException as error:
        return error
    finally:
        native.calling(False)
    return None


def settle(value: "Any") -> None:
    """The coroutine that a coroutine function returned: on the loop that runs here, or on one of its own."""
    if not hasattr(value, "__await__"):
        return
    home = affinity.here()
    if home is not None and home.drive is not None:
        home.drive(value, lambda error: _report(error, value))  # a loop cannot be waited for in its own thread
        return
    import asyncio

    error = asyncio.run(affinity.awaited(value))
    if error is not None:
        raise error


def _report(error: "BaseException | None", who: object) -> None:
    if error is not None:
        native.report_unraisable(error, who)


def run_at(home: "affinity.Home", entry: "Registration", epoch: int) -> "BaseException | None":
    """On a loop or hub of another thread, waiting for it here."""
    done = native.FutexWord()
    answer = Answer(entry, done.advance)
    submit(home, entry, epoch, answer)
    while not answer.given and not home.gone and not home.idle:
        done.wait(0, LOOK_SECONDS)
    return answer.take()


class Answer:
    """What a callback that was sent to its home came to. Its error is raised where the event runs, or, if nobody waits
    there any more because the home ended or rests, reported."""

    def __init__(self, entry: "Registration", wake: "Callable[[], object]") -> None:
        self.entry = entry
        self.wake = wake
        self.error: BaseException | None = None
        self.given = self.abandoned = False

    def give(self, error: "BaseException | None") -> None:
        self.error = error
        self.given = True
        if self.abandoned:
            _report(error, self.entry.func)
        self.wake()

    def take(self) -> "BaseException | None":
        self.abandoned = not self.given
        return self.error


def submit(home: "affinity.Home", entry: "Registration", epoch: int, answer: Answer) -> None:
    from contextvars import copy_context

    def start() -> None:
        event_around().set(epoch)
        try:
            value = entry()
            if hasattr(value, "__await__"):
                if home.drive is not None:
                    home.drive(value, answer.give)
                    return
                settle(value)
        except BaseException as error:
            answer.give(error)
        else:
            answer.give(None)

    context = copy_context()
    try:
        home.submit(lambda: context.run(start))
    except RuntimeError as error:  # closed a moment ago
        answer.give(None if home.gone else error)


_event_around: "dict[str, Any]" = {}


def event_around() -> "Any":
    """A context variable: the epoch whose event this coroutine or greenlet is part of. The same for all threads."""
    if not _event_around:
        from contextvars import ContextVar

        _event_around.setdefault("epoch", ContextVar("snapsafe_event", default=-1))
    return _event_around["epoch"]


def epoch_around() -> int:
    """The same, or -1. Who has not made the variable has not set it. So this imports nothing, for which a program that
    waits may have no descriptor."""
    epoch: int = event_around().get() if _event_around else -1
    return epoch
