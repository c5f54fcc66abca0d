"""The table, and docs/performance.md with its chart: python -m benchmarks.report FIGURES.json FOLDER."""

import json
import math
import sys
from pathlib import Path
from typing import Any

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

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="920" height="{92 + 24 * len(rows)}" font-family="sans-serif">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        '<text x="16" y="26" font-size="16" fill="#222">Time with snapsafe / without; left of the line: faster</text>',
        f'<text x="16" y="44" font-size="12" fill="#666">{facts["python"]}; {facts["cpu"]}</text>',
    ]
    for ratio, label in ((0.01, "1/100"), (0.1, "1/10"), (1, "1"), (10, "10"), (100, "100")):
        colour = "#222" if ratio == 1 else "#ddd"
        out.append(
            f'<line x1="{x(ratio):.0f}" x2="{x(ratio):.0f}" y1="68" y2="{80 + 24 * len(rows)}" stroke="{colour}"/>'
        )
        out.append(f'<text x="{x(ratio):.0f}" y="62" font-size="11" text-anchor="middle" fill="#666">{label}</text>')
    for index, row in enumerate(rows):
        top, one, end = 74 + 24 * index, x(1), x(row["ratio"])
        fill = {True: "#27803b", False: "#c0392b", None: "#8a8a8a"}[row["ok"]]
        begin, length = min(one, end), max(2.0, abs(end - one))
        out.append(f'<text x="16" y="{top + 13}" font-size="12" fill="#222">{row["name"]}</text>')
        out.append(f'<rect x="{begin:.1f}" y="{top}" width="{length:.1f}" height="16" fill="{fill}"/>')
        out.append(
            f'<text x="{max(one, end) + 5:.1f}" y="{top + 13}" font-size="11" fill="#222">{row["ratio"]:.3g}</text>'
        )
    return "\n".join([*out, "</svg>", ""])


def write(result: dict[str, Any], folder: str) -> None:
    rows, facts = result["rows"], result["machine"]
    lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    text = TEXT.format(facts=lines, table=table(rows), slower=slower(rows))
    Path(folder, "performance.md").write_text(text)
    Path(folder, "performance.svg").write_text(chart(rows, facts))


if __name__ == "__main__":
    write(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2])
