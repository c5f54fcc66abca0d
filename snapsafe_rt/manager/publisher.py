"""The file that tells programs of a restore, and what it says of the kernel's generator."""

import contextlib
import errno
import os

from snapsafe_rt.core import native
from snapsafe_rt.source import selection, vmclock_file


class Publisher:
    """Writes the file. Where that fails, `problem` says why, and the next call tries again."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.synchronous = False
        """Are the programs stopped over a snapshot until the file is written?"""
        self.problem = ""
        self.locked_out = ""
        """Why programs take this manager for absent, or ""."""
        self.reseeded = False
        self.generation: int | None = None
        self._writer_lock: vmclock_file.WriterLock | None = None

    def knows(self, seen: vmclock_file.Seen) -> bool:
        """Was the file written for this very reading of the detectors? Where it cannot be read: no."""
        try:
            if vmclock_file.last_seen(self.path) != seen:
                return False
            self.generation = vmclock_file.FileSource(self.path).generation
        except OSError:
            return False
        return True

    def write(self, seen: vmclock_file.Seen, *, reseeded: bool, known: bool = False) -> None:
        """Write a new generation, or the same if it was published already (`known`). Makes the file."""
        self.reseeded = reseeded
        self.problem = ""
        try:
            self.generation = vmclock_file.publish(
                self.path,
                generation=self.generation if known else None,
                reseeded=reseeded,
                synchronous=self.synchronous,
                seen=seen,
            )[1]
        except FileNotFoundError:
            self._create(seen, reseeded)
        except OSError as error:
            self.problem = _sentence(self.path, error)

    def lock(self) -> bool:
        """Hold the writer lock, by which programs see that a manager runs, if the file is there. False where it is to
        be tried again after a while."""
        self.locked_out = ""
        if self._writer_lock is None or not self._writer_lock.is_of(self.path):
            self.unlock()
            try:
                self._writer_lock = vmclock_file.WriterLock(
                    self.path, self.path + selection.LOCK, synchronous=self.synchronous
                )
            except FileNotFoundError:
                return True
            except OSError as error:
                taken = error.errno in (errno.EAGAIN, errno.EACCES)
                reason = "is locked by another process: is another manager keeping it?" if taken else None
                self.locked_out = f"{self.path} {reason}" if reason else _sentence(self.path, error)
                return False
        self._writer_lock.take()
        return self._writer_lock.alone

    def unlock(self) -> None:
        if self._writer_lock is not None:
            self._writer_lock.close()
            self._writer_lock = None

    def _create(self, seen: vmclock_file.Seen, reseeded: bool) -> None:
        # A program that finds the new file counts that as a restore. So it needs no second generation for this one.
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
            vmclock_file.create(self.path, synchronous=self.synchronous, reseeded=reseeded, seen=seen)
            self.generation = vmclock_file.FileSource(self.path).generation
        except OSError as error:
            self.problem = _sentence(self.path, error)


def reseed(seed: bytes) -> bool:
    """Feed the kernel with the host's bytes, and make it reseed. False where that is not permitted."""
    with contextlib.suppress(OSError):
        native.reseed_kernel(seed, 8 * len(seed))
        return True
    return False


def _sentence(path: str, error: OSError) -> str:
    return f"{error.filename or path}: {error.strerror}"
