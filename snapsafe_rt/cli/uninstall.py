"""snapsafe uninstall: takes away what `snapsafe install` wrote, and only that."""

import argparse
import os

from snapsafe_rt.cli import installation as files
from snapsafe_rt.cli import output
from snapsafe_rt.cli.install import choose_interpreter
from snapsafe_rt.errors import FAILED, NOT_PERMITTED, OK, Failure

EXAMPLES = ("snapsafe uninstall", "snapsafe uninstall --python /usr/bin/python3 --stdlib")
EXITS = {
    OK: "done, or there was nothing to do",
    FAILED: "a file was changed since, and is left where it is, with the reason",
    NOT_PERMITTED: "the folder may not be written",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    choose_interpreter(parser)
    parser.add_argument("--stdlib", action="store_true", help="what `install --stdlib` wrote")


def main(options: argparse.Namespace) -> int:
    removed: list[str] = []
    left: list[str] = []
    targets = files.targets(options)
    for folder in dict.fromkeys(place for t in targets for place in ((t.stdlib,) if options.stdlib else t.sites)):
        try:
            if options.stdlib:
                _give_back_site(folder, removed, left)
            for name in (files.HOOK,) if options.stdlib else (files.PTH, files.START, files.HOOK):
                _remove(os.path.join(folder, name), removed, left)
            files.sweep(folder)
        except OSError as error:
            raise files.refused(error.filename or folder, error) from None
    for line in removed:
        output.say(line)
    if left:
        raise Failure("; ".join(left), FAILED)
    if not removed:
        output.say(f"Nothing to undo for {' and '.join(map(str, targets))}.")
    return OK


def _remove(path: str, removed: list[str], left: list[str]) -> None:
    state = files.state(path)
    if state == "ours":
        os.unlink(path)
        files.forget_compiled(path)
        removed.append(f"  removed {path}")
    elif state != "absent":
        left.append(f"{path}: left: " + _why(state))


def _why(state: str) -> str:
    return "it was changed since it was written" if state == "changed" else "it was not written by `snapsafe install`"


def _give_back_site(folder: str, removed: list[str], left: list[str]) -> None:
    site, kept = os.path.join(folder, files.SITE), os.path.join(folder, files.KEPT)
    state = files.state(site)
    if not os.path.lexists(kept):
        if state in ("ours", "changed"):
            _remove(site, removed, left)
        return
    if state in ("ours", "absent"):
        files.forget_compiled(site)
        files.move(kept, site)
        removed.append(f"  gave back {site}")
    elif state == "foreign" and files.same(site, kept):  # an upgrade put it back before us
        os.unlink(kept)
        files.forget_compiled(kept)
        removed.append(f"  removed {kept}")
    else:
        left.append(f"{site}: left: {_why(state)}; the one before it is {kept}")
