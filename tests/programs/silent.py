"""silent.py (page | lock) (silent | served): memory of this process is of a file system that does not answer.

A FUSE file system with one file, mounted in a mount namespace of its own: to be started by `unshare -m`, as root. Says
the ids of this process and of the server, without whom nobody waits any more; the server ends by itself in a while.
`page`: a status page leads there. `lock`: a child reads there, and this process changes its memory meanwhile: so who
reads its command line waits for the child. `served`: the server does answer.
"""

import ctypes
import mmap
import os
import select
import signal
import stat
import struct
import sys

what, how = sys.argv[1:]
SIZE, HELD_SECONDS = 1 << 16, 30
# Linux include/uapi/linux/fuse.h
LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE, FLUSH, INIT, INTERRUPT = 1, 2, 3, 14, 15, 18, 25, 26, 36
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p


def attributes(node):
    mode = stat.S_IFDIR | 0o755 if node == 1 else stat.S_IFREG | 0o644
    return struct.pack("<6Q10I", node, SIZE, SIZE // 512, *[0] * 6, mode, 1, 0, 0, 0, 4096, 0)


def serve(fuse):
    signal.alarm(HELD_SECONDS)
    while True:
        request = os.read(fuse, 1 << 18)
        _, operation, unique, node = struct.unpack_from("<IIQQ", request)
        error, answer = 0, b""
        if operation == INIT:
            answer = struct.pack("<4IHHI40x", 7, 31, 0, 0, 0, 0, 1 << 16)
        elif operation == LOOKUP:
            answer = struct.pack("<4QII", 2, 0, 3600, 3600, 0, 0) + attributes(2)
        elif operation == GETATTR:
            answer = struct.pack("<QII", 3600, 0, 0) + attributes(node)
        elif operation == OPEN:
            answer = struct.pack("<QII", 0, 0, 0)
        elif operation == READ:
            answer = bytes(struct.unpack_from("<I", request, 40 + 16)[0])
        elif operation not in (FLUSH, RELEASE):
            error = -38  # ENOSYS
        if operation in (FORGET, INTERRUPT) or (operation == READ and how == "silent"):
            continue
        os.write(fuse, struct.pack("<IiQ", 16 + len(answer), error, unique) + answer)


def called(result):
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
folder = b"/mnt"
called(libc.mount(b"silent", folder, b"fuse", 0, f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()))
server = os.fork()
if not server:
    for number in range(3):
        os.close(number)
    serve(fuse)
os.close(fuse)
file = os.open(folder + b"/file", os.O_RDONLY | os.O_CLOEXEC)
there = libc.mmap(None, SIZE, mmap.PROT_READ, mmap.MAP_PRIVATE, file, ctypes.c_long(0))
if what == "page":
    length = 32768
    memory = os.memfd_create("snapsafe")
    os.ftruncate(memory, length)
    page = mmap.mmap(memory, length, flags=mmap.MAP_PRIVATE)
    text = b"snapsafe\t9\t3\t1.0\t1\t\nrow\tos\tguarded\tx\t0\t0\n"
    header = struct.pack("<8s4IQ7QII", b"SNAPSAFE", 3, length, 0, len(text), os.getpid(), *[there] * 7, 88, 1)
    header += struct.pack("<Q6I", there, 0, 0, 0, 0, 0, 0) * 2 + struct.pack("<4Q", *[there] * 4)
    page[: len(header)] = header
    page[256 : 256 + len(text)] = text
print(os.getpid(), server, flush=True)
if what == "lock":
    parent = os.getpid()
    if not os.fork():
        for number in range(3):
            os.close(number)
        memory = os.open(f"/proc/{parent}/mem", os.O_RDONLY)
        try:
            os.pread(memory, 8, there)
        finally:
            os._exit(0)
    while not select.select([0], [], [], 0.001)[0]:
        mmap.mmap(-1, mmap.PAGESIZE).close()
sys.stdin.read()
os.kill(server, signal.SIGKILL)
