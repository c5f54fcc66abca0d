"""The program that the demo clones: an ordinary one, that draws its values as any other would.

Run by snapsafe_rt.cli.demo in an interpreter of its own, once plain and once as `snapsafe run` starts it. Of
snapsafe_rt it uses the harness that copies it, and tells at its end whether it was protected. Prints lines of
JSON: how far it is, then what its clones drew.
"""

import json
import sys
import time
from typing import Any

import snapsafe_rt
from snapsafe_rt.cli import demo_surfaces
from snapsafe_rt.source.vmclock_file import FileSource
from snapsafe_rt.testing.clones import die_with_parent, run_clones


def first_of(number: int, count: int, kinds: int) -> int:
    """Which surface clone `number` begins with. Each is the first in some clones, so that the renewal which one causes
    cannot hide that another lacks its own; and at least two clones begin alike, so that they can repeat each other."""
    return min(number // 2, count // 2 - 1) % kinds


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def main(count: int, path: str) -> None:
    die_with_parent()
    found: dict[str, demo_surfaces.Draw] = {}
    told = 0.0

    def prepare() -> None:
        found.update(demo_surfaces.prepare(demo_surfaces.TABLE))

    def body(number: int) -> bytes:
        keys = list(found)
        first = first_of(number, count, len(keys))
        return json.dumps({key: str(found[key]()) for key in keys[first:] + keys[:first]}).encode()

    def progress(done: int) -> None:
        nonlocal told
        if time.monotonic() - told > 0.05 or done == count:
            told = time.monotonic()
            tell(done=done)

    clones = run_clones(count, body, prepare=prepare, source=FileSource(path), progress=progress)
    drawn = [json.loads(clone) for clone in clones]
    status = snapsafe_rt.status()
    tell(
        surfaces={one.name: (one.words, one.kind) for one in demo_surfaces.TABLE if one.name in drawn[0]},
        drawn=drawn,
        active=status.active,
        why_not=status.why_not,
        isolation=clones.isolation,
        seconds=clones.seconds,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
