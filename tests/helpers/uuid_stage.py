"""For scripts, by *: clones by the raw system call, each pid 1 of a namespace of its own: no at-fork handler runs, and
the pid stays the same."""

# ruff: noqa: F401
import ctypes
import os
import random
import sys
import threading
import uuid

from stage import bump

import snapsafe_rt

libc = ctypes.PyDLL(None, use_errno=True)
path = sys.argv[1]


def become_template():
    if libc.unshare(0x20000000) and libc.unshare(0x30000000):
        print("namespaces are forbidden")
        sys.exit()
    child = os.fork()
    if child:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)


def clone(body, flags=0x20000000):
    reader, writer = os.pipe()
    pid = libc.syscall({"x86_64": 56, "aarch64": 220}[os.uname().machine], flags | 17, 0, 0, 0, 0)
    if pid == 0:
        os.write(writer, body().encode())
        os._exit(0)
    assert pid > 0, "clone"
    os.close(writer)
    with os.fdopen(reader) as stream:
        result = stream.read()
    assert os.waitpid(pid, 0)[1] == 0
    assert result
    return result


def fork_each(children, count, draw):
    """What each of the forked children drew, as sets of ints."""
    import tempfile

    drawn = []
    for file in [tempfile.TemporaryFile() for _ in range(children)]:  # noqa: SIM115 - closed below
        if (pid := os.fork()) == 0:
            file.write(b"".join(draw().int.to_bytes(16, "big") for _ in range(count)))
            file.flush()
            os._exit(0)
        drawn.append((pid, file))
    for pid, file in drawn:
        assert os.waitpid(pid, 0)[1] == 0
        file.seek(0)
        data = file.read()
        assert len(data) == 16 * count
        file.close()
        yield [data[i : i + 16] for i in range(0, len(data), 16)]
