"""LIBRARY PATH ACTIVATED DRAWS HOW: how many stale values (race.c) are drawn from one generator of numpy while the
generation moves. HOW: "calls" of 20 values, by four threads; or "pointers", by one thread without the GIL."""

import ctypes
import mmap
import sys
import threading

import numpy.random

import snapsafe_rt

library, path, activated, draws, how = sys.argv[1:]
race = ctypes.PyDLL(library)
for function in (race.race_bitgen, race.race_start, race.race_stop, race.race_hammer, race.race_values):
    function.restype = ctypes.py_object
race.race_bitgen.argtypes = [ctypes.py_object]
race.race_start.argtypes = race.race_values.argtypes = [ctypes.py_object] * 2
race.race_hammer.argtypes = [ctypes.py_object] * 3
with open(path, "r+b") as file:
    page = mmap.mmap(file.fileno(), 4096)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
made = numpy.random.PCG64()
race.race_bitgen(made.capsule)
if activated == "True":
    snapsafe_rt.activate(["vmclock:" + path])
if how == "calls":
    draw = numpy.random.Generator(made).random
    work = [lambda: race.race_hammer(draw, (20,), int(draws) // 4 // 20)] * 4
else:
    work = [lambda: race.race_values(made.capsule, int(draws))]
race.race_start(address, 20000)
stale = []
threads = [threading.Thread(target=lambda one=one: stale.append(one())) for one in work]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
changes = race.race_stop()
assert changes > 10, changes
print(sum(stale))
