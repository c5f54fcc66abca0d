"""Puts what is guarded into docs/guards.md, between its marks, as the guards' own files say it.

    python -m tests.helpers.guards_document FILE

tests/unit/test_guard_rows.py holds the document against this.
"""

import inspect
import sys
from pathlib import Path

import snapsafe_rt.activation  # noqa: F401 - names the guards that lie in other rooms
from snapsafe_rt.guards import table

from .activation_document import between

BEGIN, END = "<!-- table -->\n", "<!-- /table -->\n"


def rows() -> str:
    lines = ["| name | covers | level | how |", "|---|---|---|---|"]
    for name in (*table.TABLE, *table.NAMED):
        guard = table.load(name)
        how = guard.note() if name in table.NAMED else first_paragraph(type(guard))
        lines.append(f"| {name} | {', '.join(guard.covers)} | {guard.level} | {how} |")
    return "\n".join(lines) + "\n"


def first_paragraph(thing: object) -> str:
    return " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split()).removesuffix(".")


def filled(text: str) -> str:
    return between(text, BEGIN, f"\n{rows()}\n", END)


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(filled(document.read_text()))
