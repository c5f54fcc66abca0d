"""Puts what is guarded into docs/guards.md, between its marks, as the guards' own files say it.

    python -m tests.helpers.guards_document FILE

tests/unit/test_guard_rows.py holds the document against this.
"""

import inspect
import sys
from pathlib import Path

import snapsafe_rt.activation  # noqa: F401 - names the guards that lie in other rooms
from snapsafe_rt.guards import examined, table

from .activation_document import between

BEGIN, END = "<!-- table -->\n", "<!-- /table -->\n"
EXAMINED = "<!-- examined -->\n", "<!-- /examined -->\n"


def rows() -> str:
    lines = ["| name | covers | level | how |", "|---|---|---|---|"]
    for name in (*table.TABLE, *table.NAMED):
        guard = table.load(name)
        how = guard.note() if name in table.NAMED else first_paragraph(type(guard))
        lines.append(f"| {name} | {', '.join(guard.covers)} | {guard.level} | {how} |")
    return "\n".join(lines) + "\n"


def first_paragraph(thing: object) -> str:
    return " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split()).removesuffix(".")


def examined_rows() -> str:
    lines = ["| name | version | level | what was seen |", "|---|---|---|---|"]
    lines += [f"| {one.name} | {one.version} | {one.level} | {one.what} |" for one in examined.EXAMINED]
    return "\n".join(lines) + "\n"


def filled(text: str) -> str:
    text = between(text, EXAMINED[0], f"\n{examined_rows()}\n", EXAMINED[1])
    return between(text, BEGIN, f"\n{rows()}\n", END)


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(filled(document.read_text()))
