"""A time that is waited at the most, measured so that a restore in between does not use it up."""

import time


class Limit:
    """Counts down `seconds`, for one who asks at least once in `step`.

    CLOCK_MONOTONIC may jump over a restore by the time that the snapshot lay. That is no time that anybody was given,
    so what passes between two questions counts for `step` at the most.
    """

    __slots__ = ("_left", "_looked", "_step")

    def __init__(self, seconds: float, step: float) -> None:
        self._left = seconds
        self._step = step
        self._looked = time.monotonic()

    def left(self) -> float:
        now = time.monotonic()
        self._left -= min(max(now - self._looked, 0.0), self._step)
        self._looked = now
        return self._left
