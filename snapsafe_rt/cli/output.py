"""What the commands print: tables, paragraphs, commands to copy, progress.

One layout for all: lines of pieces, each with a tone. They are printed as plain text; or by `rich`, which gives the
tones their colours, where it is installed and stdout is a terminal. This is the only module that knows of rich. To a
pipe or a file lines may be as long as they are; on a terminal they fit it.
"""

import itertools
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

# A cell, or the same in a tone: "good", "bad", "warn", "dim", "bold".
Cell = str | tuple[str, str]
Line = Sequence[tuple[str, str]]  # pieces: text, tone

_STYLES = {"good": "green", "bad": "bold red", "warn": "yellow", "dim": "dim", "bold": "bold", "": ""}
_PROSE_MOST = 100  # columns: longer lines are hard to read
_COLUMN_LEAST, _LAST_LEAST, _GAP = 16, 20, 2
_NARROW, _BAR = 80, 20
_SHOWN_AFTER, _QUIET_SECONDS, _AGAIN_SECONDS = 0.3, 2.0, 0.1
_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|\\.|\S)+""")  # of a shell's command


# ---- where it goes ----


def _dumb() -> bool:
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def _console() -> "Console | None":
    """None where colours are not wanted, or there is no rich."""
    forced = os.environ.get("FORCE_COLOR") and sys.stdout in (sys.__stdout__, sys.__stderr__)
    if not (sys.stdout.isatty() or forced) or os.environ.get("NO_COLOR") or _dumb():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(file=sys.stdout, highlight=False)


def _width(stream: TextIO) -> int | None:
    """Columns of the terminal; None where lines may be as long as they are."""
    if not stream.isatty():
        return None
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _NARROW
    except (OSError, ValueError):
        return _NARROW


def room() -> int | None:
    """How many columns there are to fill; None where lines may be as long as they are."""
    return _width(sys.stdout)


def _emit(lines: Iterable[Line]) -> None:
    """The one way out."""
    console = _console()
    if console is None:
        for line in lines:
            print("".join(text for text, _ in line).rstrip())
        return
    from rich.text import Text

    for line in lines:
        shown = Text.assemble(*((text, _STYLES[tone]) for text, tone in line))
        shown.rstrip()
        console.print(shown, soft_wrap=True)


# ---- the layout ----


def text_of(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def _clean(text: str) -> str:
    """A path or a name may hold anything; nothing of it is to move the cursor."""
    if text.isprintable():
        return text
    from snapsafe_rt.report.procfs import printable

    return printable(text)


def _columns(text: str) -> int:
    """How many it takes on a terminal."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(letter) else 2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def wrap(text: str, most: int, whole: bool = False) -> list[str]:
    """Lines of at most `most` columns; at least one. `whole`: words that are longer stay in one piece."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        joined = f"{line} {word}" if line else word
        if _columns(joined) <= most:
            line = joined
        elif whole or _columns(word) <= most:
            lines += [line] if line else []
            line = word
        else:
            line = joined
            while _columns(line) > most:
                end = next(
                    end for end in range(min(len(line), most), 0, -1) if end == 1 or _columns(line[:end]) <= most
                )
                end = line.rfind("/", end // 2, end) + 1 or end
                lines.append(line[:end].rstrip())
                line = line[end:].lstrip()
    return [*lines, line]


def shorten(text: str, most: int) -> str:
    """Without its middle: of a path, both ends tell more."""
    if len(text) <= most:
        return text
    head = (most - 3) // 3
    return f"{text[:head]}...{text[head + 3 - most :]}"


def reasons(told: Iterable[tuple[str, str]]) -> str:
    """(name, why) each, of which several may have the same why: that is said once."""
    found = []
    for why, alike in itertools.groupby(told, lambda one: one[1]):
        names = [name for name, _ in alike]
        found.append(f"{names[0]} {why}" if len(names) == 1 else f"{', '.join(names)}: {why}")
    return "; ".join(found)


def once(reasons: Sequence[str]) -> list[str]:
    """Of rows below each other: what stands in the row before is not said again."""
    pairs = zip(["", *reasons], reasons, strict=False)
    return ["the same" if reason and reason == before else reason for before, reason in pairs]


def say(text: str = "", tone: str = "") -> None:
    """Paragraphs, wrapped. Lines that begin with a space are wrapped on a terminal only, and stay below it."""
    room = _width(sys.stdout)
    most = min(room or _NARROW, _PROSE_MOST)
    lines: list[str] = []
    for line in map(_clean, text.split("\n")):
        indent = " " * (len(line) - len(line.lstrip()))
        if not indent:
            lines += wrap(line, most, whole=room is None)
        elif room is None:
            lines.append(line)
        else:
            first, *rest = wrap(line, room - len(indent) - 2)
            lines += [f"{indent}{first}", *(f"{indent}  {piece}" for piece in rest)]
    _emit([(line, tone)] for line in lines)


def command(text: str) -> None:
    """A line for a shell, to be copied: what is too long for the terminal goes on after a backslash."""
    room = _width(sys.stdout)
    if room is None or len(text) + 2 <= room:
        _emit([[(f"  {text}", "bold")]])
        return
    code, _, remark = text.partition("   # ")
    lines = [f"  # {piece}" for piece in wrap(remark, room - 4)] if remark else []
    line = " "
    for word in _WORD.findall(code):
        if line.strip() and len(line) + len(word) + 3 > room:
            lines.append(f"{line} \\")
            line = "     "
        line += f" {word}"
    _emit([(line, "bold")] for line in [*lines, line])


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, right: Sequence[int] = ()) -> None:
    """Aligned columns, those of `right` to the right. Where the terminal is too narrow the widest wrap; where it is
    much too narrow, each row becomes a block of lines."""
    cleaned = [[_clean(text_of(cell)) for cell in row] for row in rows]
    tones = [["" if isinstance(cell, str) else cell[1] for cell in row] for row in rows]
    widths = [max(map(_columns, column)) for column in zip(columns, *cleaned, strict=True)]
    if (room := _width(sys.stdout)) is not None and not _fit(widths, columns, right, room):
        _emit(_blocks(columns, cleaned, tones, room))
        return

    def lines(cells: Sequence[str], tones: Sequence[str]) -> Iterator[Line]:
        folded = [wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
        for pieces in itertools.zip_longest(*folded, fillvalue=""):
            made = []
            for number, (piece, width, tone) in enumerate(zip(pieces, widths, tones, strict=True)):
                fill = " " * (width - _columns(piece))
                gap = " " * _GAP if number < len(widths) - 1 else ""
                made += [(fill, ""), (piece, tone), (gap, "")] if number in right else [(piece, tone), (fill + gap, "")]
            yield made

    _emit(lines(columns, ["bold"] * len(columns)))
    _emit([[((" " * _GAP).join("-" * width for width in widths), "dim")]])
    _emit(line for texts, its in zip(cleaned, tones, strict=True) for line in lines(texts, its))


def _fit(widths: list[int], columns: Sequence[str], right: Sequence[int], room: int) -> bool:
    """Take from the widest columns what is too much; False where that cannot be done."""
    last = len(widths) - 1
    least = [
        width
        if number in right
        else min(width, max(len(columns[number]), _LAST_LEAST if number == last else _COLUMN_LEAST))
        for number, width in enumerate(widths)
    ]
    over = sum(widths) + _GAP * last - room
    while over > 0:
        spare = [number for number, width in enumerate(widths) if width > least[number]]
        if not spare:
            return False
        widths[max(spare, key=lambda number: widths[number])] -= 1
        over -= 1
    return True


def _blocks(
    columns: Sequence[str], rows: Sequence[Sequence[str]], tones: Sequence[Sequence[str]], room: int
) -> Iterator[Line]:
    for row, its in zip(rows, tones, strict=True):
        yield from ([(line, "bold")] for line in wrap(row[0], room))
        for name, cell, tone in zip(columns[1:], row[1:], its[1:], strict=True):
            if cell:
                first, *rest = wrap(f"{name}: {cell}", room - 4)
                yield from ([(line, tone)] for line in (f"  {first}", *(f"    {piece}" for piece in rest)))


# ---- progress ----


@contextmanager
def progress(text: str, total: int) -> Iterator[Callable[[int], object]]:
    """Shows on stderr how far something is: a bar on a terminal, elsewhere a line now and then. To be called with how
    many of `total` are done."""
    room = _width(sys.stderr)
    said = time.monotonic() + (_SHOWN_AFTER - _AGAIN_SECONDS if room else 0)
    shown = False

    def tell(done: int) -> None:
        nonlocal said, shown
        if time.monotonic() - said < (_AGAIN_SECONDS if room else _QUIET_SECONDS):
            return
        said = time.monotonic()
        shown = True
        line = f"{text}: {done} of {total}"
        if room is None:
            print(line, file=sys.stderr, flush=True)
            return
        bar = "#" * (done * _BAR // max(total, 1))
        print(f"\r{f'{line}  [{bar:.<{_BAR}}]'[: room - 1]}", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        if shown and room is not None:
            print(f"\r{' ' * (room - 1)}\r", end="", file=sys.stderr, flush=True)


def seconds(text: str) -> float:
    """A time that an option gives. Raises ValueError, for argparse."""
    value = float(text)
    if not 0 <= value < 1e9:
        raise ValueError
    return value
