"""Writes file sources: pages in the layout of cython/source.h that programs map and watch.

Readers are other processes, at any moment: a file appears whole (temporary file, then link), its generation moves under
the seqlock, and each change ends with write(2), for inotify reports no stores to a mapping.
"""

import contextlib
import errno
import fcntl
import os
import struct
import time
from typing import NamedTuple

MAGIC = 0x4B4C4356
LENGTH = 4096
LAYOUT = 112
HAS_GENERATION = 1 << 8
OFF_SEQ, OFF_FLAGS, OFF_GENERATION, OFF_RESEEDED, OFF_SYNCHRONOUS = 0x0C, 0x18, 0x68, 0x800, 0x808
# The manager's own: 1 if one writes this file; what told it of a restore (Seen.signaller), and its last number.
OFF_MANAGED, OFF_SIGNALLER, OFF_SEEN = 0x80C, 0x810, 0x818
LOCK_SECONDS = 0.25
ENTROPY_LEAST, ENTROPY_MOST = 16, 512  # bytes that a host gives, by which "reseeded" is claimed
_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of x86-64 and arm64: type, whence, start, length, pid

# A mapping there may not follow what another process writes (overlayfs copies up), so programs refuse such a file.
UNRELIABLE = ("overlay", "nfs", "cifs", "smb", "9p", "ceph", "fuse", "virtiofs")


class Seen(NamedTuple):
    """What a manager had seen when it published. `signaller` tells one device, file or log from another."""

    signaller: int
    value: int


class NotASource(OSError):
    """The path holds something that this module must not write to."""


def filesystem(path: str) -> str:
    """The type of the filesystem that `path` (or its nearest existing folder) lies on; "" where nobody says."""
    folder = os.path.abspath(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    device = os.stat(folder).st_dev
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields, _, kind = line.partition(" - ")
                if fields.split()[2] == f"{os.major(device)}:{os.minor(device)}":
                    return kind.split()[0]
    except OSError:
        pass
    return ""


def _check_filesystem(path: str) -> None:
    kind = filesystem(path)
    if kind.startswith(UNRELIABLE):
        raise NotASource(
            errno.EOPNOTSUPP, f"is on {kind}, where programs may not see it change; use a tmpfs, such as /run", path
        )


def create(
    path: str,
    *,
    synchronous: bool = False,
    generation: "int | None" = None,
    reseeded: bool = False,
    seen: "Seen | None" = None,
) -> None:
    """Make a file source. FileExistsError where something is there already: it is never overwritten.

    `synchronous` claims that whoever writes it keeps the processes frozen until it has written;
    `reseeded`, `seen`: as for publish().
    """
    _check_filesystem(path)
    page = bytearray(LENGTH)
    struct.pack_into("<IIH", page, 0, MAGIC, LENGTH, 1)
    page[0x0A] = 0xFF  # counter_id: no time in this page
    struct.pack_into("<Q", page, OFF_FLAGS, HAS_GENERATION)
    first = time.time_ns() if generation is None else generation
    struct.pack_into("<Q", page, OFF_GENERATION, first)
    struct.pack_into("<Q", page, OFF_RESEEDED, first if reseeded else 0)
    struct.pack_into("<I", page, OFF_SYNCHRONOUS, synchronous)
    if seen is not None:
        struct.pack_into("<QQ", page, OFF_SIGNALLER, *seen)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.{time.monotonic_ns()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(fd, 0o644)  # whatever the umask: everybody reads it, only its owner writes it
        os.write(fd, page)
        os.link(temporary, path)
    finally:
        os.close(fd)
        os.unlink(temporary)


def publish(
    path: str,
    *,
    generation: "int | None" = None,
    reseeded: bool = False,
    synchronous: "bool | None" = None,
    seen: "Seen | None" = None,
) -> "tuple[int, int]":
    """Move the generation. Returns (old, new).

    `generation`: that value instead of max(old + 1, now); nothing is written where it stands there already.
    `reseeded`: claim that the kernel's generator was reseeded for the new generation, which must be true by now.
    `seen`: what the manager had seen before that.
    """
    # Not blocking: a FIFO opened for writing waits for its reader.
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _check(fd, path)
        if generation is not None and not reseeded and synchronous is None and _settled(fd) == generation:
            return generation, generation  # as a thousand clones find it
        _check_filesystem(path)
        _lock(fd)
        old = _read(fd, OFF_GENERATION, 8)
        # Not old + 1: a process image dumped elsewhere under the same old number must see a change as well.
        new = max(old + 1, time.time_ns()) if generation is None else generation
        if new >> 64:
            new = time.time_ns()
        # Even if an earlier writer died half-way and left the count odd.
        odd = (_read(fd, OFF_SEQ, 4) + 1 | 1) & 0xFFFFFFFF
        _write(fd, OFF_SEQ, 4, odd)
        if synchronous is not None:
            _write(fd, OFF_SYNCHRONOUS, 4, synchronous)
        if reseeded:
            _write(fd, OFF_RESEEDED, 8, new)  # before the generation that it speaks of
        _write(fd, OFF_GENERATION, 8, new)
        if seen is not None:  # last: until then it vouches for an older number only (ss_file_attests in source.h)
            _write(fd, OFF_SIGNALLER, 8, 0)
            _write(fd, OFF_SEEN, 8, seen.value)
            _write(fd, OFF_SIGNALLER, 8, seen.signaller)
        _write(fd, OFF_SEQ, 4, (odd + 1) & 0xFFFFFFFF)
        return old, new
    finally:
        os.close(fd)


class WriterLock:
    """Locks by which programs see whether the manager of a file runs (ss_source_writer_gone): they go with its process,
    however that ends. OFD locks (fcntl(2)), for others of this process open and close the file.

    One is on the word OFF_MANAGED. Whoever may read the file can keep that from being had, with a read lock. So there
    is one on a file of its own, `lock`, which nobody else has open yet. `synchronous`: that claim is made for as long.
    Raises OSError: EAGAIN where another manager keeps the file.
    """

    def __init__(self, path: str, lock: str, *, synchronous: bool = False) -> None:
        self.alone = False
        """Does no reader stand in the way of the first lock?"""
        self._path = lock
        self._lock = -1
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            _check(self._fd, path)
            self._refuse_second()
            with contextlib.suppress(PermissionError, FileNotFoundError):  # the folder is not ours: the first has to do
                self._lock = self._locked_file()
            self.take()
            if not self.alone and self._lock < 0:
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)
            _write(self._fd, OFF_MANAGED, 4, 1)
            _write(self._fd, OFF_SYNCHRONOUS, 4, synchronous)
        except OSError:
            self._release()
            raise

    def _refuse_second(self) -> None:
        """Raises OSError where somebody has a lock that takes the right to write."""
        with contextlib.suppress(FileNotFoundError), open(self._path, "rb") as file:
            _refuse_locked(file.fileno(), self._path)
        _refuse_locked(self._fd, self._path)

    def _locked_file(self) -> int:
        """Made anew, and locked before it has its name."""
        temporary = f"{self._path}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _set_lock(fd)
            os.fchmod(fd, 0o644)  # whatever the umask: who reads it can see that it is locked
            os.rename(temporary, self._path)
        except OSError:
            os.close(fd)
            raise
        return fd

    def take(self) -> None:
        """The first lock, if no reader stands in its way any more."""
        if not self.alone:
            with contextlib.suppress(BlockingIOError, PermissionError):
                _set_lock(self._fd)
                self.alone = True

    def is_of(self, path: str) -> bool:
        """Is it still this file that the path leads to?"""
        try:
            now = os.stat(path)
        except OSError:
            return False
        own = os.fstat(self._fd)
        return (now.st_dev, now.st_ino) == (own.st_dev, own.st_ino)

    def close(self) -> None:
        try:
            _write(self._fd, OFF_SYNCHRONOUS, 4, 0)
        finally:
            self._release()

    def _release(self) -> None:
        os.close(self._fd)
        if self._lock >= 0:
            os.close(self._lock)


def _set_lock(fd: int) -> None:
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, 0, OFF_MANAGED, 4, 0))


def _refuse_locked(fd: int, path: str) -> None:
    asked = _FLOCK.pack(fcntl.F_RDLCK, 0, OFF_MANAGED, 4, 0)  # what a read lock would meet: write locks alone
    if _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)


def last_seen(path: str) -> "Seen | None":
    """What the manager of that file had seen last; None if there was none. Raises OSError, NotASource."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _check(fd, path)
        seen = Seen(_read(fd, OFF_SIGNALLER, 8), _read(fd, OFF_SEEN, 8))
        return seen if seen.signaller else None
    finally:
        os.close(fd)


def _check(fd: int, path: str) -> None:
    mode = os.fstat(fd).st_mode
    if mode & 0o170000 == 0o020000:
        raise NotASource(errno.EINVAL, "is a device: its hypervisor moves it, not this", path)
    if mode & 0o170000 != 0o100000:
        raise NotASource(errno.EINVAL, "is not a regular file", path)
    head = os.pread(fd, LAYOUT, 0)
    if len(head) < LAYOUT or struct.unpack_from("<I", head)[0] != MAGIC:
        raise NotASource(errno.EINVAL, "is not in VMClock's layout, so it is left as it is", path)
    if struct.unpack_from("<H", head, 8)[0] != 1:
        raise NotASource(errno.EINVAL, "is in another version of VMClock's layout than 1", path)
    if not struct.unpack_from("<Q", head, OFF_FLAGS)[0] & HAS_GENERATION:
        raise NotASource(errno.EINVAL, "has no generation (flag bit 8 is clear)", path)


def _settled(fd: int) -> "int | None":
    return None if _read(fd, OFF_SEQ, 4) & 1 else _read(fd, OFF_GENERATION, 8)


def _lock(fd: int) -> None:
    """Keeps writers apart, but waits a moment only: whoever may read the file could hold the lock for ever, and a
    restore that is told untidily is better than one that is not told."""
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > until:
                return None
            time.sleep(0.002)


def _read(fd: int, offset: int, size: int) -> int:
    return int.from_bytes(os.pread(fd, size, offset), "little")


def _write(fd: int, offset: int, size: int, value: int) -> None:
    os.pwrite(fd, int(value).to_bytes(size, "little"), offset)


class FileSource:
    """A file source by its path: what the tests, the demo and `snapsafe trigger` hold."""

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def uri(self) -> str:
        """As SNAPSAFE_SOURCES and activate(sources=...) take it."""
        return f"vmclock:{self.path}"

    @property
    def generation(self) -> int:
        with open(self.path, "rb", buffering=0) as file:
            return _read(file.fileno(), OFF_GENERATION, 8)

    def create(self, *, synchronous: bool = False) -> "FileSource":
        create(self.path, synchronous=synchronous)
        return self

    def bump(self, generation: "int | None" = None, *, reseeded: bool = False) -> int:
        """Move the generation, as a restore does. Returns the new one."""
        return publish(self.path, generation=generation, reseeded=reseeded)[1]


def private_folders() -> "list[str]":
    """Folders, best first, that a user may write to and where a file source works: for tests and the demo."""
    import tempfile

    folders = [os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm", f"/run/user/{os.getuid()}", tempfile.gettempdir()]
    return [
        folder
        for folder in folders
        if folder
        and os.path.isdir(folder)
        and os.access(folder, os.W_OK | os.X_OK)
        and not filesystem(folder).startswith(UNRELIABLE)
    ]
