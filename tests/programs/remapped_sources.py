"""PATH: the source as forty hosts have it, one after the other."""

import ctypes
import os
import sys

import snapsafe_rt
from snapsafe_rt.source import probe, vmclock_file

path = sys.argv[1]
calls = []
snapsafe_rt.register_after_restore(calls.append, 1)
assert snapsafe_rt.check() == 0
with open("/proc/self/maps") as maps:
    [line] = [line for line in maps if line.rstrip().endswith(path)]
address = int(line.partition("-")[0], 16)
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
kept = []  # so that no inode is used again
for host in range(1, 41):
    kept.append(open(path))  # noqa: SIM115 - closed at the end
    os.unlink(path)
    vmclock_file.create(path)
    fd = os.open(path, os.O_RDONLY)
    assert libc.mmap(address, 4096, 1, 0x11, fd, 0) == address
    os.close(fd)
    probe.probe(now=True)
    assert snapsafe_rt.check() == host == len(calls), (host, calls)
assert snapsafe_rt.status().source is not None
for file in kept:
    file.close()
