"""Puts the tables of snapsafe_rt.cli.matrix into docs/activation.md, between its marks.

    python -m tests.helpers.activation_document FILE [TOOL==VERSION]


The tests hold the same tables against real starts, and the document against this.
"""

import sys
from pathlib import Path

from snapsafe_rt.cli import matrix

BEGIN, END = "<!-- tables -->\n", "<!-- /tables -->\n"


def tables() -> str:
    """Three tables of one shape, and the reasons by number."""
    reasons: list[str] = []
    parts = []
    for title, cases in (
        ("started as", matrix.OPTIONS),
        ("where", matrix.PLACES),
        ("with", matrix.TOOLS),
    ):
        lines = [
            f"| {title} | {' | '.join(f'`{words}`' for words in matrix.WAYS.values())} |",
            "|---" * 6 + "|",
        ]
        for case in cases:
            cells = []
            for way in matrix.WAYS:
                reason = case.but.get(way)
                if reason and reason not in reasons:
                    reasons.append(reason)
                cells.append(f"**no** ({reasons.index(reason) + 1})" if reason else "yes")
            lines.append(f"| {case.words if cases is matrix.PLACES else f'`{case.words}`'} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    notes = "\n".join(f"{number}. {reason}" for number, reason in enumerate(reasons, 1))
    return "\n\n".join([*parts, notes]) + "\n"


def filled(text: str, versions: str | None = None) -> str:
    """The document with the tables of now, and with the tools' versions if they are given."""
    text = between(text, BEGIN, f"\n{tables()}\n", END)
    return between(text, "<!-- versions -->\n", versions + "\n", "<!-- /versions -->\n") if versions else text


def between(text: str, begin: str, inside: str, end: str) -> str:
    before, _, rest = text.partition(begin)
    return before + begin + inside + end + rest.partition(end)[2]


if __name__ == "__main__":
    document = Path(sys.argv[1])
    said = ", ".join(argument.replace("==", " ") for argument in sys.argv[2:])
    document.write_text(filled(document.read_text(), f"Seen with {said}." if said else None))
