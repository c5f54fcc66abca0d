"""python -m benchmarks.instructions [--store]: instructions of a call on each guarded path, against stored bounds.

Counted by valgrind, so the same on a loaded machine and on an idle one. Two numbers each: `own`, those of the core's
own code, which are exact; and `added`, all of the process with snapsafe_rt minus all without, which is below zero
where work is replaced, and shifts a little with what else lies in memory (CPython's method cache goes by addresses).
Another CPython or compiler counts differently: benchmarks/instructions.json has bounds for some, for others this is
skipped and says so. Exit code 1 if a path got longer.
"""

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import pairs, paths
from benchmarks.case import Case
from benchmarks.counted import CALLS
from snapsafe_rt import _core

BOUNDS = Path(__file__).parent / "instructions.json"
OWN_SLACK = 1.5  # instructions: the core's own differ by less than 1, through what is done once in many calls
ADDED_SLACK, ADDED_SHARE = 8.0, 0.02  # instructions, and share of the stock's

Counts = dict[str, list[float]]  # name: own, added, stock's


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions")
    parser.add_argument("--store", action="store_true", help="make what is counted now the bound for this build")
    options = parser.parse_args()
    for tool in ("valgrind", "cc"):
        if shutil.which(tool) is None:
            return skip(f"{tool} is not installed")
    stored = json.loads(BOUNDS.read_text()) if BOUNDS.exists() else {}
    key = build()
    if key not in stored and not options.store:
        return skip(f"no bounds for {key}; there are some for: {'; '.join(stored)}")
    counts = count_all([case for _, case in paths.every() if case.counted])
    if options.store:
        stored[key] = counts
        BOUNDS.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")
    return compare(counts, stored[key], key)


def compare(counts: Counts, bounds: Counts, key: str) -> int:
    longer = False
    print(f"instructions of a call, {key}\n{'own':>14} {'bound':>7} {'added':>9} {'bound':>9}")
    for name in sorted({*counts, *bounds}):
        if name not in counts or name not in bounds:
            print(f"  {name}: not {'bound' if name in counts else 'counted'} yet: run this with --store")
            longer = True
            continue
        (own, added, stock), (own_bound, added_bound, _) = counts[name], bounds[name]
        over = [own - own_bound > OWN_SLACK, added - added_bound > max(ADDED_SLACK, ADDED_SHARE * stock)]
        longer |= any(over)
        word = "LONGER" if any(over) else "shorter: keep that with --store" if own_bound - own > OWN_SLACK else "ok"
        print(f"{own:14.1f} {own_bound:7.1f} {added:9.1f} {added_bound:9.1f}  {name}  {word}")
    return int(longer)


def skip(reason: str) -> int:
    print(f"instructions: skipped: {reason}")
    return 0


def build() -> str:
    """What the counts are for: the interpreter, and the compiler of the core."""
    compiler = re.search(rb"(GCC: \([^)]*\) [0-9.]+|clang version [0-9.]+)", Path(_core.__file__).read_bytes())
    name = compiler.group(1).decode() if compiler else "unknown compiler"
    return f"{platform.machine()}, CPython {platform.python_version()} ({platform.python_compiler()}), core by {name}"


def count_all(cases: list[Case]) -> Counts:
    sources = sorted({case.source for case in cases})
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        marks = f"{folder}/marks.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", Path(__file__).parent / "marks.c", "-o", marks], check=True)
        without = pool.submit(count, cases, sources[0], False, marks)
        ours = [pool.submit(count, [c for c in cases if c.source == one], one, True, marks) for one in sources]
        found = {}
        for future in ours:
            for name, (total, own) in future.result().items():
                stock = without.result()[name][0]
                found[name] = [round(own, 1), round(total - stock, 1), round(stock, 1)]
        return found


def count(cases: list[Case], source: str, expected: bool, marks: str) -> dict[str, tuple[float, float]]:
    """Name: instructions of one call, and those of them that are the core's own."""
    lines = "".join(json.dumps([case.name, case.setup, case.statement, case.stays]) + "\n" for case in cases)
    with pairs.environments(source) as both, tempfile.TemporaryDirectory() as folder:
        tool = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out"]
        done = subprocess.run(
            [*tool, sys.executable, "-m", "benchmarks.counted", marks, str(int(expected))],
            input=lines,
            env=both[expected],
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode:
            sys.exit(f"instructions: {done.stderr}")
        found = dict(filter(None, map(read, Path(folder).glob("out.*"))))
    if missing := [case.name for case in cases if case.name not in found]:
        sys.exit(f"instructions: valgrind did not count {', '.join(missing)}: {done.stderr}")
    return found


def read(dump: Path) -> tuple[str, tuple[float, float]] | None:
    """The name that a dump of callgrind was made for, and its counts; None for the one at the end."""
    name, total, own, ours, inclusive = "", 0, 0, False, False
    core: set[str] = set()  # callgrind numbers the objects when it names them first
    for line in dump.read_text().splitlines():
        if line.startswith("desc: Trigger: Client Request: "):
            name = line.rpartition("Request: ")[2]
        elif found := re.match(r"c?ob=(\(\d+\))(?: (.*))?", line):
            if found[2] and "/_core." in found[2]:
                core.add(found[1])
            if line.startswith("ob="):
                ours = found[1] in core
        elif line.startswith("calls="):
            inclusive = True  # the next line counts what is called: that is counted where it is
        elif found := re.match(r"[-+*\d]\S* (\d+)$", line):
            if not inclusive:
                total += int(found[1])
                own += int(found[1]) if ours else 0
            inclusive = False
    return (name, (total / CALLS, own / CALLS)) if name else None


if __name__ == "__main__":
    sys.exit(main())
