"""Runs in a container: loads the application as it is, and clones the process that has it.

    python clones.py APP COUNT

Prints JSON: was this Python active before anything was imported, how the clones were made, what each drew.
The folder of this file also holds the package, for the clones; where the image has one, that is used.
"""

import json
import os
import runpy
import sys

room = sys.modules.get("snapsafe_rt.state")
active = room is not None and room.state.active

order = runpy.run_path(sys.argv[1])["order"]
COUNT = int(sys.argv[2])

sys.path.append(os.path.dirname(os.path.abspath(__file__)))
from snapsafe_rt.source.vmclock_file import FileSource  # noqa: E402

SOURCE = FileSource("/run/snapsafe/vmclock0")

try:
    import ssl
except ImportError:
    ssl = None


def draw() -> dict:
    drawn = order()
    if ssl:
        drawn["ssl.RAND_bytes()"] = ssl.RAND_bytes(8).hex()
    return drawn


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
