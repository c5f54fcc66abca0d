"""How the commands explain themselves: their help, and the one line for what was mistyped. Exit codes by their meaning.

Man page, completions and the web pages are made from the same parsers (site/).
"""

import argparse
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from snapsafe_rt import errors
from snapsafe_rt.cli.output import wrap

INTERRUPTED, BROKEN_PIPE = 130, 141  # the shells'
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as shells say it
PROGRAMS = "N"  # an exit code that is the program's

# What each means for every command. A command's own EXITS says what it means there.
EXITS = {
    errors.OK: "done",
    errors.FAILED: "failed, or not protected",
    errors.USAGE: "wrong usage",
    errors.BEFORE_FAILED: "a callback before the snapshot failed: nothing is quiesced",
    errors.NO_MANAGER: "there is no manager, and one is needed",
    errors.LATE: "done, but somebody was late",
    errors.BUSY: "there is a manager, but it does not hear us: others take up its connections, or it hangs",
    errors.NOT_PERMITTED: "not permitted",
    errors.CONFIGURATION: "refused: a setting or an installation is wrong (also `SNAPSAFE_STRICT=1`)",
    errors.BLOCKED: "a block lock is held: no snapshot now",
    NOT_EXECUTABLE: "the program cannot be executed",
    NOT_FOUND: "the program was not found",
    INTERRUPTED: "interrupted",
    BROKEN_PIPE: "the reader of the output went away",
}
_WIDEST, _TERM_MOST = 100, 26


class Formatter(argparse.HelpFormatter):
    """Lines that fit the terminal, and are not too long to read; nothing is broken at a hyphen."""

    def __init__(self, prog: str, **more: Any) -> None:
        super().__init__(prog, width=width(), **more)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line if line else "" for line in filled(text, width))

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrap(text, width, whole=True)


class Parser(argparse.ArgumentParser):
    """`notes`, `examples`, `exits`: what stands below the options."""

    notes = ""
    examples: tuple[str, ...] = ()
    exits: Mapping[Any, str] = {}

    def __init__(self, **more: Any) -> None:
        super().__init__(formatter_class=Formatter, **more)

    def explain(self, notes: str, examples: tuple[str, ...], exits: Mapping[Any, str]) -> None:
        self.notes, self.examples = notes, examples
        every = {errors.USAGE: EXITS[errors.USAGE], **exits}
        self.exits = {code: every[code] for code in sorted(every, key=lambda code: -1 if code == PROGRAMS else code)}

    def format_help(self) -> str:
        examples = listed("examples", ((one, "") for one in self.examples))
        self.epilog = paragraphs(self.notes, examples, listed("exit codes", self.exits.items()))
        return super().format_help()

    def parse(self, arguments: list[str]) -> argparse.Namespace:
        """As parse_args(); what is not known is told with the nearest that is."""
        options, unknown = self.parse_known_args(arguments)
        for word in unknown:
            given = word.partition("=")[0]
            if given.startswith("-") and given != "-":
                names = [name for name in self._option_string_actions if name.startswith("--")]
                self.error(f"unknown option: {given}; {self.way_out(given, names)}")
        if unknown:
            self.error(f"one word too many: {unknown[0]}; {self.way_out('', ())}")
        return options

    def way_out(self, given: str, names: Iterable[str], before: str = "") -> str:
        near = nearest(given, names)
        return f"did you mean `{before}{near}`?" if near else f"see `{self.prog} --help`"

    def error(self, message: str) -> NoReturn:
        """One line, as for everything that goes wrong."""
        self.exit(errors.USAGE, f"{self.prog}: error: {message}\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = list(map(str, action.choices))
            near = nearest(str(value), names)
            way_out = f"did you mean `{near}`?" if near else f"it is one of {', '.join(names)}"
            raise argparse.ArgumentError(action, f"there is no {value!r}; {way_out}")


def width() -> int:
    import shutil  # only now: most commands are not asked to explain themselves

    return min(shutil.get_terminal_size().columns, _WIDEST) - 2


def nearest(given: str, names: Iterable[str]) -> str:
    """The name that was meant, perhaps; else ""."""
    from difflib import get_close_matches

    names = list(names)
    begun = [name for name in names if given.strip("-") and name.startswith(given)]
    near = begun if len(begun) == 1 else get_close_matches(given, names, 1)
    return near[0] if near else ""


def listed(heading: str, rows: Iterable[tuple[Any, str]], least: int = 0) -> str:
    """Terms with their meaning beside them, as argparse shows options. `least`: room for terms of this length."""
    rows = [(str(term), text) for term, text in rows]
    if not rows:
        return ""
    column = min(max(least, *(len(term) for term, _ in rows)), _TERM_MOST) + 4
    lines = [f"{heading}:"]
    for term, text in rows:
        first, *rest = wrap(text, width() - column, whole=True) if text else [""]
        if len(term) + 4 > column:
            lines.append(f"  {term}")
            rest = [first, *rest] if first else rest
        else:
            lines.append(f"  {term:{column - 2}}{first}".rstrip())
        lines += [" " * column + line for line in rest]
    return "\n".join(lines)


def filled(text: str, most: int) -> list[str]:
    """Wrapped, but for lines that begin with a space."""
    lines = (line if line.startswith(" ") else wrap(line, most, whole=True) for line in text.split("\n"))
    return [one for line in lines for one in ([line] if isinstance(line, str) else line)]


def paragraphs(*parts: str) -> str:
    """With a line between them; parts that are "" are left out."""
    return "\n\n".join("\n".join(filled(part, width())) for part in parts if part)
