"""snapsafe run: executes a program with the activation folder first on its PYTHONPATH."""

import argparse
import os
import signal
import sys
from typing import NoReturn

from snapsafe_rt.cli import reach, usage
from snapsafe_rt.cli.shipped import activation_folder
from snapsafe_rt.cli.usage import NOT_EXECUTABLE, NOT_FOUND, PROGRAMS
from snapsafe_rt.errors import USAGE, Failure

TAKES_PROGRAM = True
EXAMPLES = ("snapsafe run python app.py", "snapsafe run --quiet -- gunicorn -w 4 app:app")
EXITS = {PROGRAMS: "the program's own"} | {code: usage.EXITS[code] for code in (NOT_EXECUTABLE, NOT_FOUND)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "snapsafe run [-h] [--quiet] [--] PROGRAM [ARGUMENT ...]"
    parser.add_argument("--quiet", action="store_true", help="do not say on stderr that nothing will be protected")
    parser.epilog = (
        "The program takes this process's place. Every Python that it starts is protected as well, but for one that is "
        "started with -I, -E or -S."
    )


def main(options: argparse.Namespace) -> NoReturn:
    program: list[str] = options.program
    if not program or not program[0]:
        raise Failure("which program? For example: snapsafe run python app.py", USAGE)
    environment = activating()
    why_not = "" if options.quiet else reach.why_not(program, environment)
    if why_not:
        print(f"snapsafe run: not protected: {why_not}", file=sys.stderr)
    sys.stdout.flush()
    # What Python ignores would be ignored in the program too.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execvpe(program[0], program, environment)
    except FileNotFoundError:
        raise Failure(f"{program[0]}: not found", NOT_FOUND) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Failure(f"{program[0]}: cannot be executed: {reason}", NOT_EXECUTABLE) from None


def activating() -> dict[str, str]:
    """The environment of a program that is to be activated."""
    environment = dict(os.environ)
    _uncoerce_locale(environment)
    environment["PYTHONPATH"] = _first(activation_folder(), environment.get("PYTHONPATH", ""))
    return environment


def _first(folder: str, path: str) -> str:
    rest = [entry for entry in path.split(os.pathsep) if entry != folder] if path else []
    return os.pathsep.join([folder, *rest])


def _uncoerce_locale(environment: dict[str, str]) -> None:
    """In the C locale Python sets LC_CTYPE for itself (PEP 538); the program must not see that."""
    try:
        with open("/proc/self/environ", "rb") as file:
            given = file.read().split(b"\0")
    except OSError:
        return
    if environment.get("LC_CTYPE") and not any(entry.startswith(b"LC_CTYPE=") for entry in given):
        del environment["LC_CTYPE"]
