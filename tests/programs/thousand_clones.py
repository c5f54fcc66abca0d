"""PATH COUNT ROTATED: COUNT clones of one template draw all of the table. Prints JSON: was the pid the template's, and
what each drew. ROTATED: each surface is the first to be drawn in some clones."""

import json
import sys

import surfaces
from drawing import PLACES

from snapsafe_rt.source.vmclock_file import FileSource
from snapsafe_rt.testing.clones import run_clones

source, count, rotated = FileSource(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"
draws = {}
names = []


def prepare():
    found = [one for one in surfaces.TABLE if not one.library and one.kind != "machine"]
    draws.update(surfaces.prepare(found))
    names.extend(sorted(draws))
    for name in ("gauss", "instance_gauss", "system_gauss"):  # with a second value pending
        assert draws[name].func.__self__.gauss_next is not None, name


def body(number):
    first = number % len(names) if rotated else 0
    order = names[first:] + names[:first]
    place = list(PLACES)[(number // len(names) if rotated else number) % 3]
    return PLACES[place](lambda: json.dumps({name: str(draws[name]()) for name in order}).encode())


clones = run_clones(count, body, prepare=prepare, source=source)
print(json.dumps([clones.same_pid, [json.loads(clone) for clone in clones]]))
