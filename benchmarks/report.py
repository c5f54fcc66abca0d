"""The tables and charts of docs/performance.md."""

import math
from typing import Any

from benchmarks.case import amount
from benchmarks.picture import Picture

Row = dict[str, Any]


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


def versions(runs: dict[str, Any]) -> str:
    """A row a path, a column a CPython: the ratio, then the difference; in bold where the bar is missed."""
    names: dict[str, None] = {}
    for run in runs.values():
        names.update(dict.fromkeys(row["name"] for row in run["rows"]))
    lines = [f"| what | {' | '.join(runs)} |", "|---|" + "---|" * len(runs)]
    for name in names:
        cells = []
        for run in runs.values():
            row = next((row for row in run["rows"] if row["name"] == name), None)
            mark = "**" if row and row["ok"] is False else ""
            cells.append(f"{mark}{reached(row)}{mark}" if row else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def counts(stored: dict[str, Any]) -> str:
    """A row a path, a column a CPython: the bound of the core's own instructions in a call."""
    columns = {key.split(" (")[0].rpartition(" ")[2]: known for key, known in sorted(stored.items(), key=_by_version)}
    names = sorted({name for known in columns.values() for name in known})
    lines = [f"| the core's own instructions | {' | '.join(columns)} |", "|---|" + "--:|" * len(columns)]
    for name in names:
        cells = [f"{known[name]['own']:.0f}" if name in known else "" for known in columns.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _by_version(entry: tuple[str, Any]) -> list[int]:
    return [int(part) for part in entry[0].split(" (")[0].rpartition(" ")[2].split(".")]


def spread(runs: dict[str, Any]) -> str:
    """What each run was made on, as far as they differ; and under what load."""
    machines = [run["machine"] for run in runs.values()]
    return "\n".join(
        f"- {one['python']}; {one['openssl']}; {one['libc']}; load {one['load']}; peers: {one['peers']}"
        for one in machines
    )


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


def growing(curve: Row) -> tuple[float, float]:
    """How many times the last point is the first, without and with."""
    (_, *first), (_, *last) = curve["points"][0], curve["points"][-1]
    return last[0] / first[0], last[1] / first[1]


def course(curve: Row) -> str:
    """Does it grow, by more than measuring errs; and if so, more than without?"""
    stock, ours = growing(curve)
    if ours < 1.3:
        return "flat"
    return "grows no more than without" if ours < 1.3 * stock else "grows"


def growth_table(curves: list[Row]) -> str:
    lines = ["| what | as these grow | from, without | to | from, with | to | |", "|---|---|--:|--:|--:|--:|---|"]
    for curve in curves:
        (low, *first), (high, *last) = curve["points"][0], curve["points"][-1]
        cells = [amount(value, "ns") for value in (first[0], last[0], first[1], last[1])]
        word = course(curve)
        if word != "flat":
            word += f": {curve['why'] or 'nobody knows why'}"
        lines.append(f"| {curve['name']} | {curve['axis']}: {low} to {high} | {' | '.join([*cells, word])} |")
    return "\n".join(lines)


def growth_chart(curves: list[Row]) -> str:
    """A panel for each curve, both scales logarithmic: grey without, green with."""
    width, height = 440, 250
    title = "How cost grows"
    picture = Picture(2 * width, (len(curves) + 1) // 2 * height + 56, title, "grey: without; green: with snapsafe")
    for index, curve in enumerate(curves):
        _panel(picture, curve, index % 2 * width, 56 + index // 2 * height, width, height)
    return str(picture)


def _panel(picture: Picture, curve: Row, left: float, top: float, width: float, height: float) -> None:
    points = curve["points"]
    values = [value for _, *both in points for value in both]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    first, last = math.log10(points[0][0]), math.log10(points[-1][0])

    def across(x: float) -> float:
        return left + 64 + (width - 90) * (math.log10(x) - first) / (last - first)

    def down(value: float) -> float:
        return top + height - 46 - (height - 90) * (math.log10(value) - low) / (high - low)

    picture.text(left + 16, top + 18, curve["name"])
    for power in range(low, high + 1):
        height_of = down(10.0**power)
        picture.line(across(points[0][0]), height_of, across(points[-1][0]), height_of, "#ddd")
        picture.text(left + 56, height_of + 4, amount(10.0**power, "ns"), 10, anchor="end", fill="#666")
    for x, *_ in points:
        picture.text(across(x), top + height - 30, f"{x:,}", 10, anchor="middle", fill="#666")
    picture.text(left + 64, top + height - 14, curve["axis"], 11, fill="#666")
    for side, colour in ((1, "#8a8a8a"), (2, "#27803b")):
        picture.curve([(across(point[0]), down(point[side])) for point in points], colour)
