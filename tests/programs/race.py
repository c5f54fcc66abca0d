"""LIBRARY PATH ACTIVATED DRAWS MODULE NAME ARGUMENTS: how many values four threads draw while the
generation moves."""

import ctypes
import importlib
import mmap
import random
import sqlite3  # noqa: F401 - guarded too, when it is there
import ssl  # noqa: F401
import sys
import threading

library, path, activated, draws, module, name, arguments = sys.argv[1:]
race = ctypes.PyDLL(library)
for function in (race.race_exchange, race.race_start, race.race_stop, race.race_hammer):
    function.restype = ctypes.py_object
race.race_exchange.argtypes = race.race_start.argtypes = [ctypes.py_object] * 2
race.race_hammer.argtypes = [ctypes.py_object] * 3
with open(path, "r+b") as file:
    page = mmap.mmap(file.fileno(), 4096)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
owner = importlib.import_module(module)
race.race_exchange(owner.Random if module == "_random" else owner, name)
import snapsafe_rt  # noqa: E402 - the method is exchanged before

if activated == "True":
    snapsafe_rt.activate(["vmclock:" + path])
draw = getattr(random._inst if module == "_random" else owner, name)
arguments = tuple(map(int, arguments.split()))
race.race_start(address, 20000)
stale = []
threads = [
    threading.Thread(target=lambda: stale.append(race.race_hammer(draw, arguments, int(draws) // 4))) for _ in range(4)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
changes = race.race_stop()
assert changes > 10, changes
print(sum(stale))
