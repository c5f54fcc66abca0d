"""The tables of whole programs (outside.py), and their chart."""

import math
from collections.abc import Sequence

from benchmarks.case import amount
from benchmarks.outside import BAR, MEAN_BAR, WHAT, error, geometric_mean, verdict
from benchmarks.picture import Picture
from benchmarks.report import Row

LOW, HIGH = 0.9, 1.1
FEW = 1.005  # times as many instructions as stock: what is above the bar for no more than that is so for another reason


def summary(found: Row) -> str:
    rows, facts = found["pyperformance"]["rows"], found["machine"]
    if not rows:
        return "Nothing of pyperformance was measured."
    ours, twin = geometric_mean(rows, "first"), geometric_mean(rows, "twin")
    above = [row["name"] for row in rows if row["ratio"][1] > BAR]
    again = sum(row["first"] != row["ratio"] for row in rows)
    noise = [row["name"] for row in rows if row["twin"][1] > BAR]
    counts = [{"counted": [0, ours / stock]} for stock, ours, _ in found["instructions"].values()]
    own = sum(own > 0 for *_, own in found["instructions"].values())
    counted = [
        f"- instructions, by valgrind, of {len(counts)} of them: geometric mean "
        f"**{geometric_mean(counts, 'counted'):.4f}**; {own} of them run instructions of the core at all"
    ]
    return "\n".join(
        [
            f"- {found['pyperformance']['versions']}; {facts['python']}; {facts['date']}; {facts['on']}; load "
            f"{facts['load']}; {found['pyperformance']['minutes']} minutes, "
            f"{sum(row['groups'] for row in rows)} groups of three processes",
            f"- geometric mean of {len(rows)} ratios: **{ours:.4f}** ± {error(rows, 'first'):.4f}, the twin's "
            f"{twin:.4f} ± {error(rows, 'twin'):.4f} (standard errors); the bar is {MEAN_BAR}: {verdict(rows)}",
            f"- above {BAR}: {len(above)} with snapsafe_rt, {len(noise)} of the twins; {again} measured again",
            *(counted if counts else ()),
        ]
    )


# Why a benchmark is above its bar.
WHY = {
    "python_startup": "it is a start and nothing else: see *python -c pass* above",
    "2to3": "it is a start, and a program of some tenths of a second",
    "coroutines": "its recursion fills a pool of pymalloc and gives it back, by chance of how many objects there are",
    "create_gc_cycles": "a full collection looks at each object, and 20 modules of ours are 2 % more of them",
}


def reason(row: Row, counted: Sequence[float]) -> str:
    """Why its time is above the bar."""
    if row["name"] in WHY:
        return WHY[row["name"]]
    if counted and counted[1] / counted[0] <= FEW:
        return "by its instructions it is not: that is noise, or where objects lie"
    if abs(math.log(row["twin"][1])) >= math.log(row["ratio"][1]) or row["twin"][2] >= row["ratio"][1]:
        return "its twin is as far from 1"
    return "nobody knows why"


def pyperformance_table(rows: Sequence[Row], counts: Row) -> str:
    """What was timed, then what was only counted."""
    lines = [
        "| benchmark | stock | ratio | quartiles | twin | quartiles | groups | instructions | ours | |",
        "|---|--:|---|---|---|---|--:|---|--:|---|",
    ]
    timed = {row["name"]: row for row in rows}
    for name in [*timed, *sorted(set(counts) - set(timed))]:
        cells, word, counted = [""] * 8, "not timed", counts.get(name, [])
        if row := timed.get(name):
            cells[0] = amount(row["seconds"][0] * 1e9, "ns")
            for index, key in ((1, "ratio"), (3, "twin")):
                low, middle, high = row[key]
                cells[index : index + 2] = [f"{middle:.3f}", f"{low:.3f} to {high:.3f}"]
            cells[5] = str(row["groups"])
            word = "ok" if row["ratio"][1] <= BAR else f"above: {reason(row, counted)}"
        if counted:
            stock, ours, own = counted
            cells[6:] = [f"x {ours / stock:.4f}", f"{own / ours:.2%}"]
        lines.append(f"| {' | '.join([name, *cells, word])} |")
    return "\n".join(lines)


def absent(known: Sequence[Sequence[str]]) -> str:
    reasons: dict[str, list[str]] = {}
    for name, reason in known:
        reasons.setdefault(reason, []).append(name)
    return "\n".join(f"- {', '.join(names)}: {reason}" for reason, names in reasons.items()) or "None is left out."


def applications_table(rows: Sequence[Row]) -> str:
    """What is more with snapsafe_rt, its quartiles, and what the twin has more."""
    names = {"imported": "CPU until imported", "exit": "and until exit", "peak": "peak", "private": "private"}
    lines = [
        f"| application (rank) | {' | '.join(f'{names[what]} | more' for what, _ in WHAT)} | groups |",
        "|---|" + "--:|---|" * len(WHAT) + "--:|",
    ]
    for row in rows:
        cells = []
        for what, unit in WHAT:
            digits = 1 if unit == "ms" else 0
            (low, middle, high), twin = row[what]["more"], row[what]["twin"][1]
            cells += [
                f"{row[what]['stock']:.{digits}f} {unit}",
                f"{middle:+.{digits}f} ({low:.{digits}f} to {high:.{digits}f}), twin {twin:+.{digits}f}",
            ]
        lines.append(f"| {row['version']} ({row['rank']}) | {' | '.join(cells)} | {row['groups']} |")
    return "\n".join(lines)


def chart(rows: Sequence[Row], below: str) -> str:
    """Of each benchmark the twin's quartiles in grey, ours in green, or in red above the bar, and the medians."""
    left, width, step = 270, 560, 20
    picture = Picture(900, 92 + step * len(rows), "pyperformance: CPU time with snapsafe / without", below)

    def x(ratio: float) -> float:
        return left + width * (min(max(ratio, LOW), HIGH) - LOW) / (HIGH - LOW)

    for hundredths in range(90, 111, 2):
        ratio = hundredths / 100
        picture.line(x(ratio), 68, x(ratio), 80 + step * len(rows), "#222" if hundredths == 100 else "#ddd")
        picture.text(x(ratio), 62, f"{ratio:.2f}", 11, anchor="middle", fill="#666")
    for index, row in enumerate(rows):
        top = 74 + step * index
        picture.text(16, top + 12, row["name"])
        colour = "#27803b" if row["ratio"][1] <= BAR else "#c0392b"
        for key, down, fill in (("twin", 10, "#b5b5b5"), ("ratio", 3, colour)):
            low, middle, high = map(x, row[key])
            picture.rect(low, top + down, max(2.0, high - low), 3, fill)
            picture.rect(middle - 2, top + down - 2, 4, 7, fill)
        picture.text(left + width + 8, top + 12, f"{row['ratio'][1]:.3f}", 11)
    return str(picture)
