"""Stops the programs of a cgroup over a snapshot, so that they run again only after they were told of the restore.

cgroup v2, Linux 5.2 and later (Documentation/admin-guide/cgroup-v2.rst, cgroup.freeze). Whom we stopped is noted beside
the socket: after a manager that was killed the next one lets them go.
"""

import contextlib
import os
import select
import time

STANDSTILL_SECONDS = 2.0  # for the last of them to come out of the kernel


class NotFrozen(Exception):
    """The programs cannot be stopped; says why. They run on."""


class Freezer:
    """`folder`: of the cgroup; `note`: an open file that nobody else writes. Raises NotFrozen if this is no cgroup v2
    that can be frozen, or if the manager itself is in it."""

    def __init__(self, folder: str, note: int) -> None:
        self.folder = os.path.realpath(folder)
        self._note = note
        try:
            with open(os.path.join(self.folder, "cgroup.freeze"), "r+b", buffering=0):
                pass
        except OSError as error:
            raise NotFrozen(f"{folder} is no cgroup v2 that may be frozen ({error.strerror})") from None
        if os.getpid() in self._processes():
            raise NotFrozen(f"{folder} has this manager in it: who would let it go?")

    def _processes(self) -> set[int]:
        found: set[int] = set()
        for folder, _, files in os.walk(self.folder):
            if "cgroup.procs" in files:
                try:
                    with open(os.path.join(folder, "cgroup.procs"), encoding="ascii") as file:
                        found.update(int(line) for line in file)
                except OSError:
                    pass  # gone meanwhile, or of threads
        return found

    def freeze(self) -> None:
        """Returns when they stand still. Raises NotFrozen, and they run."""
        try:
            os.pwrite(self._note, os.fsencode(self.folder), 0)  # before: who is killed in between has not lost them
            _write(self.folder, b"1")
            self._wait()
        except (OSError, NotFrozen) as error:
            self.thaw()
            raise NotFrozen(str(error)) from None

    def thaw(self) -> None:
        """Raises OSError."""
        _write(self.folder, b"0")
        os.ftruncate(self._note, 0)

    def _wait(self) -> None:
        until = time.monotonic() + STANDSTILL_SECONDS
        with open(os.path.join(self.folder, "cgroup.events"), "rb", buffering=0) as file:
            waiting = select.poll()
            waiting.register(file, select.POLLPRI)
            while b"frozen 1" not in os.pread(file.fileno(), 4096, 0):
                left = until - time.monotonic()
                if left <= 0:
                    raise NotFrozen(f"they did not stand still within {STANDSTILL_SECONDS:g} s")
                waiting.poll(left * 1000)


def left_frozen(note: int) -> str:
    """The cgroup that an earlier manager stopped and did not let go; "" if none."""
    return os.fsdecode(os.pread(note, 4096, 0))


def thaw_left(folder: str, note: int) -> None:
    """Raises OSError, but for a cgroup that is gone."""
    with contextlib.suppress(FileNotFoundError):
        _write(folder, b"0")
    os.ftruncate(note, 0)


def _write(folder: str, text: bytes) -> None:
    with open(os.path.join(folder, "cgroup.freeze"), "r+b", buffering=0) as file:
        file.write(text)
