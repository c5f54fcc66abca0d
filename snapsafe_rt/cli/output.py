"""What the commands print: tables, paragraphs, progress. With `rich` on a terminal where it is installed, else plain.

The only module that knows of rich. Everything to a pipe or a file is plain text without colour.
"""

import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

# A cell, or the same in a tone: "good", "bad", "warn", "dim", "bold".
Cell = str | tuple[str, str]

_STYLES = {"good": "green", "bad": "bold red", "warn": "yellow", "dim": "dim", "bold": "bold"}
_FLEXIBLE_MINIMUM = 20
_QUIET_SECONDS = 2.0


def _console(stream: TextIO) -> "Console | None":
    if not stream.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(file=stream, highlight=False)


def _width(stream: TextIO) -> int | None:
    """Columns of the terminal; None where lines may be as long as they are."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def room() -> int | None:
    """How many columns there are to fill; None where lines may be as long as they are."""
    return _width(sys.stdout)


def text_of(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def say(text: str = "", tone: str = "") -> None:
    """A paragraph, wrapped; lines that begin with a space stay as they are."""
    width = min(_width(sys.stdout) or 80, 100)
    lines = []
    for line in text.split("\n"):
        keep = not line or line.startswith(" ")
        lines += [line] if keep else textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
    console = _console(sys.stdout)
    if console is None:
        print("\n".join(lines))
    else:
        console.print("\n".join(lines), style=_STYLES.get(tone), markup=False, soft_wrap=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, right: Sequence[int] = ()) -> None:
    """Aligned columns; the last one takes the room that is left and wraps. Columns of `right` are set to the right.

    Where the terminal is too narrow for that, each row becomes a block of lines.
    """
    widths = [max(len(text_of(cell)) for cell in column) for column in zip(columns, *rows, strict=True)]
    room = _width(sys.stdout)
    fixed = sum(widths[:-1]) + 2 * (len(columns) - 1)
    if room and fixed + min(widths[-1], _FLEXIBLE_MINIMUM) > room:
        _blocks(columns, rows)
    elif console := _console(sys.stdout):
        _rich_table(console, columns, rows, right)
    else:
        last = max(_FLEXIBLE_MINIMUM, room - fixed) if room else sum(widths) + 1
        _plain_table(columns, rows, widths, right, last)


def _rich_table(
    console: "Console", columns: Sequence[str], rows: Sequence[Sequence[Cell]], right: Sequence[int]
) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    for number, name in enumerate(columns):
        fixed = number < len(columns) - 1
        shown.add_column(name, justify="right" if number in right else "left", no_wrap=fixed, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(text_of(cell), style="" if isinstance(cell, str) else _STYLES[cell[1]]) for cell in row))
    console.print(shown)


def _plain_table(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]], widths: list[int], right: Sequence[int], last: int
) -> None:
    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(padded).rstrip()

    print(line(columns))
    print("  ".join("-" * width for width in [*widths[:-1], min(widths[-1], last)]))
    for row in rows:
        texts = [text_of(cell) for cell in row]
        for number, piece in enumerate(textwrap.wrap(texts[-1], last, break_on_hyphens=False) or [""]):
            print(line([*(texts[:-1] if number == 0 else [""] * (len(texts) - 1)), piece]))


def _blocks(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    width = _width(sys.stdout) or 80
    for row in rows:
        say(text_of(row[0]), "bold")
        for name, cell in zip(columns[1:], row[1:], strict=True):
            if text_of(cell):
                print(textwrap.fill(f"{name}: {text_of(cell)}", width, initial_indent="  ", subsequent_indent="    "))


@contextmanager
def progress(text: str, total: int) -> Iterator[Callable[[int], object]]:
    """Shows on stderr how far something is: a bar on a terminal, elsewhere a line now and then. To be called with how
    many of `total` are done."""
    console = _console(sys.stderr)
    if console is not None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        parts: tuple[Any, ...] = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Bar(*parts, console=console, transient=True) as bar:
            task = bar.add_task(text, total=total)
            yield lambda done: bar.update(task, completed=done)
        return
    terminal = sys.stderr.isatty()
    pause = 0.1 if terminal else _QUIET_SECONDS
    said = time.monotonic()

    def plain(done: int) -> None:
        nonlocal said
        if time.monotonic() - said >= pause:
            said = time.monotonic()
            line = f"{text}: {done} of {total}"
            print(f"\r{line}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)

    try:
        yield plain
    finally:
        if terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def seconds(text: str) -> float:
    """A time that an option gives. Raises ValueError, for argparse."""
    value = float(text)
    if not 0 <= value < 1e9:
        raise ValueError
    return value
