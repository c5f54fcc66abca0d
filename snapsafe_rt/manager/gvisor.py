"""gVisor's word on checkpoints, a file that programs of a sandbox have by an annotation (docs/platforms.md).

Opening it registers for the next checkpoint. When that is over it can be read (poll(2) says so) and tells what this
sandbox is then: "resume", the one that was checkpointed; "restore", a clone; or "error". It says the same ever after,
so it is opened again; what happens in between is not told. gVisor pkg/sentry/fsimpl/proc/checkpoint.go
"""

import os
import time
from collections.abc import Callable

from snapsafe_rt.manager.loop import READ, Loop


class Checkpoints:
    """Where there is no such file, nothing is watched, and that is no problem."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problem = ""
        self.count = time.time_ns()  # of restores, from a number on that no other manager began with
        self._fd = self._open() if os.path.exists(path) else -1
        self._follow: Callable[[], None] = lambda: None
        self._leave: Callable[[int], None] = lambda _: None

    @property
    def readable(self) -> bool:
        return self._fd >= 0

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            self.problem = f"{self.path} cannot be opened ({error.strerror})"
            return -1

    def watch(self, loop: Loop, restored: Callable[[], None], ended: Callable[[], None]) -> None:
        """Call restored() for each restore, ended() if it can be followed no more."""

        def ready(_: int) -> None:
            if self.read():
                restored()
            if not self.readable:
                ended()

        self._follow = lambda: loop.watch(self._fd, READ, ready)
        self._leave = loop.forget
        if self.readable:
            self._follow()

    def read(self) -> bool:
        """Read what is new, if it is. True if that is a restore, or may be one."""
        if not self.readable:
            return False
        fd = self._fd
        try:
            answer = os.read(fd, 64).strip()
        except BlockingIOError:
            return False
        except OSError:
            answer = b"restore"  # unknown counts as one
        self._fd = self._open()  # before all else: from now on the next one is told
        self._leave(fd)
        os.close(fd)
        if self.readable:
            self._follow()
        self.count += answer == b"restore"
        return answer == b"restore"
