"""docs/performance.md, its charts and its figures, performance.json. python -m benchmarks.page FOLDER: made anew."""

import itertools
import json
import sys
from pathlib import Path

from benchmarks import report
from benchmarks.instructions import BOUNDS
from benchmarks.report import Row

TEXT = """# What it costs

Made by `make bench`: each row is a pair of processes that live at the same time, one without and one with snapsafe_rt,
measured in turn, round by round. Ratios and differences are taken in each round; shown is their median over the quieter
half of the rounds, and the quartiles tell how far the machine let it be known. A bar of two parts holds if one does. A
row whose cost depends on the fence is there twice: *up* in the first five minutes of a process that may not reseed the
kernel itself, and after a restore; *down* where root, or a manager, has it reseeded.

{facts}

![Ratio of each path, with snapsafe / without](performance.svg)

{table}

Rows against another way to the same thing (*against ...*) have that way on the other side, not a bare Python.

## Each CPython

Made by `.ci/bench`: the same, in fewer rounds. In bold: the bar is missed.

{spread}

{versions}

## How cost grows

Made by `make bench`, too ({growth_facts}). Figures of all points: [performance.json](performance.json).

![How cost grows](performance-growth.svg)

{growth}

## Where it is slower

{slower}

## Where the rest goes

{rest}

## Without noise

Time does not tell whether a check of 2 ns became one of 3. `make instructions` counts, by valgrind, the instructions of
the core's own code on each path, and fails in `.ci/run` when on any CPython a path got longer than
[its bound](../benchmarks/instructions.json). Bounds are for one build of CPython and one compiler; elsewhere it is
skipped, and says so; `make instructions ARGS=--store` adds the machine's own.

{counts}

## Again

```
make bench                          # all, some five minutes, on a machine that does nothing else
make bench ARGS="-k uuid"           # only what has that in its name
make bench PYTHON=python3.14
.ci/bench                           # each CPython from 3.11 to 3.15, one after the other
.ci/bench --instructions            # the counts of each
```

One file a path: [benchmarks/paths](../benchmarks/paths); the curves: [growth.py](../benchmarks/growth.py).
"""


def add(result: Row, folder: str, *, whole: bool) -> None:
    """Put a run into the folder's figures: all of it, or only the rows that were measured anew; then make the page."""
    figures = _figures(folder)
    version = ".".join(result["machine"]["python"].split()[1].rstrip(",").split(".")[:2])
    old = figures["runs"].get(version)
    if old and not whole:
        known = {row["name"]: row for row in result["rows"]}
        result = {**old, "rows": [known.pop(row["name"], row) for row in old["rows"]] + list(known.values())}
    figures["runs"][version] = result
    figures["runs"] = dict(sorted(figures["runs"].items(), key=lambda item: int(item[0].partition(".")[2])))
    _write(figures, folder)


def add_growth(found: Row, folder: str, *, whole: bool) -> None:
    figures = _figures(folder)
    if not whole and figures["growth"]:
        known = {curve["name"]: curve for curve in found["curves"]}
        found["curves"] = [known.get(curve["name"], curve) for curve in figures["growth"]["curves"]]
    figures["growth"] = found
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
        slower=report.slower(rows),
        rest=rest(rows),
        counts=report.counts(json.loads(BOUNDS.read_text())),
    )
    Path(folder, "performance.md").write_text(text)
    Path(folder, "performance.svg").write_text(report.chart(rows, facts))
    if curves:
        Path(folder, "performance-growth.svg").write_text(report.growth_chart(curves))


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
OF_START = """**A start** takes {:.2f} ms more: {:.2f} ms for any sitecustomize at all, {:.2f} ms to load and begin
the core (dlopen, its six types and its constants), {:.2f} ms for our Python modules, {:.2f} ms to activate and to
go on to the next sitecustomize. On a busy machine those differences are rough; by instructions (valgrind, CPython
3.11.7) a start has 8.1 million more than 35.6: 0.9 for the core, 4.8 for the modules with their end, 2.4 to
activate, for the two files before and for the search after them. The modules are nine files, each read once and
without a search; what is left there is to unmarshal them (290 µs), to make their six classes and to run the rest
(280 µs), and to take all down at the end. All nine in one file, so read at once, were tried: 0.2 to 0.3 ms less, and
a file that can be out of date. The core alone meets the bar: to meet it as a whole, what chooses the source and tells
of it would have to be native, too, and there twice, for it is Python's for all else."""
OF_MEMORY = """**Memory**: of {:.0f} KiB {:.0f} are the core's code and constants, which all processes of a machine
share: the kernel maps the whole neighbourhood of a page that is touched. The rest are the modules' code objects,
functions and names; and with a Python that is one large file, such as Debian's, what more of that file is touched
by running anything at all: of 1.4 MiB on 3.14 it is 0.8, shared, and 0.3 are private."""
OF_UUID4 = """**uuid4**, fence up, takes {:.0f} ns: {:.0f} ns are the kernel's for 16 bytes of a pool, {:.0f} ns
the CPU's (two RDRAND), and neither can be had for less while a value has to be unique by either alone. The other
{:.0f} ns make and free a UUID and its int, in one Python call; some 30 instructions of that see that nothing was
restored, forked or replaced. With the fence down it is {:.0f} ns. Stock, 3.14 makes it in a quarter of the time
that 3.11 takes, so what cannot be saved weighs more there."""
OF_URANDOM = """**os.urandom**, fence down, takes {:.1f} ns more than the system call's {:.0f}: 73 instructions, of
which 20 look at the source before and after, and 20 leave the fingerprint by which `random.seed(os.urandom(64))`
is known as the system's; the rest is one call more. There is no lock and no atomic operation in it.
`secrets.token_bytes` is a Python function around the same."""


if __name__ == "__main__":
    write(json.loads(Path(sys.argv[1], "performance.json").read_text()), sys.argv[1])
