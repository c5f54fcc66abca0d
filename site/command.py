"""FOLDER: writes the man page and the completions of the command there, from its parser."""

import sys
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

from snapsafe_rt.cli.main import whole_parser

COMPLETIONS = {"bash": "snapsafe", "zsh": "_snapsafe", "fish": "snapsafe.fish"}

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    parser = whole_parser()
    for shell, name in COMPLETIONS.items():
        (folder / name).write_text(shtab.complete(parser, shell).rstrip() + "\n")
    parser.man_short_description = "uniqueness in clones of machines"  # type: ignore[attr-defined]
    page = Manpage(parser)
    page.date, page.manual = "", "snapsafe_rt"  # the day of the build is no fact of the command
    (folder / "snapsafe.1").write_text(str(page).rstrip() + "\n")
