"""FOLDER: writes the man page and the completions of the command there, from its parser."""

import argparse
import sys
from pathlib import Path

import shtab

from snapsafe_rt.cli import main, usage

COMPLETIONS = {"bash": "snapsafe", "zsh": "_snapsafe", "fish": "snapsafe.fish"}


def text(plain: str) -> str:
    """As troff reads it."""
    escaped = plain.replace("\\", r"\e").replace("-", r"\-")
    return "\n".join(rf"\&{line}" if line.startswith((".", "'")) else line for line in escaped.split("\n"))


def terms(rows: "list[tuple[str, str]]") -> str:
    return "".join(f".TP\n.B {text(term)}\n{text(meaning)}\n" for term, meaning in rows)


def options(parser: argparse.ArgumentParser) -> "list[tuple[str, str]]":
    rows = []
    for one in parser._actions:
        if one.help == argparse.SUPPRESS:
            continue
        value = one.metavar or ("{" + ",".join(map(str, one.choices)) + "}" if one.choices else one.dest.upper())
        name = ", ".join(one.option_strings) or str(value)
        takes = f" {value}" if one.option_strings and one.nargs != 0 else ""
        rows.append((f"{name}{takes}", parser._get_formatter()._expand_help(one)))
    return rows


def page() -> str:
    """The man page: the commands in their groups, then each with its options, examples and exit codes."""
    whole = main.whole_parser()
    made = [
        '.TH SNAPSAFE "1" "" "snapsafe" "snapsafe_rt"\n.SH NAME\nsnapsafe \\- uniqueness in clones of machines\n',
        f".SH SYNOPSIS\n.B snapsafe\n{text('[-h] [--version] COMMAND ...')}\n.SH DESCRIPTION\n{text(main.ABOUT)}\n",
    ]
    for group in dict.fromkeys(one.group for one in main.COMMANDS):
        made.append(f".SH COMMANDS: {group.upper()}\n")
        made.append(terms([(f"snapsafe {one.name}", one.summary) for one in main.COMMANDS if one.group == group]))
    made.append(f".SH EXAMPLES\n{terms(list(main.EXAMPLES.items()))}")
    made.append(f".SH EXIT STATUS\n{terms([(str(code), meaning) for code, meaning in usage.EXITS.items()])}")
    for command, parser in main.parsers(whole):
        synopsis = parser.format_usage().removeprefix("usage: ").rstrip()
        made.append(f".SH SNAPSAFE {text(command.name.upper())}\n.nf\n{text(synopsis)}\n.fi\n.PP\n")
        made.append(f"{text(parser.description or '')}\n")
        made.append(terms(options(parser)))
        made += [f".PP\n{text(part)}\n" for part in parser.notes.split("\n\n") if part]
        made.append(f".PP\nExamples:\n.nf\n{text(chr(10).join(f'    {one}' for one in parser.examples))}\n.fi\n")
        made.append(f".PP\nExit codes:\n{terms([(str(code), meaning) for code, meaning in parser.exits.items()])}")
    return "".join(made)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for shell, name in COMPLETIONS.items():
        (folder / name).write_text(shtab.complete(main.whole_parser(), shell).rstrip() + "\n")
    (folder / "snapsafe.1").write_text(page())
