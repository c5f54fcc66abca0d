"""gVisor's file that tells of checkpoints; an annotation puts it into a sandbox (docs/platforms.md).

An open file is registered for the next checkpoint. After that it is readable and says what this sandbox is: "resume",
the one that was checkpointed; "restore", a clone; or "error". It says the same ever after, so it has to be opened
again, and a checkpoint between the two is not noticed. gVisor pkg/sentry/fsimpl/proc/checkpoint.go
"""

import os
import time
from collections.abc import Callable

from snapsafe_rt.manager.loop import READ, Loop


class Checkpoints:
    """Where there is no such file this watches nothing, and has no problem."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problem = ""
        self.count = time.time_ns()  # of restores; begins with a number that no other manager has begun with
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
        """Call restored() for each restore, ended() if the file cannot be opened again."""

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
        """Read it if there is news. True if that is a restore, or may be one."""
        if not self.readable:
            return False
        fd = self._fd
        try:
            answer = os.read(fd, 64).strip()
        except BlockingIOError:
            return False
        except OSError:
            answer = b"restore"  # unknown counts as a restore
        self._fd = self._open()  # before all else: from now on the next checkpoint is noticed
        self._leave(fd)
        os.close(fd)
        if self.readable:
            self._follow()
        self.count += answer == b"restore"
        return answer == b"restore"
