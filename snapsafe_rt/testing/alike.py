"""Finds what two clones returned alike, and shows it as a table."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

SHOWN = 60  # characters of a value
MOST = 20  # rows of a table
WANTED = "it has to return the values that must differ in each clone"


class Unfit(TypeError):
    """What a clone returned cannot be compared, or is nothing."""


class Leaf(NamedTuple):
    """One value that must differ from those of the same name in other clones."""

    name: str
    digest: bytes
    shown: str


class Row(NamedTuple):
    name: str
    clones: list[int]
    shown: str


def leaves(value: Any, name: str = "") -> Iterator[Leaf]:
    """What a clone returned, taken apart: a mapping by its keys, each element of a list, tuple or set for itself.

    Elements of one list have one name: a value that stands in another clone's list at another place is alike too.
    Raises Unfit for what cannot be compared.
    """
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from leaves(one, f"{name}[{key!r}]")
    elif isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from leaves(one, name)
    else:
        # numpy's arrays and array.array: their repr leaves most of it out.
        text = repr(value.tolist()) if hasattr(value, "tolist") else repr(value)
        if value is None or text.startswith("<"):
            where = f" as {name}" if name else ""
            raise Unfit(f"it returned {'nothing' if value is None else f'a {type(value).__name__}'}{where}: {WANTED}")
        digest = hashlib.sha256(f"{type(value).__name__} {text}".encode("utf-8", "backslashreplace")).digest()
        yield Leaf(name, digest, text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")


def compare(found: list[list[Leaf]]) -> list[Row]:
    """A row for each value that more than one clone has; `found`: of each clone, by its number."""
    owners: dict[tuple[str, bytes], Row] = {}
    for number, clone in enumerate(found):
        for leaf in dict.fromkeys(clone):
            row = owners.setdefault((leaf.name, leaf.digest), Row(leaf.name, [], leaf.shown))
            row.clones.append(number)
    return [row for row in owners.values() if len(row.clones) > 1]


def table(rows: list[Row], count: int) -> str:
    """Plain text, for the message of a failed test."""
    cells = [("value", "in clones", "which all of these returned")]
    for row in rows[:MOST]:
        numbers = ", ".join(map(str, row.clones[:6])) + (", ..." if len(row.clones) > 6 else "")
        cells.append((row.name or "returned", f"all {count}" if len(row.clones) == count else numbers, row.shown))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ("-" * widths[0], "-" * widths[1], "-" * widths[2]))
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    if len(rows) > MOST:
        lines.append(f"and {len(rows) - MOST} more")
    return "\n".join(lines)
