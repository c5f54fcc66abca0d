"""The table, and docs/performance.md with its chart: python -m benchmarks.report FIGURES.json... FOLDER."""

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
    return f"× {row['ratio']:.3f}, {sign}{amount(abs(row['more']), row['unit'])}"


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
