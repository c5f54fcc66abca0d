"""The program that the demo clones: an ordinary one, that draws its values as any other would, or the user's FILE.

Run by snapsafe_rt.cli.demo in an interpreter of its own, once plain and once as `snapsafe run` starts it. Of
snapsafe_rt it uses the harness that copies it, and tells at its end whether it was protected. Prints lines of
JSON: how far it is, then what its clones drew.
"""

import json
import os
import runpy
import sys
import time
from collections.abc import Callable
from typing import Any

import snapsafe_rt
from snapsafe_rt.cli import demo_surfaces
from snapsafe_rt.source.vmclock_file import FileSource
from snapsafe_rt.testing.clones import die_with_parent, run_clones

told_to = sys.stdout


def first_of(number: int, count: int, kinds: int) -> int:
    """Which surface clone `number` begins with. Each is the first in some clones, so that the renewal which one causes
    cannot hide that another lacks its own; and at least two clones begin alike, so that they can repeat each other."""
    return min(number // 2, count // 2 - 1) % kinds


def tell(**what: Any) -> None:
    print(json.dumps(what), file=told_to, flush=True)


def progress_of(count: int) -> Callable[[int], None]:
    told = 0.0

    def progress(done: int) -> None:
        nonlocal told
        if time.monotonic() - told > 0.05 or done == count:
            told = time.monotonic()
            tell(done=done)

    return progress


def of_file(count: int, file: str, folder: str) -> None:
    """Clones of the program in that file: it is run, as a program that has begun before its snapshot, and draw() is
    called, then in each clone once more."""
    # Not for the demo's own program, which is an ordinary one: it loads much.
    from snapsafe_rt.testing import safe
    from snapsafe_rt.testing.alike import Unfit, by_common_names

    os.chdir(folder)
    sys.path.insert(0, os.path.dirname(file))
    sys.argv[:] = [file]
    found: dict[str, Any] = {}

    def load() -> None:
        found.update(runpy.run_path(file, run_name="__snapsafe__"))
        if not callable(found.get("draw")):
            raise Unfit(f"{file}: has no function draw(), which returns what must differ in each clone")
        safe.call(found["draw"])

    try:
        answers = safe.call_in_clones(
            count,
            lambda: safe.call(safe.restored(found["draw"])),
            before=load,
            take=safe.apart,
            progress=progress_of(count),
        )
    except safe.NotMade as error:
        tell(failed=str(error))
        return
    if answers.raised is not None:
        tell(failed=answers.raised.told)
        return
    drawn: list[dict[str, list[str]]] = []
    for leaves in by_common_names([one.value for one in answers]):
        drawn.append({})
        for leaf in leaves:
            drawn[-1].setdefault(leaf.name or "returned", []).append(leaf.digest.hex())
    names = {name: (f"draw(){name}" if name != "returned" else "draw()", "program") for one in drawn for name in one}
    finish(names, drawn, answers.isolation, answers.seconds)


def finish(
    surfaces: dict[str, tuple[str, str]], drawn: list[dict[str, list[str]]], isolation: str, seconds: float
) -> None:
    status = snapsafe_rt.status()
    tell(
        surfaces=surfaces,
        drawn=drawn,
        active=status.active,
        why_not=status.why_not,
        isolation=isolation,
        seconds=seconds,
    )


def main(count: int, path: str) -> None:
    found: dict[str, demo_surfaces.Draw] = {}

    def prepare() -> None:
        found.update(demo_surfaces.prepare(demo_surfaces.TABLE))

    def body(number: int) -> bytes:
        keys = list(found)
        first = first_of(number, count, len(keys))
        return json.dumps({key: [str(found[key]())] for key in keys[first:] + keys[:first]}).encode()

    clones = run_clones(count, body, prepare=prepare, source=FileSource(path), progress=progress_of(count))
    drawn = [json.loads(clone) for clone in clones]
    surfaces = {one.name: (one.words, one.kind) for one in demo_surfaces.TABLE if one.name in drawn[0]}
    finish(surfaces, drawn, clones.isolation, clones.seconds)


if __name__ == "__main__":
    die_with_parent()
    told_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the program prints
    (of_file if len(sys.argv) > 3 else main)(int(sys.argv[1]), *sys.argv[2:])
