"""The table, and docs/performance.md with its chart: python -m benchmarks.report FIGURES.json FOLDER."""

import json
import math
import sys
from pathlib import Path
from typing import Any

from benchmarks.picture import Picture

Row = dict[str, Any]


def amount(value: float, unit: str) -> str:
    if unit == "ns":
        for scale, name in ((1e6, "ms"), (1e3, "µs")):
            if abs(value) >= scale:
                return f"{value / scale:.3g} {name}"
    return f"{value:.3g} {unit}" if abs(value) < 1000 else f"{value:.0f} {unit}"


def verdict(row: Row) -> str:
    return {True: "ok", False: "missed", None: "no bar"}[row["ok"]]


def reached(row: Row) -> str:
    if "error" in row:
        return f"failed: {row['error'].splitlines()[-1]}"
    sign = "-" if row["more"] < 0 else "+"
    return f"x {row['ratio']:.3f}, {sign}{amount(abs(row['more']), row['unit'])}"


def table(rows: list[Row]) -> str:
    lines = [
        "| what | without | with | bar | reached | ratio's quartiles | |",
        "|---|--:|--:|---|---|---|---|",
    ]
    for row in rows:
        cells = ["", "", row["bar"], reached(row), ""]
        if "error" not in row:
            cells[:2] = [amount(row["without"], row["unit"]), amount(row["with"], row["unit"])]
            cells[4] = " to ".join(f"{q:.2f}" for q in row["quartiles"])
        lines.append(f"| {' | '.join([row['name'], *cells, verdict(row)])} |")
    return "\n".join(lines)


TEXT = """# What it costs

Made by `make bench`: each row is a pair of processes that live at the same time, one without and one with snapsafe_rt,
measured in turn, round by round. Ratios and differences are taken in each round; shown is their median over the quieter
half of the rounds, and the quartiles tell how far the machine let it be known. A bar of two parts holds if one does.

{facts}

![Ratio of each path, with snapsafe / without](performance.svg)

{table}

## Where it is slower

{slower}

Rows against another way to the same thing (*against ...*) have that way on the other side, not a bare Python.

## Without noise

Time does not tell whether a check of 2 ns became one of 3. `make instructions` counts, by valgrind, the instructions of
the core's own code on each path, and fails in `.ci/run` when a path got longer than
[its bound](../benchmarks/instructions.json). Bounds are for one build of CPython and one compiler; elsewhere it is
skipped, and says so; `make instructions ARGS=--store` adds the machine's own.

## Again

```
make bench                          # all, some minutes, on a machine that does nothing else
make bench ARGS="-k uuid"           # only what has that in its name; the files here are then left as they are
make bench PYTHON=python3.14
```

One file a path: [benchmarks/paths](../benchmarks/paths).
"""


def slower(rows: list[Row]) -> str:
    lines = [
        f"- **{row['name']}**: {reached(row)}" + (f"; the bar ({row['bar']}) is missed" if row["ok"] is False else "")
        for row in rows
        if "error" in row or row["ratio"] > 1.02
    ]
    return "\n".join(lines) or "Nowhere by more than 2 %."


def chart(rows: list[Row], facts: dict[str, str]) -> str:
    """A bar for each ratio on a logarithmic scale, from 1 to the left (faster) or to the right."""
    rows = [row for row in rows if "error" not in row]
    low, high = -2.0, 2.5  # powers of ten
    left, width = 380, 460

    def x(ratio: float) -> float:
        return left + width * (min(max(math.log10(ratio), low), high) - low) / (high - low)

    picture = Picture(
        920,
        92 + 24 * len(rows),
        "Time with snapsafe / without; left of the line: faster",
        f"{facts['python']}; {facts['cpu']}",
    )
    for ratio, label in ((0.01, "1/100"), (0.1, "1/10"), (1, "1"), (10, "10"), (100, "100")):
        picture.line(x(ratio), 68, x(ratio), 80 + 24 * len(rows), "#222" if ratio == 1 else "#ddd")
        picture.text(x(ratio), 62, label, 11, anchor="middle", fill="#666")
    for index, row in enumerate(rows):
        top, one, end = 74 + 24 * index, x(1), x(row["ratio"])
        picture.text(16, top + 13, row["name"])
        fill = {True: "#27803b", False: "#c0392b", None: "#8a8a8a"}[row["ok"]]
        picture.rect(min(one, end), top, max(2.0, abs(end - one)), 16, fill)
        picture.text(max(one, end) + 5, top + 13, f"{row['ratio']:.3g}", 11)
    return str(picture)


def write(result: dict[str, Any], folder: str) -> None:
    rows, facts = result["rows"], result["machine"]
    lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    text = TEXT.format(facts=lines, table=table(rows), slower=slower(rows))
    Path(folder, "performance.md").write_text(text)
    Path(folder, "performance.svg").write_text(chart(rows, facts))


if __name__ == "__main__":
    write(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2])
