"""docs/performance.md, its charts and its figures, performance.json. python -m benchmarks.page FOLDER: made anew."""

import itertools
import json
import re
import sys
from pathlib import Path

from benchmarks import outside_report, report
from benchmarks.instructions import BOUNDS
from benchmarks.outside import BAR
from benchmarks.report import Row

TEXT = """# What it costs

Made by `make bench`. Each row is a pair of processes that live at the same time, one without and one with
snapsafe_rt. They are measured in turn, round by round.

| column | is |
|---|---|
| reached | the median of the rounds' ratios and of their differences, over the quieter half of the rounds |
| ratio's quartiles | how far the machine's noise lets the ratio be known |
| bar | the limit that was set for the row before; of a bar with two parts one has to hold |

A row whose cost depends on the [fence](glossary.md) is there twice. *Up*: in the first five minutes of a process that
may not make the kernel reseed itself, and after a restore. *Down*: where root, or a manager, has made it reseed.

{facts}

![Ratio of each path, with snapsafe / without](performance.svg)

{table}

A row *against ...* compares with another way to do the same, not with a bare Python.

## Each CPython

Made by `.ci/bench`: the same, in fewer rounds. Where a bar is missed, the figure is bold.

{spread}

{versions}

## How cost grows

Made by `make bench`, too ({growth_facts}). The figures of all points are in [performance.json](performance.json).

![How cost grows](performance-growth.svg)

{growth}

{outside}
## Where it is slower

{slower}

## Where the rest goes

{rest}

## Without noise

A measured time does not show whether a check of 2 ns became one of 3. So `make instructions` counts, by valgrind, the
instructions of the core's own code on each path. `.ci/run` fails if a path is longer than
[its bound](../benchmarks/instructions.json) on any CPython. A bound holds for one build of CPython and one compiler.
For others the count is skipped, and says so; `make instructions ARGS=--store` stores bounds for this machine's.

{counts}

## Again

```
make bench                          # all; some five minutes, on a machine that does nothing else
make bench ARGS="-k uuid"           # the rows with that in their name
make bench PYTHON=python3.14
.ci/bench                           # each CPython from 3.11 to 3.15, one after the other
.ci/bench --instructions            # the counts of each
.ci/bench --outside                 # whole programs, on 3.11; three quarters of an hour
```

[benchmarks/paths](../benchmarks/paths) has one file for each path; [growth.py](../benchmarks/growth.py) has the
curves.
"""

OUTSIDE = """## Whole programs

Made by `.ci/bench --outside`: what others chose to measure, and popular applications. They run in three processes of
one kind at a time, on one CPU, measured in turn: without snapsafe_rt, with it, and without it again. The last one is
the *twin*: its ratio should be 1, and shows what the machine's noise and the place of objects in memory alone make of
it. The one with snapsafe_rt is activated by PYTHONPATH, watches a file, and says before each round that it is active;
the others say that they are not. What is measured is CPU time, of the process and of children that it waited for,
because other work on a shared machine takes wall time unevenly. So time spent waiting does not count.

### pyperformance

The benchmarks of its default set. A ratio is that of the time with to the mean of both times without; it is the median
of all groups of three processes. A benchmark above {bar} is measured again, for longer, where there is time left. The
geometric mean is of the first ratios, for else luck would count on one side alone. A machine that does other work
besides shows in the twins: where these stray as far, a ratio tells nothing, and only the instructions do.

*Instructions* are those of one loop that has run before, with to without, counted by valgrind, and *ours* the part of
them that are the core's. They do not depend on other work. Where objects lie changes them as well: CPython keeps 4,096
methods in a cache whose places go by addresses, and two hot methods that share one cost some percent. A program with an
import more or less, and without us, moves as much: `richards` took 534.7 million instructions stock, 558.7 with, and
552.6 stock with a sitecustomize that keeps 3,000 lists. So each group of the timed processes first makes other objects.

{summary}

![pyperformance: CPU time with snapsafe / without](performance-outside.svg)

{benchmarks}

Not timed here:

{absent}

### Ten applications

Chosen by hand among the 550 most downloaded packages of PyPI (the rank is November 2026's): what programs are, or are
built on. Each is imported, and set up as far as it can be without a network. CPU time is counted from the start of the
process; *peak* is the most resident memory (VmHWM), *private* what it shares with no other process (smaps_rollup), both
as it is then. Shown are the median without, and of all groups what is more with snapsafe_rt: median, quartiles, and the
twin's median.

{applications}
"""


def add(result: Row, folder: str, *, whole: bool) -> None:
    """Put a run into the folder's figures: all of it, or only the rows that were measured anew; then make the page."""
    figures = _figures(folder)
    version = re.sub(r"^(\d+\.\d+)\.[^t]*", r"\1", result["machine"]["python"].split()[1].rstrip(","))
    old = figures["runs"].get(version)
    if old and not whole:
        known = {row["name"]: row for row in result["rows"]}
        result = {**old, "rows": [known.pop(row["name"], row) for row in old["rows"]] + list(known.values())}
    figures["runs"][version] = result
    versions = sorted(figures["runs"], key=lambda version: (version[-1] == "t", len(version), version))
    figures["runs"] = {version: figures["runs"][version] for version in versions}
    _write(figures, folder)


def add_growth(found: Row, folder: str, *, whole: bool) -> None:
    figures = _figures(folder)
    if not whole and figures["growth"]:
        known = {curve["name"]: curve for curve in found["curves"]}
        found["curves"] = [known.get(curve["name"], curve) for curve in figures["growth"]["curves"]]
    figures["growth"] = found
    _write(figures, folder)


def add_outside(found: Row, folder: str, *, whole: bool) -> None:
    figures = _figures(folder)
    if whole or not figures.get("outside"):
        figures["outside"] = found
    else:
        for part in ("pyperformance", "applications"):
            known = {row["name"]: row for row in found[part]["rows"]}
            old = figures["outside"][part]
            old["rows"] = [known.pop(row["name"], row) for row in old["rows"]] + list(known.values())
        figures["outside"]["instructions"] |= found["instructions"]
    _write(figures, folder)


def _figures(folder: str) -> Row:
    file = Path(folder, "performance.json")
    found: Row = json.loads(file.read_text()) if file.exists() else {"runs": {}, "growth": {}}
    return found


def _write(figures: Row, folder: str) -> None:
    Path(folder, "performance.json").write_text(json.dumps(figures, indent=1) + "\n")
    write(figures, folder)


def write(figures: Row, folder: str) -> None:
    runs, growth = figures["runs"], figures["growth"]
    if not runs:
        return
    shown = next(iter(runs.values()))
    rows, facts = shown["rows"], shown["machine"]
    curves = growth["curves"] if growth else []
    text = TEXT.format(
        facts="\n".join(f"- {name}: {value}" for name, value in facts.items()),
        table=report.table(rows),
        spread=report.spread(runs),
        versions=report.versions(runs),
        growth_facts=f"{growth['machine']['python']}, load {growth['machine']['load']}" if growth else "not yet",
        growth=report.growth_table(curves),
        outside=outside(figures["outside"]) if figures.get("outside") else "",
        slower=report.slower(rows),
        rest=rest(rows),
        counts=report.counts(json.loads(BOUNDS.read_text())),
    )
    Path(folder, "performance.md").write_text(text)
    Path(folder, "performance.svg").write_text(report.chart(rows, facts))
    if curves:
        Path(folder, "performance-growth.svg").write_text(report.growth_chart(curves))
    if figures.get("outside"):
        found, machine = figures["outside"]["pyperformance"], figures["outside"]["machine"]
        below = f"grey: the twin, stock / stock; {machine['python']}; {machine['cpu']}"
        Path(folder, "performance-outside.svg").write_text(outside_report.chart(found["rows"], below))


def outside(found: Row) -> str:
    left_out = found["pyperformance"]["absent"] + found["applications"]["absent"]
    return OUTSIDE.format(
        bar=BAR,
        summary=outside_report.summary(found),
        benchmarks=outside_report.pyperformance_table(found["pyperformance"]["rows"], found["instructions"]),
        absent=outside_report.absent(left_out),
        applications=outside_report.applications_table(found["applications"]["rows"]),
    )


def rest(rows: list[Row]) -> str:
    """What a missed bar consists of, and how near it is to what cannot be saved; from the rows."""
    known = {row["name"]: row for row in rows if "error" not in row}

    def more(name: str) -> float:
        return float(known[name]["more"])

    said = []
    try:
        steps = [0.0, *(more(f"{START}, of that: {part}") / 1e6 for part in PARTS), more(START) / 1e6]
        said.append(OF_START.format(steps[-1], *(after - before for before, after in itertools.pairwise(steps))))
        said.append(
            OF_MEMORY.format(more(f"{START}, resident memory"), more(f"{START}, resident memory, of that: the core"))
        )
        up, down = (known[f"uuid4(), synchronous source, fence {fence}"] for fence in ("up", "down"))
        pool = known["os.getrandom(4072), fence up"]
        kernel, cpu = pool["without"] * 16 / 4072, pool["more"] * 16 / 4072
        said.append(OF_UUID4.format(up["with"], kernel, cpu, up["with"] - kernel - cpu, down["with"]))
        draw = known["os.urandom(16), fence down"]
        said.append(OF_URANDOM.format(draw["more"], draw["without"]))
    except KeyError as missing:
        said.append(f"Not all was measured: {missing} is missing.")
    return "\n\n".join(said)


START = "python -c pass"
PARTS = ("an empty sitecustomize", "and the core loaded", "and the package imported")
OF_START = """**A start** takes {:.2f} ms more:

| part | ms |
|---|--:|
| any sitecustomize at all | {:.2f} |
| load and begin the core: dlopen, its six types, its constants | {:.2f} |
| our Python modules | {:.2f} |
| activate, and go on to the next sitecustomize | {:.2f} |

The table is of the last run of `make bench`. Since then an ordinary start is the core's alone: no Python module of ours
is imported before a module of the table is. By instructions (valgrind, CPython 3.11.7; benchmarks/instructions.json has
the bounds that `.ci/run` holds it to) a start has 2.2 million more than 35.6, where it had 8.1 million more before:
0.8 to load and begin the core, 0.1 to map the sources, guard what is C and write the status page, the rest for the
files sitecustomize and _snapsafe_start, the dynamic loader, and to take all down at the end. `import random, uuid, ssl`
has 15.9 million more than 119, where it had 27.8: what is left is to load 20 modules of ours and to exchange the
functions of `random` and `uuid`."""
OF_MEMORY = """**Memory**: of {:.0f} KiB {:.0f} are the core's code and constants. All processes of a machine share
them; the kernel maps the whole neighbourhood of a page that is touched. The rest are the code objects, functions and
names of the modules. A Python that is one large file, such as Debian's, adds the parts of that file that running
anything at all touches: of 1.4 MiB on 3.14 these are 0.8, shared, and 0.3 are private."""
OF_UUID4 = """**uuid4**, fence up, takes {:.0f} ns. The kernel takes {:.0f} ns of them for 16 bytes of a pool, the CPU
{:.0f} ns for two RDRAND. Neither can be had for less while a value has to be unique by either alone. The other {:.0f}
ns make and free a UUID and its int in one Python call; some 30 instructions of that check that nothing was restored,
forked or replaced. With the fence down it takes {:.0f} ns. Stock, 3.14 makes a UUID in a quarter of the time of 3.11,
so what cannot be saved weighs more there."""
OF_URANDOM = """**os.urandom**, fence down, takes {:.1f} ns more than the system call's {:.0f}. These are 76
instructions: 20 look at the source before and after, 23 leave the fingerprint by which `random.seed(os.urandom(64))`
is recognised as the system's, and the rest is one call more. There is no lock and no atomic operation in it.
`secrets.token_bytes` is a Python function around the same."""


if __name__ == "__main__":
    write(json.loads(Path(sys.argv[1], "performance.json").read_text()), sys.argv[1])
