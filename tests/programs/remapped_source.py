"""PATH GENERATION WAY: exchanges the page of the source, and tells which restores that was."""

import ctypes
import os
import sys

from stage import bump

import snapsafe_rt
from snapsafe_rt.source import probe, vmclock_file

path = sys.argv[1]
calls = []
snapsafe_rt.register_after_restore(calls.append, 1)
assert snapsafe_rt.check() == 0
with open("/proc/self/maps") as maps:
    [line] = [line for line in maps if line.rstrip().endswith(path)]
address = int(line.partition("-")[0], 16)

os.unlink(path)
vmclock_file.create(path, generation=int(sys.argv[2]))
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
fd = os.open(path, os.O_RDONLY)
PROT_READ, MAP_SHARED_FIXED = 1, 0x11
if sys.argv[3] == "remapped":
    assert libc.mmap(address, 4096, PROT_READ, MAP_SHARED_FIXED, fd, 0) == address
os.close(fd)

for _ in range(3):
    probe.probe(now=True)
    print(snapsafe_rt.check(), calls, snapsafe_rt.status().last_event["cause"])
bump()
print(snapsafe_rt.check(), calls)
