"""LIBRARY PATH ACTIVATED DRAWS MODULE NAME ARGUMENTS: how many stale values eight threads draw while the
generation moves."""

import importlib
import random
import sqlite3  # noqa: F401 - guarded too, when it is there
import ssl  # noqa: F401
import sys

from racing import Race

library, path, activated, draws, module, name, arguments = sys.argv[1:]
race = Race(library, path)
owner = importlib.import_module(module)
race.library.race_exchange(owner.Random if module == "_random" else owner, name)
import snapsafe_rt  # noqa: E402 - the method is exchanged before

if activated == "True":
    snapsafe_rt.activate(["vmclock:" + path])
draw = getattr(random._inst if module == "_random" else owner, name)
arguments = tuple(map(int, arguments.split()))
print(race.stale([lambda: race.library.race_hammer(draw, arguments, int(draws) // 8)] * 8))
