"""The process that is measured: worker.py SETUP STATEMENT OWN STAYS EXPECTED, then a number of calls a line on stdin.

Answers each with what one call took. EXPECTED is 1 where snapsafe_rt must be active, 0 where it must not.
"""

import itertools
import sys
from collections.abc import Callable
from typing import Any

from benchmarks import helpers

UNROLLED = 10  # so that the loop itself weighs little


def compiled(setup: str, statement: str, own: bool) -> tuple[Callable[[int], int], dict[str, Any]]:
    """measure(calls) -> what they took together."""
    names: dict[str, Any] = {name: getattr(helpers, name) for name in helpers.__all__}
    exec(setup, names)  # noqa: S102
    if own:
        body = "total = 0\n for _ in repeat(None, n):\n  total += (" + statement + ")\n return total"
    else:
        repeated = "\n  ".join([statement] * UNROLLED)
        body = f"begin = clock()\n for _ in repeat(None, n):\n  {repeated}\n return clock() - begin"
    # Locals, as a program's hot loop has them.
    given = "".join(f" {name} = names[{name!r}]\n" for name in names if name.isidentifier() and name[0] != "_")
    function = f"def make_measure(names, repeat):\n{given} def measure(n):\n  " + body.replace("\n", "\n ")
    exec(f"{function}\n return measure", names)  # noqa: S102
    return names["make_measure"](names, itertools.repeat), names


def main(setup: str, statement: str, own: str, stays: str, expected: str) -> None:
    active = helpers.activated()
    if active != (expected == "1"):
        sys.exit(f"snapsafe_rt is {'' if active else 'not '}active here")
    measure, names = compiled(setup, statement, own == "1")
    scale = 1 if own == "1" else UNROLLED
    for line in sys.stdin:
        calls = max(1, int(line) // scale)
        print(measure(calls) / (calls * scale), flush=True)
        if expected == "1" and not eval(stays, names):
            sys.exit(f"what was to be measured was not: {stays}")


if __name__ == "__main__":
    main(*sys.argv[1:])
