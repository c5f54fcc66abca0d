"""How long a reading of another process waits for who writes there, and all of them for the processes of one user."""

import time
from collections.abc import Callable
from typing import TypeVar

SETTLE_SECONDS = 1.0  # who writes may wait for a CPU
PATIENCE_SECONDS = 5.0  # of one command, for one user
QUICK = 20  # looks without a pause

T = TypeVar("T")
_waited: dict[int, float] = {}  # seconds, by user


def begin() -> None:
    """A command does: nobody was waited for."""
    _waited.clear()


def waited() -> float:
    return sum(_waited.values())


def settled(user: int, attempt: Callable[[], "T | None"]) -> "T | None":
    """`attempt` until it returns something: None means that a writer was at work; it may have been stopped, or write
    without end so that nobody else's process is looked at. `user`: whose process it is."""
    for _ in range(QUICK):
        found = attempt()
        if found is not None:
            return found
    began = time.monotonic()
    until = began + min(SETTLE_SECONDS, PATIENCE_SECONDS - _waited.get(user, 0.0))
    while found is None and time.monotonic() < until:
        time.sleep(0.0005)
        found = attempt()
    _waited[user] = _waited.get(user, 0.0) + time.monotonic() - began
    return found
