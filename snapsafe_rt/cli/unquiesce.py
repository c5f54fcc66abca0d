"""snapsafe unquiesce: the snapshot was taken, or this is a clone of it: the programs go on."""

import argparse
import json

from snapsafe_rt.cli.quiesce import add_common_arguments
from snapsafe_rt.errors import BUSY, FAILED, LATE, NO_MANAGER, NOT_PERMITTED, OK, Failure
from snapsafe_rt.manager.client import Manager, Refused, refusal, snake_case

EXAMPLES = ("snapsafe unquiesce", "snapsafe unquiesce --restored")
EXITS = {
    OK: "the programs run, or the manager noticed the restore before and let them",
    FAILED: "nothing was quiesced",
    NO_MANAGER: "there is no manager: nobody was told",
    LATE: "the programs went on long ago, since nobody called this in time",
    BUSY: "there is a manager, and it is busy: try again",
    NOT_PERMITTED: "not permitted: root and the manager's user may",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--restored",
        action="store_true",
        help="this is a clone: the restore is published first, if no source has told of it",
    )
    parser.add_argument(
        "--late-ok",
        action="store_true",
        help="exit code 0 also where nothing is quiesced any more, as in a hook that is called again; with --restored "
        "the restore is published then",
    )
    add_common_arguments(parser)
    parser.epilog = "Call it in the original, and with --restored in each clone."


def main(options: argparse.Namespace) -> int:
    with Manager(options.socket) as manager:
        try:
            done = manager.call("Unquiesce", restored=options.restored or None)
        except Refused as refused:
            last = refused.parameters.get("snapshot") if refused.name == "NotQuiesced" else None
            noticed = last is not None and last["ended"] == "restored"
            if not noticed and not (options.late_ok and refused.name == "NotQuiesced"):
                raise _refusal(refused) from None
            if not noticed and options.restored:  # unknown whether of this restore: one too many is the lesser evil
                _publish(manager)
            restored = noticed or options.restored
            done = {"restored": restored, "snapshot": last, "generation": manager.call("Describe")["generation"]}
            if not noticed and not options.json:
                print(f"nothing is quiesced: the programs run{'; the restore is published' if restored else ''}")
                return OK
    if options.json:
        print(json.dumps(snake_case(done), indent=2))
        return OK
    last = done["snapshot"]
    how = "restored from it: the restore is published" if done["restored"] else "this is the original"
    print(f"snapshot {last['number']}: running again after {last['quiescedSeconds']:.3f} s; {how}")
    return OK


def _publish(manager: Manager) -> None:
    try:
        manager.call("Bump")
    except Refused as refused:
        raise refusal(refused) from None


def _refusal(refused: Refused) -> Failure:
    if refused.name != "NotQuiesced":
        return refusal(refused)
    last = refused.parameters["snapshot"]
    if last is not None and last["ended"] == "overdue":
        return Failure(
            f"too late: after {last['quiescedSeconds']:.0f} s the programs went on, so a snapshot taken since is one "
            "of a running machine; be faster, or give the manager a longer --quiesced-max",
            LATE,
        )
    return Failure("nothing is quiesced: `snapsafe quiesce` comes first", FAILED)
