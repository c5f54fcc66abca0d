"""snapsafe manager: tells programs of this machine or container that it was restored."""

import argparse
import os

from snapsafe_rt import settings, sources
from snapsafe_rt.cli import CONFIGURATION, FAILED, NOT_PERMITTED, OK, Failure
from snapsafe_rt.core import MISSING, native

FILE = "/run/snapsafe/vmclock0"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--socket",
        metavar="PATH",
        default=sources.MANAGER,
        help="where Varlink is spoken (default: %(default)s)",
    )
    parser.add_argument(
        "--file",
        metavar="PATH",
        default=FILE,
        help="the file whose generation is moved (default: %(default)s)",
    )
    parser.epilog = (
        "Stays in the foreground; a service manager is told by sd_notify(3). It watches the sources of\n"
        "SNAPSAFE_SOURCES but for its own file, and the kernel's log. Ends with SIGTERM."
    )


def main(options: argparse.Namespace) -> int:
    if native is None:
        raise Failure(f"nothing can be watched: {MISSING}", CONFIGURATION)
    # What programs are to do is not meant for the one that serves them.
    wanted = settings.Settings().sources
    for name in [name for name in os.environ if name.startswith("SNAPSAFE")]:
        del os.environ[name]
    sources.borrowing = False  # of ourselves
    from snapsafe_rt.manager.service import Busy, Manager

    file = os.path.abspath(options.file)
    candidates, problems = sources.parse(wanted)
    if problems:
        raise Failure(f"SNAPSAFE_SOURCES: {'; '.join(problems)}", CONFIGURATION)
    names = [one.name for one in candidates if os.path.realpath(one.path) != os.path.realpath(file)]
    for path in (options.socket, file):
        _make_folder(os.path.dirname(os.path.abspath(path)))
    try:
        manager = Manager(os.path.abspath(options.socket), file, names)
    except Busy:
        raise Failure(
            f"another manager has {options.socket}: end that one, or name another --socket and --file"
        ) from None
    except OSError as error:
        raise _failure(options.socket, error) from None
    manager.run()
    return OK


def _make_folder(path: str) -> None:
    try:
        os.makedirs(path, mode=0o755, exist_ok=True)
    except OSError as error:
        raise _failure(path, error) from None


def _failure(path: str, error: OSError) -> Failure:
    if isinstance(error, PermissionError):
        return Failure(
            f"{error.filename or path}: not permitted to user {os.geteuid()} ({error.strerror}); run this as root, or "
            "name places of your own with --socket and --file",
            NOT_PERMITTED,
        )
    return Failure(f"{error.filename or path}: {error.strerror or error}", FAILED)
