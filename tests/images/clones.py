"""Runs in a container: loads the application as it is, and clones the process that has it.

    python clones.py APP COUNT

Prints JSON: was this Python active before anything was imported, how the clones were made, what each drew.
The folder of this file also holds the package, for the clones; where the image has one, that is used.
"""

import json
import os
import runpy
import sys

core = sys.modules.get("snapsafe_rt._core")
active = core is not None and core.active()

order = runpy.run_path(sys.argv[1])["order"]
COUNT = int(sys.argv[2])

sys.path.append(os.path.dirname(os.path.abspath(__file__)))
from snapsafe_rt.cli import demo_surfaces  # noqa: E402
from snapsafe_rt.source.vmclock_file import FileSource  # noqa: E402

SOURCE = FileSource("/run/snapsafe/vmclock0")
# Beside the application's own; none where this Python has no ssl.
SURFACES = [one for one in demo_surfaces.TABLE if one.name == "ssl"]
draws = demo_surfaces.prepare(SURFACES)


def draw() -> dict:
    return order() | {one.words: str(draws[one.name]()) for one in SURFACES if one.name in draws}


def forked() -> list[dict]:
    """For a Python without ctypes. A fork renews `random` itself and changes the pid, so that less can repeat."""
    made = []
    generation = SOURCE.generation + 1
    for _ in range(COUNT):
        reading, writing = os.pipe()
        if os.fork() == 0:
            SOURCE.bump(generation)
            os.write(writing, json.dumps(draw()).encode())
            os._exit(0)
        os.close(writing)
        with open(reading, encoding="utf-8") as pipe:
            made.append(json.load(pipe))
        os.wait()
    return made


try:
    import ctypes  # noqa: F401
except ImportError:
    way = "fork"
    drawn = forked()
else:
    from snapsafe_rt.testing.clones import run_clones

    clones = run_clones(COUNT, lambda number: json.dumps(draw()).encode(), prepare=draw, source=SOURCE)
    way, drawn = clones.isolation, [json.loads(clone) for clone in clones]
print(json.dumps({"active": active, "way": way, "python": sys.version.split()[0], "drawn": drawn}))
