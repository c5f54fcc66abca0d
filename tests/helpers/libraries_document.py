"""The table of docs/libraries.md, which is also what is kept of the runs of .ci/libraries; for it, and for tests."""

import re

from tests.libraries.listed import LEVELS

from .activation_document import between

BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->\n"
Measured = dict[tuple[str, str], dict[str, tuple[str, str]]]
"""Of each (library, version) what is drawn: its level, and how that comes about."""


def read(text: str) -> Measured:
    found: Measured = {}
    for line in text.partition(BEGIN)[2].partition(END)[0].splitlines():
        cells = [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
        if len(cells) == 5 and cells[3] in LEVELS:
            for version in cells[1].split(", "):
                found.setdefault((cells[0], version), {})[cells[2]] = cells[3], cells[4]
    return found


def filled(text: str, measured: Measured) -> str:
    """Newest versions first: as they stand in `measured`."""
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    for (package, version), surfaces in sorted(measured.items(), key=lambda item: item[0][0]):
        for what, (level, how) in surfaces.items():
            rows.setdefault((package, what, level, how), []).append(version)
    lines = ["| library | versions | what is drawn | level | how |", "|---|---|---|---|---|"]
    for (package, what, level, how), versions in rows.items():
        cells = [package, ", ".join(versions), what, level, how]
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    worst = [worst_of(level for level, _ in surfaces.values()) for surfaces in newest(measured).values()]
    counts = ", ".join(f"{worst.count(level)} {level}" for level in LEVELS if level in worst)
    said = f"{len(worst)} libraries, each called what its worst surface is: {counts}."
    return between(text, BEGIN, "\n".join(["", said, "", *lines, "", ""]), END)


def newest(measured: Measured) -> dict[str, dict[str, tuple[str, str]]]:
    """Of each library what was measured of its newest version."""
    return {package: surfaces for (package, _), surfaces in reversed(measured.items())}


def worst_of(levels: object) -> str:
    found = set(levels)  # type: ignore[call-overload]
    return next(level for level in LEVELS if level in found)
