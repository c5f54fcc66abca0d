"""Freezes the programs of a cgroup over a snapshot, so that they run again only after the restore was published.

cgroup v2, Linux 5.2 and later (Documentation/admin-guide/cgroup-v2.rst, cgroup.freeze). The frozen cgroup is noted in a
file beside the socket: if this manager is killed, the next one thaws it.
"""

import contextlib
import os
import select
import time

STANDSTILL_SECONDS = 2.0  # for a process that is in a system call when it is frozen


class NotFrozen(Exception):
    """Why the programs cannot be frozen; they run."""


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
                path = os.path.join(folder, "cgroup.procs")
                with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
                    found.update(int(line) for line in file)  # fails if it is gone meanwhile, or of threads
        return found

    def freeze(self) -> None:
        """Returns when all are frozen. Raises NotFrozen, and then they run."""
        try:
            # First: a manager that is killed in between leaves no frozen cgroup that nobody knows of.
            os.pwrite(self._note, os.fsencode(self.folder), 0)
            _write(self.folder, b"1")
            self._wait()
        except (OSError, NotFrozen) as error:
            self.thaw()
            raise NotFrozen(str(error)) from None

    def thaw(self) -> None:
        """Raises OSError, but not for a cgroup that is gone."""
        thaw_left(self.folder, self._note)

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
    """The cgroup that an earlier manager froze and did not thaw, or ""."""
    return os.fsdecode(os.pread(note, 4096, 0))


def thaw_left(folder: str, note: int) -> None:
    """Thaw it. Raises as Freezer.thaw()."""
    with contextlib.suppress(FileNotFoundError):
        _write(folder, b"0")
    os.ftruncate(note, 0)


def _write(folder: str, text: bytes) -> None:
    with open(os.path.join(folder, "cgroup.freeze"), "r+b", buffering=0) as file:
        file.write(text)
