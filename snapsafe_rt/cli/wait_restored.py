"""snapsafe wait-restored: sleeps until this machine's source changes; for shell scripts and entry points."""

import argparse
import contextlib
import ctypes
import os
import select
import time

from snapsafe_rt import settings
from snapsafe_rt.cli.output import seconds
from snapsafe_rt.core import MISSING, native
from snapsafe_rt.errors import CONFIGURATION, FAILED, OK, Failure
from snapsafe_rt.restore.watcher import (
    ATTRIB,
    CLOSE_WRITE,
    CREATE,
    DELETE_SELF,
    MODIFY,
    MOVE_SELF,
    MOVED_TO,
    ONLYDIR,
)
from snapsafe_rt.source import selection

BACKSTOP_SECONDS = 1.0  # inotify sees no stores to a mapping (inotify(7)); a writer should end with write(2)
NO_POLL_SECONDS = 0.1  # for devices whose driver has no poll: vmclock before Linux 7.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--timeout", type=seconds, metavar="SECONDS", help="give up after that; 0 looks once")
    parser.add_argument(
        "--since",
        type=generation,
        metavar="GENERATION",
        help="the generation that is known: return at once if the source shows another one",
    )
    parser.epilog = (
        "Prints the old generation and the new one: OLD -> NEW. Exit code 1 if the time is over, 78 if there is no\n"
        "source that could be watched."
    )


def generation(text: str) -> int:
    """Of --since; argparse names it in what it says. Raises ValueError."""
    value = int(text, 0)
    if not 0 <= value < 1 << 64:
        raise ValueError
    return value


def main(options: argparse.Namespace) -> int:
    until = None if options.timeout is None else time.monotonic() + options.timeout
    candidate = _source()
    first = _read(candidate)
    known: int | None = options.since if options.since is not None else first
    with contextlib.closing(
        _Device(candidate.path) if candidate.rank != selection.FILE else _File(candidate.path)
    ) as watch:
        while True:
            # In this order: what changes after it was read wakes the wait.
            watch.arm()
            now = _read(candidate)
            if now is not None and known is None:
                known = now
            if now is not None and now != known:
                print(f"{known} -> {now}", flush=True)
                return OK
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                state = f"still shows {now}" if now is not None else f"cannot be read: it {candidate.reason}"
                raise Failure(f"nothing was restored within {options.timeout:g} s: {candidate.name} {state}", FAILED)
            watch.wait(left)


def _source() -> selection.Candidate:
    if native is None:
        raise Failure(f"nothing can be watched: {MISSING}", CONFIGURATION)
    candidates, problems = selection.parse(settings.Settings().sources)
    best = selection.best(candidates)
    if best is None:
        reasons = [*problems, *(f"{candidate.name} {candidate.why_not}" for candidate in candidates)]
        raise Failure(f"no source can be watched: {'; '.join(reasons)}", CONFIGURATION)
    return best


def _read(candidate: selection.Candidate) -> int | None:
    """The generation at the candidate's path now; None, and the candidate's reason, where there is no source."""
    if candidate.rank is None or candidate.replaced() or native.describe_source(candidate.slot).lost:
        candidate.examine()
    if candidate.rank is None:
        return None
    state = native.describe_source(candidate.slot)
    return None if state.lost else state.value


class _File:
    """Wakes when the file changes, or another takes its place. A timer alone where there is no inotify left (the 129th
    instance of a user)."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)

    def arm(self) -> None:
        """Again each time: the path may lead to another file."""
        if self._fd >= 0:
            own = MODIFY | ATTRIB | CLOSE_WRITE | DELETE_SELF | MOVE_SELF
            self._add(os.path.dirname(self._path), CREATE | MOVED_TO | ONLYDIR)
            self._add(self._path, own)

    def _add(self, path: str, mask: int) -> None:
        self._libc.inotify_add_watch(self._fd, ctypes.c_char_p(os.fsencode(path)), ctypes.c_uint32(mask))

    def wait(self, seconds: float | None) -> None:
        pause = BACKSTOP_SECONDS if seconds is None else min(seconds, BACKSTOP_SECONDS)
        if self._fd < 0:
            time.sleep(pause)
            return
        select.select([self._fd], [], [], pause)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, 1 << 16):
                pass

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


class _Device:
    """Wakes when the driver says so. One without poll(2) is always ready: that shows at the first wait."""

    def __init__(self, path: str) -> None:
        self._poll = select.poll()
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:  # somebody else opened it for us to map
            self._fd = -1
        else:
            self._poll.register(self._fd, select.POLLIN)
        self._ready_for_nothing = self._fd < 0

    def arm(self) -> None:
        """Reading takes note of the present generation: Linux drivers/ptp/ptp_vmclock.c."""
        with contextlib.suppress(OSError):
            os.read(self._fd, 4096)

    def wait(self, seconds: float | None) -> None:
        began = time.monotonic()
        if not self._ready_for_nothing:
            self._poll.poll(None if seconds is None else seconds * 1000)
            # It may have been the restore. If it was not, one pause costs nothing.
            self._ready_for_nothing = time.monotonic() - began < 0.001
            return
        time.sleep(NO_POLL_SECONDS if seconds is None else min(seconds, NO_POLL_SECONDS))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
