"""LIBRARY PATH ACTIVATED DRAWS HOW: how many stale values (race.c) are drawn from one generator of numpy while the
generation moves. HOW: "calls" of 20 values, by four threads; or "pointers", by one thread without the GIL."""

import sys

import numpy.random
from racing import Race

import snapsafe_rt

library, path, activated, draws, how = sys.argv[1:]
race = Race(library, path)
made = numpy.random.PCG64()
race.library.race_bitgen(made.capsule)
if activated == "True":
    snapsafe_rt.activate(["vmclock:" + path])
if how == "calls":
    draw = numpy.random.Generator(made).random
    work = [lambda: race.library.race_hammer(draw, (20,), int(draws) // 4 // 20)] * 4
else:
    work = [lambda: race.library.race_values(made.capsule, int(draws))]
print(race.stale(work))
