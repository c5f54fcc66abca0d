"""snapsafe install: makes an interpreter activate at every start, by files in a folder that it reads then."""

import argparse
import os

from snapsafe_rt.cli import installation as files
from snapsafe_rt.cli import matrix, output
from snapsafe_rt.cli.installation import Target
from snapsafe_rt.errors import FAILED, NOT_PERMITTED, OK, Failure

EXAMPLES = (
    "snapsafe install",
    "snapsafe install --python /usr/bin/python3 --stdlib",
    "snapsafe install --prefix /image/usr",
)
EXITS = {
    OK: "done",
    FAILED: "no package that fits, or a file was changed by hand, or it does not activate",
    NOT_PERMITTED: "the folder may not be written",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    choose_interpreter(parser)
    parser.add_argument(
        "--stdlib",
        action="store_true",
        help="by a sitecustomize in the standard library's folder, which virtual environments see as well; one that is "
        "there already is kept and still runs",
    )
    parser.add_argument(
        "--start",
        action="store_true",
        help="a .start file (PEP 829) beside the .pth, for Python 3.15 and newer; from 3.18 on it is needed and "
        "written anyway; before, it only makes a start 7 ms slower",
    )
    parser.epilog = (
        "It says what it wrote, what that reaches, and what not. `snapsafe uninstall` with the same options undoes it."
    )


def choose_interpreter(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--python", metavar="EXE", help="this interpreter (default: the one that runs this command)")
    which.add_argument(
        "--prefix",
        metavar="DIR",
        help="all interpreters below DIR, an image's /usr or a virtual environment; nothing of it is executed",
    )


def main(options: argparse.Namespace) -> int:
    failures: list[Failure] = []
    reached: list[Target] = []
    for target in files.targets(options):
        try:
            folder = install(target, options.stdlib, options.start)
        except Failure as failure:
            failures.append(failure)
            continue
        reached.append(target)
        if not target.prefix:
            names = (files.HOOK, files.SITE) if options.stdlib else (files.HOOK,)
            files.compile_for(target.name, [os.path.join(folder, name) for name in names])
            if why := files.works(target):
                raise Failure(f"{folder}: is written, but {target.name} is not active when it starts: {why}", FAILED)
        output.say(_reached(target, folder, options.stdlib), "good")
    if not reached:
        raise failures[0]
    _tell_unreached(reached, options.stdlib, failures)
    return OK


def install(target: Target, stdlib: bool, start: bool) -> str:
    """Writes the files. Returns the folder they are in; raises Failure, with nothing half-done."""
    if stdlib and target.venv:
        raise Failure(
            f"{target.name}: is a virtual environment, whose standard library is its base's, {target.stdlib}; "
            "name the base's interpreter with --python"
        )
    folder, package = files.choose(target, stdlib)
    for name in (files.HOOK, files.SITE) if stdlib else (files.HOOK, files.START, files.PTH):
        path = os.path.join(folder, name)
        state = files.state(path)
        if state == "changed" or (state == "foreign" and name != files.SITE):
            raise Failure(f"{path}: was not written by this command, or changed since: look at it, then delete it")
    if stdlib:
        _write_stdlib(target, folder, package)
        return folder
    start = start or target.version >= files.OUTLIVES
    for name, content in files.contents(target, folder, package, stdlib=False, start=start, kept=False).items():
        _write(os.path.join(folder, name), content)
    return folder


def _write(path: str, content: bytes) -> None:
    output.say(("  wrote " if files.write(path, content) else "  already there: ") + path)


def _write_stdlib(target: Target, folder: str, package: str) -> None:
    """A sitecustomize that is there is moved aside, and moved back if ours then cannot be written."""
    site, kept = os.path.join(folder, files.SITE), os.path.join(folder, files.KEPT)
    theirs = files.state(site) == "foreign"
    if theirs and os.path.lexists(kept) and not files.same(site, kept):
        raise Failure(
            f"{site}: was replaced since it was installed, and {kept} holds the one before: delete one of the two"
        )
    contents = files.contents(target, folder, package, stdlib=True, start=False, kept=theirs or os.path.lexists(kept))
    _write(os.path.join(folder, files.HOOK), contents[files.HOOK])
    if theirs:
        files.move(site, kept)
        output.say(f"  kept {site} as {files.KEPT}")
    try:
        _write(site, contents[files.SITE])
    except Failure:
        if theirs:
            files.move(kept, site)
        raise


def _reached(target: Target, folder: str, stdlib: bool) -> str:
    user = not stdlib and not target.venv and folder.startswith(os.path.expanduser("~/.local") + os.sep)
    text = f"Reached: every start of {target}"
    text += ", and of the virtual environments made of it" if stdlib else ""
    if user:
        return text + ", by this user; not with -I or -s, which leave the user's packages out."
    return text + ". With -E and -I the SNAPSAFE variables are ignored, and the defaults hold."


def _tell_unreached(reached: list[Target], stdlib: bool, failures: list[Failure]) -> None:
    output.say("Not reached:")
    for words in matrix.unreached("stdlib" if stdlib else "install"):
        output.say(f"  {words}")
    if not any(target.prefix for target in reached):
        for other in files.others(reached[0]):
            output.say(f"  {other}")
    for failure in failures:
        output.say(f"  {failure}")
    if stdlib:
        output.say(
            "An upgrade of Python may put its own sitecustomize.py back: run this command again after it.", "warn"
        )
    elif any(files.managed(target) for target in reached):
        output.say(
            "The distribution looks after this interpreter (PEP 668). Its upgrades leave these files alone; "
            "after one to another version of Python install snapsafe-rt, and run this command, again.",
            "warn",
        )
