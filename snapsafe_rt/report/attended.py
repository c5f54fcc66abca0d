"""Is the file that another process watches still written? Asked of the kernel, not of that process."""

import contextlib
import os
import stat

from snapsafe_rt.core import native
from snapsafe_rt.guards import scan
from snapsafe_rt.report import procfs
from snapsafe_rt.source import selection, vmclock_file


def attended(
    pid: int, lines: "list[scan.Line]", memory: procfs.Memory, name: str, device: bool, page: int
) -> tuple[str, str | None]:
    """(why nobody writes what is mapped, or "", why that cannot be told: "" where it can, None without a manager).

    The path is that process's word. Nothing is opened there but the very file of which the page is, which that
    process could open.
    """
    file = procfs.backing(pid, lines, page)
    if file is None:  # mapped since the lines were read, perhaps
        with contextlib.suppress(procfs.Gone, procfs.NotPermitted):
            file = procfs.backing(pid, scan.lines_of(procfs.read_maps(pid)), page)
    if file is None:
        return "is not what its record says that it has mapped", ""
    path = name.partition(":")[2]
    at = f"/proc/{pid}/root{path}"
    fd, there = _look_at(at, file)
    if not there and file.path == path:  # it sees another root, or may not look there any more
        at = path
        fd, there = _look_at(at, file)
    try:
        if not file.named or there is False:
            return "was replaced or removed: what is watched is not what is written", ""
        managed = not device and memory.number(page + vmclock_file.OFF_MANAGED, 4) == 1
        if device or not managed:
            return "", "" if there else "cannot be looked at from here"
        lock, _ = _look_at(at + selection.LOCK, None)
        try:
            known = fd >= 0 and native is not None
            deserted = native.writer_gone(f"/proc/self/fd/{fd}", f"/proc/self/fd/{lock}") if known else None
        finally:
            if lock >= 0:
                os.close(lock)
        if deserted is None:
            return "", "may have lost its manager, which cannot be seen from here"
        return "", None if deserted else ""
    finally:
        if fd >= 0:
            os.close(fd)


def _look_at(path: str, file: "procfs.Backing | None") -> tuple[int, bool | None]:
    """(a descriptor by which nothing is opened yet, is it `file`): -1 where it is not, or no regular file; None where
    that cannot be seen."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        return -1, False if isinstance(error, FileNotFoundError | NotADirectoryError) else None
    found = os.fstat(fd)
    same = file is None or (found.st_dev, found.st_ino) in file.ids
    if not same or not stat.S_ISREG(found.st_mode):
        os.close(fd)
        fd = -1
    return fd, same
