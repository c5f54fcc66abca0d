"""Waits for files, signals and times; asleep without a tick while there is none."""

import contextlib
import os
import sched
import select
import signal
import time
from collections.abc import Callable
from typing import Protocol

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
SLICE_SECONDS = 1.0  # while a timer runs the clock is looked at as often as that


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class Timer:
    """What Loop.later() is to call."""

    def __init__(self, times: sched.scheduler, seconds: float, function: Callable[[], None]) -> None:
        self._times = times
        self._event = times.enter(seconds, 0, function)

    def cancel(self) -> None:
        with contextlib.suppress(ValueError):  # it was called already
            self._times.cancel(self._event)


class Loop:
    """One thread's, the main one's. wake() alone may be called by others. Takes SIGTERM and SIGINT over."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[int, Callable[[int], None]]] = {}
        self._waited, self._looked = 0.0, time.monotonic()
        self._times = sched.scheduler(self.monotonic)
        self._stopped = False
        self._woken: Callable[[], None] = lambda: None
        self._rests: Callable[[], None] = lambda: None
        self._pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.watch(self._pipe[0], READ, self._drain)
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # the pipe has its number

    def watch(self, file: "HasFileno | int", mask: int, ready: Callable[[int], None]) -> None:
        """Call ready(mask) whenever the file is; in place of what was said of it before."""
        fd = file if isinstance(file, int) else file.fileno()
        known = self._watched.get(fd)
        if known is None:
            self._epoll.register(fd, mask)
        elif known[0] != mask:
            self._epoll.modify(fd, mask)
        self._watched[fd] = mask, ready

    def forget(self, file: "HasFileno | int") -> None:
        """Before the file is closed."""
        fd = file if isinstance(file, int) else file.fileno()
        del self._watched[fd]
        self._epoll.unregister(fd)

    def later(self, seconds: float, function: Callable[[], None]) -> Timer:
        """Call it once, after that time. Each is a wakeup: not for what could be waited for."""
        return Timer(self._times, seconds, function)

    def monotonic(self) -> float:
        """Seconds as the timers count them. In a clone CLOCK_MONOTONIC may have jumped by the time that the snapshot
        lay: that is no time that anybody was given. So no step counts for more than a slice."""
        now = time.monotonic()
        self._waited += min(max(now - self._looked, 0.0), SLICE_SECONDS)
        self._looked = now
        return self._waited

    def on_wake(self, function: Callable[[], None]) -> None:
        self._woken = function

    def wake(self) -> None:
        """From any thread or signal handler: call on_wake()'s function in the loop's thread."""
        with contextlib.suppress(BlockingIOError):  # it is awake anyway
            os.write(self._pipe[1], b"\0")

    def before_sleep(self, function: Callable[[], None]) -> None:
        """Call it whenever all was done that there was to do."""
        self._rests = function

    def _drain(self, _: int) -> None:
        signals = os.read(self._pipe[0], 4096)
        if signals.strip(b"\0"):
            self._stopped = True
        self._woken()

    def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        while not self._stopped:
            pause = self._times.run(blocking=False)
            self._rests()
            for fd, mask in self._epoll.poll(None if pause is None else min(pause, SLICE_SECONDS)):
                if fd in self._watched:  # else forgotten by what was called before it
                    self._watched[fd][1](mask)
