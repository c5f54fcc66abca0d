"""snapsafe trigger: moves the generation of a file source, as whoever restores a snapshot does."""

import argparse
import contextlib
import os
import stat

from snapsafe_rt import settings
from snapsafe_rt.cli.shipped import failure
from snapsafe_rt.core import MISSING, native
from snapsafe_rt.errors import FAILED, NOT_PERMITTED, OK, USAGE, Failure
from snapsafe_rt.source import selection, vmclock_file
from snapsafe_rt.source.vmclock_file import ENTROPY_LEAST, ENTROPY_MOST

EXAMPLES = ("snapsafe trigger --create", "snapsafe trigger --entropy - <seed")
EXITS = {
    OK: "done",
    FAILED: "there is no such file, or it is no source; or the kernel was not reseeded, and the restore is told anyway",
    NOT_PERMITTED: "the file may not be written, or the kernel not be reseeded, and the restore is told anyway",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--path", metavar="FILE", help="the file source (default: the file that programs here watch)")
    parser.add_argument("--create", action="store_true", help="make the file, and its folder, where there is none")
    parser.add_argument(
        "--entropy",
        metavar="FILE",
        help=f"first feed the kernel {ENTROPY_LEAST} to {ENTROPY_MOST} bytes, secret and different in every clone, "
        "and make it reseed its generator; - reads them from standard input",
    )
    parser.add_argument(
        "--frozen",
        action=argparse.BooleanOptionalAction,
        help="claim that at every restore the programs stay frozen until the file was moved (as CRIU's action script "
        "does), so that they trust it as they do a device; or take the claim back",
    )
    parser.epilog = "Prints the old generation and the new one: OLD -> NEW."


def main(options: argparse.Namespace) -> int:
    path = os.path.abspath(options.path) if options.path is not None else watched_file()
    seed = _read_entropy(options.entropy) if options.entropy is not None else b""
    not_reseeded = _reseed(seed) if seed else None
    if options.create:
        _create(path)
    try:
        old, new = vmclock_file.publish(path, reseeded=bool(seed) and not_reseeded is None, synchronous=options.frozen)
    except OSError as error:
        raise _failure(path, error) from None
    print(f"{old} -> {new}", flush=True)
    if not_reseeded:
        # Programs know of the restore all the same: telling them is never the less safe thing.
        raise not_reseeded
    return OK


def watched_file() -> str:
    """The first file of SNAPSAFE_SOURCES: one that is there, else one that could be."""
    candidates, _ = selection.parse(settings.Settings().sources)
    paths = [candidate.path for candidate in candidates if candidate.kind == "vmclock"]
    for path in paths:
        with contextlib.suppress(OSError):
            if stat.S_ISREG(os.stat(path).st_mode):
                return path
    for path in paths:
        if not path.startswith("/dev/") or path.startswith("/dev/shm/"):
            return path
    raise Failure("SNAPSAFE_SOURCES names no file: say which one with --path", USAGE)


def _read_entropy(path: str) -> bytes:
    name = "standard input" if path == "-" else path
    try:
        with open(0 if path == "-" else path, "rb", buffering=ENTROPY_MOST, closefd=path != "-") as file:
            seed = file.read(ENTROPY_MOST)  # from a pipe or socket: until it ends, or there are so many
    except OSError as error:
        code = NOT_PERMITTED if isinstance(error, PermissionError) else FAILED
        raise Failure(f"--entropy {name}: cannot be read ({error.strerror}); nothing was done", code) from None
    if len(seed) < ENTROPY_LEAST:
        raise Failure(f"{name}: holds {len(seed)} bytes, at least {ENTROPY_LEAST} are needed; nothing was done")
    return seed


def _reseed(seed: bytes) -> Failure | None:
    if native is None:
        return Failure(f"the kernel was not reseeded: {MISSING}")
    try:
        native.reseed_kernel(seed, 8 * len(seed))
    except PermissionError:
        return Failure("the kernel was not reseeded: that takes CAP_SYS_ADMIN; run this as root", NOT_PERMITTED)
    except OSError as error:
        return Failure(f"the kernel was not reseeded: {error.strerror}")
    return None


def _create(path: str) -> None:
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        vmclock_file.create(path, generation=0)
    except FileExistsError:
        pass
    except OSError as error:
        raise _failure(path, error) from None


def _failure(path: str, error: OSError) -> Failure:
    if isinstance(error, FileNotFoundError):
        return Failure(f"{path}: does not exist; --create makes it")
    if isinstance(error, IsADirectoryError):
        return Failure(f"{path}: is a folder; --path takes the file in it, such as {os.path.join(path, 'vmclock0')}")
    if isinstance(error, vmclock_file.NotASource):
        return Failure(f"{path}: {error.strerror}")
    return failure(path, error, "name a file of your own with --path")
