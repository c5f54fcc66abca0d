"""python -m benchmarks.instructions [--store]: instructions that snapsafe_rt adds to a call, against a stored bound.

Counted by valgrind, so the same on a loaded machine and on an idle one; what differs is another CPython or compiler:
benchmarks/instructions.json has bounds for some, others are skipped and say so. Exit code 1 if a path got longer.
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
SLACK = 2.0  # instructions a call: what differs between two counts of the same build is below 1


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
    counts = added([case for _, case in paths.every() if case.counted])
    if options.store:
        stored[key] = counts
        BOUNDS.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")
    return compare(counts, stored[key], key)


def compare(counts: dict[str, float], bounds: dict[str, float], key: str) -> int:
    longer = 0
    print(f"instructions added to a call, {key}\n{'counted':>9} {'bound':>9}")
    for name in sorted({*counts, *bounds}):
        count, bound = counts.get(name), bounds.get(name)
        if count is None or bound is None:
            word = "MISSING: count again with --store"
        elif count > bound + SLACK:
            word = f"LONGER by {count - bound:.0f}"
        else:
            word = "ok" if count > bound - 5 * SLACK else "ok, shorter: keep that with --store"
        longer += word[0].isupper()
        print(f"{count if count is not None else '-':>9} {bound if bound is not None else '-':>9}  {name}  {word}")
    return int(longer > 0)


def skip(reason: str) -> int:
    print(f"instructions: skipped: {reason}")
    return 0


def build() -> str:
    """What the counts are for: the interpreter, and the compiler of the core."""
    compiler = re.search(rb"(GCC: \([^)]*\) [0-9.]+|clang version [0-9.]+)", Path(_core.__file__).read_bytes())
    name = compiler.group(1).decode() if compiler else "unknown compiler"
    return f"{platform.machine()}, CPython {platform.python_version()} ({platform.python_compiler()}), core by {name}"


def added(cases: list[Case]) -> dict[str, float]:
    """Name: instructions of one call with snapsafe_rt minus those without. Below zero where we replace work."""
    sources = sorted({case.source for case in cases})
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        marks = f"{folder}/marks.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", Path(__file__).parent / "marks.c", "-o", marks], check=True)
        without = pool.submit(count, cases, sources[0], False, marks)
        ours = [pool.submit(count, [c for c in cases if c.source == one], one, True, marks) for one in sources]
        stock = without.result()
        return {
            name: round(number - stock[name], 1) for future in ours for name, number in future.result().items()
        }


def count(cases: list[Case], source: str, expected: bool, marks: str) -> dict[str, float]:
    """Name: instructions of one call."""
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
        found = {}
        for file in Path(folder).glob("out.*"):
            text = file.read_text()
            trigger = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.MULTILINE)
            total = re.search(r"^(?:summary|totals): (\d+)", text, re.MULTILINE)
            if trigger and total:
                found[trigger.group(1)] = int(total.group(1)) / CALLS
    if missing := [case.name for case in cases if case.name not in found]:
        sys.exit(f"instructions: valgrind did not count {', '.join(missing)}: {done.stderr}")
    return found


if __name__ == "__main__":
    sys.exit(main())
