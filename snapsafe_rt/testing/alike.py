"""Finds what two clones returned alike, and shows it as a table."""

import dataclasses
import hashlib
import types
from collections import UserString
from collections.abc import Iterator, Mapping, Sequence, Set, ValuesView
from typing import Any, NamedTuple

SHOWN = 60  # characters of a value
MOST = 20  # rows of a table
WHOLE = (str, bytes, bytearray, range, UserString)  # sequences that are one value
HUGE = 1 << 13  # bits: from some number of digits on Python refuses to write an integer in decimal
OTHERS = "[other names]"
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
    """What a clone returned, taken apart: a mapping by its keys, a record by its fields, each element of a list or set
    for itself. What is left whole differs as soon as any part of it does, a time for example.

    Elements of one list have one name: a value that stands in another clone's list at another place is alike too.
    Raises Unfit for what cannot be compared.
    """
    parts: list[tuple[str, Any]] | None = None
    listed = hasattr(value, "tolist")  # numpy's arrays and array.array: their repr leaves most of it out
    if isinstance(value, Mapping):
        parts = [(f"{name}[{key!r}]", one) for key, one in value.items()]
    elif listed and getattr(getattr(value, "dtype", None), "hasobject", False):
        parts = [(name, value.tolist())]
    elif isinstance(value, Sequence | Set | ValuesView) and not listed and not isinstance(value, WHOLE):
        parts = [(name, one) for one in value]
    elif (fields := _fields(value)) is not None:
        parts = [(f"{name}.{field}", getattr(value, field)) for field in fields]
    if parts is None:
        yield _leaf(value.tolist() if listed else value, type(value).__name__, name)
        return
    if not parts:
        raise _unfit(f"an empty {type(value).__name__}", name)
    for own, one in parts:
        yield from leaves(one, own)


def _fields(value: Any) -> list[str] | None:
    """Names of a record's fields; None for all else. The repr of one is not enough: it shows some of them, in one."""
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    if hasattr(kind, "__attrs_attrs__"):
        return [field.name for field in kind.__attrs_attrs__]
    if hasattr(kind, "__struct_fields__"):  # msgspec's
        return list(kind.__struct_fields__)
    # pydantic's models have theirs in __dict__.
    return list(vars(value)) if kind is types.SimpleNamespace or hasattr(kind, "__pydantic_validator__") else None


def _leaf(value: Any, kind: str, name: str) -> Leaf:
    if value is None:
        raise _unfit("nothing", name)
    text = hex(value) if type(value) is int and value.bit_length() > HUGE else repr(value)
    # An address says nothing: it is the same in each clone, or differs by where the clone had room.
    if text.startswith("<") or (" at 0x" in text and not isinstance(value, WHOLE)):
        raise _unfit(f"a {kind}", name)
    digest = hashlib.sha256(f"{kind} {text}".encode("utf-8", "backslashreplace")).digest()
    return Leaf(name, digest, text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")


def _unfit(what: str, name: str) -> Unfit:
    return Unfit(f"it returned {what}{f' as {name}' if name else ''}: {WANTED}")


def by_common_names(found: list[list[Leaf]]) -> list[list[Leaf]]:
    """The same leaves of each clone. What has a name that not each clone has, as the id of a row, gets one name for all
    such: else it would be compared with nothing."""
    common = set.intersection(*({leaf.name for leaf in clone} for clone in found))
    return [[leaf if leaf.name in common else leaf._replace(name=OTHERS) for leaf in clone] for clone in found]


def compare(found: list[list[Leaf]]) -> list[Row]:
    """A row for each value that more than one clone has; `found`: of each clone, by its number."""
    owners: dict[tuple[str, bytes], Row] = {}
    for number, clone in enumerate(by_common_names(found)):
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
