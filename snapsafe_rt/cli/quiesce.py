"""snapsafe quiesce: announces a snapshot through the manager, and waits until the programs are ready for it."""

import argparse
import json
import sys
from typing import Any

from snapsafe_rt import settings
from snapsafe_rt.cli.output import seconds
from snapsafe_rt.errors import (
    BEFORE_FAILED,
    BLOCKED,
    BUSY,
    FAILED,
    LATE,
    NO_MANAGER,
    NOT_PERMITTED,
    OK,
    Failure,
)
from snapsafe_rt.manager.client import ANSWER_SECONDS, Manager, Refused, listed, named, refusal, snake_case

EXAMPLES = (
    "snapsafe quiesce --timeout 3 --late-ok",
    "snapsafe quiesce --dump && criu dump --tree 4711; snapsafe unquiesce",
)
EXITS = {
    OK: "all are ready: take the snapshot",
    FAILED: "another snapshot is under way",
    BEFORE_FAILED: "a callback failed; it is named, and nothing is quiesced",
    NO_MANAGER: "there is no manager: nobody was asked",
    LATE: "quiesced, but somebody was late, who is named",
    BUSY: "there is a manager, and it is busy: nobody was asked",
    NOT_PERMITTED: "not permitted: root and the manager's user may",
    BLOCKED: "a block lock is held; its holder is named, and nothing is quiesced",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="how long to wait for the programs (default, and the most: the manager's --inhibit-delay-max)",
    )
    parser.add_argument(
        "--hold",
        action="store_true",
        help="the programs go on at `snapsafe unquiesce` only, even if the manager notices a restore before",
    )
    parser.add_argument(
        "--dump",
        action="store_true",
        help="for CRIU, which dumps no program that maps a device: the programs let go of it (not for snapshots of the "
        "machine)",
    )
    parser.add_argument(
        "--late-ok",
        action="store_true",
        help="exit code 0 also where somebody was late: for orchestrators that abort on any other",
    )
    add_common_arguments(parser)
    parser.epilog = (
        "Then take the snapshot, and call `snapsafe unquiesce` in the original and in each clone. Nobody stands still "
        "for ever: without that call the programs go on after the manager's --quiesced-max."
    )


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the same for programs; docs/command.md lists the keys")
    parser.add_argument(
        "--socket", metavar="PATH", default=settings.MANAGER, help="where the manager is (default: %(default)s)"
    )


def main(options: argparse.Namespace) -> int:
    with Manager(options.socket) as manager:
        most = manager.call("Describe")["inhibitDelayMax"]
        try:
            # Freezing a cgroup may take its time on top.
            done = manager.call(
                "Quiesce",
                answer_seconds=most + ANSWER_SECONDS,
                timeout=options.timeout,
                hold=options.hold or None,
                dump=options.dump or None,
            )
        except Refused as refused:
            raise _refusal(refused) from None
    if options.json:
        print(json.dumps(snake_case(done), indent=2))
    else:
        stopped = ", and the programs of the cgroup stand still" if done["frozen"] else ""
        print(f"snapshot {done['snapshot']}: quiesced in {done['seconds']:.3f} s{stopped}")
    if not done["late"]:
        return OK
    waited = most if options.timeout is None else min(most, options.timeout)
    print(
        f"snapsafe quiesce: waited {waited:g} s in vain for {listed([named(one) for one in done['late']])}; a longer "
        f"--timeout helps up to the manager's --inhibit-delay-max, {most:g} s",
        file=sys.stderr,
    )
    return OK if options.late_ok else LATE


def _refusal(refused: Refused) -> Failure:
    told: Any = refused.parameters
    if refused.name == "BlockedByInhibitor":
        return Failure(f"blocked by {named(told)}: wait until it has ended, or end it", BLOCKED)
    if refused.name == "CallbackFailed":
        failed = [f"{one['who']} (pid {one['pid']}: {'; '.join(one['errors'])})" for one in told["failed"]]
        return Failure(
            f"callbacks failed in {listed(failed)}: nothing is quiesced; try again, or take the snapshot without",
            BEFORE_FAILED,
        )
    return refusal(refused)
