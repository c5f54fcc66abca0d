"""python -m benchmarks.instructions [--store] [-k WORD]: instructions of a call on each guarded path, against stored
bounds; of those paths alone that have WORD in their names. Paths of a library count where it is installed.

Counted by valgrind, so the same on a loaded machine and on an idle one. Bounds are for the core's own code: `own`
instructions, and `out`, calls that it makes into anything else. `added`, all of the process with snapsafe_rt minus all
without, is only shown: it shifts by some 50 with what else lies in memory (CPython's method cache goes by addresses).
Another CPython or compiler counts differently: benchmarks/instructions.json has bounds for some builds, for others this
is skipped and says so. Exit code 1 if a path got longer.

Of a start, `own` is what the whole process has more, in thousands: it shifts a little with the lengths of paths.
"""

import argparse
import importlib.util
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
SLACK = {"own": 1.0, "out": 0.1}  # what differs, through what is done once in many calls
STARTS = {"start: pass": "pass", "start: import random, uuid, ssl": "import random, uuid, ssl"}
UUID_SLACK = {"own": 10.0, "out": 0.1}  # from run to run they differ by 9, perhaps with where objects lie in memory
START_SLACK = 0.03  # of the bound
PATIENCE = 1500  # seconds: counting takes a minute alone, and many times that on a slow machine beside others

Counts = dict[str, dict[str, float]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions")
    parser.add_argument("--store", action="store_true", help="make what is counted now the bound for this build")
    parser.add_argument("-k", default="", metavar="WORD", help="only paths with this in their names")
    options = parser.parse_args()
    for tool in ("valgrind", "cc"):
        if shutil.which(tool) is None:
            return skip(f"{tool} is not installed")
    stored = json.loads(BOUNDS.read_text()) if BOUNDS.exists() else {}
    key = build()
    if key not in stored and not options.store:
        return skip(f"no bounds for {key}; there are some for: {'; '.join(stored)}")
    cases = [case for _, case in paths.every() if case.counted and options.k in case.name]
    absent = {case.name for case in cases if case.needs and importlib.util.find_spec(case.needs) is None}
    counts = count_all([case for case in cases if case.name not in absent])
    if any(options.k in name for name in STARTS):
        counts |= count_starts()
    if options.store:
        stored[key] = stored.get(key, {}) if options.k or absent else {}
        stored[key] |= counts
        BOUNDS.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")
    bounds = {name: bound for name, bound in stored[key].items() if options.k in name and name not in absent}
    for name in sorted(absent):
        print(f"  {name}: its library is not installed here")
    return compare(counts, bounds, key)


def compare(counts: Counts, bounds: Counts, key: str) -> int:
    longer = False
    print(f"instructions of a call, {key}\n{'own':>7} {'bound':>7} {'out':>6} {'bound':>6} {'added':>9}")
    for name in sorted({*counts, *bounds}):
        if name not in counts or name not in bounds:
            print(f"  {name}: not {'bound' if name in counts else 'counted'} yet: run this with --store")
            longer = True
            continue
        now, bound = counts[name], bounds[name]
        slacks = UUID_SLACK if name.startswith("uuid") else SLACK
        if name in STARTS:
            slacks = {"own": START_SLACK * bound["own"]}
        over = [what for what, slack in slacks.items() if now[what] - bound[what] > slack]
        under = [what for what, slack in slacks.items() if bound[what] - now[what] > slack]
        longer |= bool(over)
        word = "LONGER" if over else "shorter: keep that with --store" if under else "ok"
        figures = f"{now['own']:7.1f} {bound['own']:7.1f} {now['out']:6.1f} {bound['out']:6.1f} {now['added']:9.0f}"
        print(f"{figures}  {name}  {word}")
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
    if not cases:
        return {}
    sources = sorted({case.source for case in cases})
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        library = marks(folder)
        without = pool.submit(count, cases, sources[0], False, library)
        ours = [pool.submit(count, [c for c in cases if c.source == one], one, True, library) for one in sources]
        found = {}
        for future in ours:
            for name, now in future.result().items():
                added = now["all"] - without.result()[name]["all"]
                found[name] = {"own": round(now["own"], 1), "out": round(now["out"], 1), "added": round(added)}
        return found


def marks(folder: str) -> str:
    """The library of marks.c, built in this folder."""
    library = f"{folder}/marks.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", Path(__file__).parent / "marks.c", "-o", library], check=True)
    return library


def count_starts() -> Counts:
    """What a start has more, of an interpreter that has nothing else in its site-packages, with bytecode at hand."""
    with (
        tempfile.TemporaryDirectory() as folder,
        pairs.environments("synchronous") as both,
        ThreadPoolExecutor(2) as pool,
    ):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        python = f"{folder}/bin/python"

        def instructions(env: dict[str, str], script: str) -> int:
            subprocess.run([python, "-c", script], env=env, check=True)  # writes the bytecode
            command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", python, "-c", script]
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE)
            found = re.search(r"Collected : (\d+)", done.stderr)
            if done.returncode or not found:
                sys.exit(f"instructions: {done.stderr}")
            return int(found[1])

        asked = {name: [pool.submit(instructions, env, script) for env in both] for name, script in STARTS.items()}
        more = {name: each[1].result() - each[0].result() for name, each in asked.items()}
    return {name: {"own": round(added / 1000, 1), "out": 0.0, "added": added} for name, added in more.items()}


def count(cases: list[Case], source: str, expected: bool, marks: str) -> Counts:
    """For each case, of one call: all instructions, the core's own, and its calls out."""
    lines = "".join(json.dumps([case.name, case.setup, case.statement, case.stays]) + "\n" for case in cases)
    with pairs.environments(source) as both, tempfile.TemporaryDirectory() as folder:
        tool = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out"]
        done = subprocess.run(
            [*tool, sys.executable, "-m", "benchmarks.counted", marks, str(int(expected))],
            input=lines,
            env=both[expected],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        if done.returncode:
            sys.exit(f"instructions: {done.stderr}")
        found = dict(filter(None, map(read, Path(folder).glob("out.*"))))
    if missing := [case.name for case in cases if case.name not in found]:
        sys.exit(f"instructions: valgrind did not count {', '.join(missing)}: {done.stderr}")
    return found


def read(dump: Path) -> tuple[str, dict[str, float]] | None:
    """The name that a dump of callgrind was made for, and its counts; None for the one at the end.

    Its format: https://valgrind.org/docs/manual/cl-format.html
    """
    name, sums = "", {"all": 0, "own": 0, "out": 0}
    core: set[str] = set()  # callgrind numbers the objects when it names them first
    here = there = inclusive = False  # are we in the core; is what is called; is the next cost that of a call
    for line in dump.read_text().splitlines():
        if line.startswith("desc: Trigger: Client Request: "):
            name = line.rpartition("Request: ")[2]
        elif found := re.match(r"(c?)ob=(\(\d+\))(?: (.*))?", line):
            if found[3] and "/_core." in found[3]:
                core.add(found[2])
            there = found[2] in core
            if not found[1]:
                here = there
        elif line.startswith("calls="):
            if here and not there:
                sums["out"] += int(line[len("calls=") :].split()[0])
            there, inclusive = here, True
        elif found := re.match(r"[-+*\d]\S* (\d+)$", line):
            if not inclusive:
                sums["all"] += int(found[1])
                sums["own"] += int(found[1]) if here else 0
            inclusive = False
    return (name, {what: total / CALLS for what, total in sums.items()}) if name else None


if __name__ == "__main__":
    sys.exit(main())
