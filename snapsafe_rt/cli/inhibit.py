"""snapsafe inhibit: runs a command while a lock keeps snapshots away, in the manner of systemd-inhibit(1)."""

import argparse
import os
import select
import shlex
import signal
import subprocess
from typing import Any

from snapsafe_rt import settings
from snapsafe_rt.cli import child, usage
from snapsafe_rt.cli.usage import NOT_EXECUTABLE, NOT_FOUND, PROGRAMS
from snapsafe_rt.errors import BUSY, FAILED, NO_MANAGER, NOT_PERMITTED, USAGE, Failure
from snapsafe_rt.manager.client import Manager, Refused, refusal

EXAMPLES = (
    "snapsafe inhibit --why backup tar cf /backup.tar /srv",
    "snapsafe inhibit --mode delay make report",
)
EXITS = {
    PROGRAMS: "the program's own; 128 and the signal if it died of one",
    FAILED: "a snapshot is being taken",
    NO_MANAGER: "there is no manager, so that nothing was run",
    BUSY: "there is a manager, and it is busy: nothing was run",
    NOT_PERMITTED: "not permitted: --mode block takes root or the manager's user",
} | {code: usage.EXITS[code] for code in (NOT_EXECUTABLE, NOT_FOUND)}
AGAIN_SECONDS = 1.0  # a manager that has gone is looked for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "snapsafe inhibit [-h] [--mode {block,delay}] [--who WHO] [--why WHY]\n"
        "                        [--socket PATH] [--] PROGRAM [ARGUMENT ...]"
    )
    parser.add_argument(
        "--mode",
        choices=("block", "delay"),
        default="block",
        help="block: `snapsafe quiesce` is refused; delay: it waits for the program, up to the manager's limit "
        "(default: %(default)s, which takes root or the manager's user)",
    )
    parser.add_argument("--who", help="named to whoever is refused (default: the command line)")
    parser.add_argument("--why", default="no reason given", help="and so is this")
    parser.add_argument(
        "--socket", metavar="PATH", default=settings.MANAGER, help="where the manager is (default: %(default)s)"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.epilog = "If the manager is restarted meanwhile, the lock is taken again."


def main(options: argparse.Namespace) -> int:
    command: list[str] = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise Failure("which program? For example: snapsafe inhibit --why backup tar cf /backup.tar /srv", USAGE)
    lock: dict[str, Any] = {"who": options.who or shlex.join(command), "why": options.why, "mode": options.mode}
    with Manager(options.socket) as manager:
        try:
            manager.call("Inhibit", **lock)
        except Refused as refused:
            raise refusal(refused) from None
        # What interrupts the wait below can be seen from before there is a program on.
        woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        started = child.start(command)
        _hold(started, woken, manager, lock)
    return child.wait(started)


def _hold(program: "subprocess.Popen[bytes]", woken: int, manager: Manager, lock: "dict[str, Any]") -> None:
    """Until the program has ended. `woken` can be read when a signal came, for which the handler has to be run."""
    ended = os.pidfd_open(program.pid)
    held = True
    while True:
        watched: list[Any] = [ended, woken, manager.peer] if held else [ended, woken]
        ready = select.select(watched, [], [], None if held else AGAIN_SECONDS)[0]
        if ended in ready:
            return
        if woken in ready:
            os.read(woken, 4096)
            continue
        manager.peer.close()  # it has nothing to say to us but that it ended
        try:
            manager.connect()
            manager.call("Inhibit", **lock)
            held = True
        except (Failure, Refused):
            held = False
