"""snapsafe wait-restored: sleeps until this machine's source changes; for shell scripts and entry points.

The watcher of every program watches (cython/watcher.h); where nothing can wake that, this looks now and then.
"""

import argparse
import os
import threading

from snapsafe_rt import activation
from snapsafe_rt.cli.output import reasons, seconds
from snapsafe_rt.core import MISSING, native
from snapsafe_rt.errors import CONFIGURATION, FAILED, OK, Failure
from snapsafe_rt.restore.limit import Limit
from snapsafe_rt.restore.registration import register_after_restore
from snapsafe_rt.source import probe, selection
from snapsafe_rt.state import state

EXAMPLES = ("snapsafe wait-restored && systemctl restart app", "snapsafe wait-restored --since 8 --timeout 60")
EXITS = {
    OK: "the source changed",
    FAILED: "the time is over",
    CONFIGURATION: "there is no source that could be watched",
}
BACKSTOP_SECONDS = 1.0  # inotify sees no stores to a mapping (inotify(7)); a writer should end with write(2)
NO_POLL_SECONDS = 0.1  # where the watcher has a timer alone: for a device whose driver has no poll (Linux before 7.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--timeout", type=seconds, metavar="SECONDS", help="give up after that; 0 looks once")
    parser.add_argument(
        "--since",
        type=generation,
        metavar="GENERATION",
        help="the generation that is known: return at once if the source shows another one",
    )
    parser.epilog = "Prints the old generation and the new one: OLD -> NEW."


def generation(text: str) -> int:
    """Of --since; argparse names it in what it says. Raises ValueError."""
    value = int(text, 0)
    if not 0 <= value < 1 << 64:
        raise ValueError
    return value


def main(options: argparse.Namespace) -> int:
    limit = None if options.timeout is None else Limit(options.timeout, BACKSTOP_SECONDS)
    candidate = _watched()
    moved = threading.Event()
    register_after_restore(moved.set)
    known: int | None = options.since
    while True:
        moved.clear()  # in this order: what changes after it was read ends the wait
        now = shown(candidate)
        known = now if known is None else known
        if now is not None and now != known:
            print(f"{known} -> {now}", flush=True)
            return OK
        pause = BACKSTOP_SECONDS if native.inspect_watcher().how in ("poll", "inotify") else NO_POLL_SECONDS
        left = pause if limit is None else limit.left()
        if left <= 0:
            what = f"still shows {now}" if now is not None else f"cannot be read: it {candidate.why_not}"
            raise Failure(f"nothing was restored within {options.timeout:g} s: {candidate.name} {what}", FAILED)
        moved.wait(min(left, pause))


def _watched() -> selection.Candidate:
    """Activates this process; and the source that it watches then. Its numbers alone are compared."""
    if native is None:
        raise Failure(f"nothing can be watched: {MISSING}", CONFIGURATION)
    for name in ("SNAPSAFE", "SNAPSAFE_STRICT"):  # meant for programs
        os.environ.pop(name, None)
    activation.activate()
    if state.watched is None:
        why = [*state.problems, reasons((candidate.name, candidate.why_not) for candidate in state.candidates)]
        raise Failure(f"no source can be watched: {'; '.join(filter(None, why))}", CONFIGURATION)
    return state.watched


def shown(candidate: selection.Candidate) -> "int | None":
    """The generation at the candidate's path now; None where there is no source."""
    probe.probe(now=True)
    there = candidate.rank is not None and not candidate.gone
    info = native.describe_source(candidate.slot) if there else None
    return None if info is None or info.lost else info.value
