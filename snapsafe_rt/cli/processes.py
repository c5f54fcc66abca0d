"""snapsafe status --all: the Python processes that run here, each in a line, or by cgroup or user."""

import argparse
import contextlib
import gc
import json
import os
import pwd
from collections.abc import Callable
from typing import Any

from snapsafe_rt.cli import output
from snapsafe_rt.errors import FAILED, NOT_PERMITTED, OK, USAGE, Failure
from snapsafe_rt.report import patience, procfs, remote
from snapsafe_rt.report.remote import Outside

NAMES_MOST = 8  # of what is unprotected, in the line of a group
ALL_ONLY = ("unprotected", "by", "cgroup", "user")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--unprotected", action="store_true", help="of --all only those that are not protected")
    parser.add_argument("--by", choices=GROUPS, help="of --all a line for each cgroup, or for each user")
    parser.add_argument("--cgroup", metavar="PATH", help="of --all only those in this cgroup or below it")
    parser.add_argument("--user", metavar="NAME", help="of --all only those of this user, by name or number")


def must_be_all(options: argparse.Namespace) -> None:
    """Raises Failure where an option stands alone that speaks of many processes."""
    given = [name for name in ALL_ONLY if getattr(options, name)]
    if given and not options.all:
        raise Failure(f"--{given[0]} goes with --all", USAGE)


def show(options: argparse.Namespace, event: Callable[[Outside], str], machine: "dict[str, Any] | None") -> int:
    """`event`: what to say of the last restore event of a process; `machine`: the manager's word."""
    wanted = _wanted(options)
    everybody, hidden, silent = find_all()
    found = [one for one in everybody if wanted(one) and not is_manager(one, machine)]
    shown = [one for one in found if not (options.unprotected and one.protected)]
    own = next((one.pid for one in everybody if is_manager(one, machine)), None)
    if options.json:
        listed = [one.as_dict() for one in shown]
        told = {"processes": listed, "not_permitted": hidden, "silent": silent, "manager": own}
        print(json.dumps(told, indent=2))
    else:
        if found:
            _show(found, shown, options.by, event)
        else:
            asked = " in that cgroup or of that user" if options.cgroup or options.user else ""
            output.say(f"No Python process runs here{asked}, as far as it may be seen.")
        if own is not None:
            output.say(f"The manager, process {own}, has nothing that a clone could repeat, and is not counted.", "dim")
        if hidden:
            whose = "1 process" if hidden == 1 else f"{hidden} processes"
            way_out = "this root lacks CAP_SYS_PTRACE" if os.geteuid() == 0 else "run this as root to see all"
            output.say(f"Not to be read by user {os.geteuid()}: {whose}; {way_out}.", "warn")
        if silent:
            _show_silent(silent)
    if not all(one.protected for one in found) or (not found and (options.cgroup or options.user)):
        return FAILED  # a cgroup that is misspelt is not called protected
    return NOT_PERMITTED if hidden or silent else OK  # what was not read is not called protected


def _show_silent(silent: list[int]) -> None:
    listed = ", ".join(map(str, silent[:NAMES_MOST])) + (", ..." if len(silent) > NAMES_MOST else "")
    way_out = f"snapsafe status --pid {silent[0]} tells more"
    output.say(f"Not looked at, for reading them came to no end: {len(silent)} ({listed}); {way_out}.", "warn")


def is_manager(one: Outside, machine: "dict[str, Any] | None") -> bool:
    """It watches for programs, by signs that no source of its own shows, and so it may seem unprotected."""
    return machine is not None and one.pid == machine["pid"] and not one.protected


def find_all(quiet: bool = False) -> tuple[list[Outside], int, list[int]]:
    """The Python processes but this one, how many may not be read, and those that do not answer. Raises Failure where
    no process can be seen."""
    if not os.path.isdir("/proc/self"):
        raise Failure("/proc: is not mounted, so that no process can be seen", NOT_PERMITTED)
    patience.begin()
    gc.disable()  # what is made here has no cycles, and the command ends soon: a tenth of the time
    try:
        return _look_at_all(quiet)
    finally:
        gc.enable()


def _look_at_all(quiet: bool) -> tuple[list[Outside], int, list[int]]:
    found, hidden, silent = [], 0, []
    pids = sorted(set(procfs.processes()) - {os.getpid()})
    shown = contextlib.nullcontext(lambda done: None) if quiet else output.progress("processes looked at", len(pids))
    with shown as progress:
        for number, (pid, one) in enumerate(patience.answers(pids, _python)):
            progress(number)
            if isinstance(one, Outside):
                found.append(one)
            elif isinstance(one, procfs.NotPermitted):
                hidden += 1
            elif isinstance(one, procfs.Silent):
                silent.append(pid)
            elif isinstance(one, Exception) and not isinstance(one, procfs.Gone):
                raise one
    return found, hidden, silent


def _python(pid: int) -> "Outside | None":
    one = remote.inspect(pid)
    return one if one.is_python else None


def _wanted(options: argparse.Namespace) -> Callable[[Outside], bool]:
    """Raises Failure for a user that is none."""
    user, cgroup = options.user, options.cgroup and "/" + options.cgroup.strip("/")
    if user is not None:
        try:
            user = int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
        except (KeyError, ValueError):
            raise Failure(f"--user {user}: there is no such user", USAGE) from None

    def wanted(one: Outside) -> bool:
        if cgroup and cgroup != "/" and one.cgroup != cgroup and not one.cgroup.startswith(f"{cgroup}/"):
            return False
        return user is None or one.user == user

    return wanted


def _show(found: list[Outside], shown: list[Outside], by: "str | None", event: Callable[[Outside], str]) -> None:
    if shown and by:
        _groups(shown, by)
    elif shown:
        _table(shown, event)
    output.say(f"{sum(one.protected for one in found)} of {len(found)} protected.")
    if any(one.recorded and one.user not in (0, os.geteuid()) for one in shown):
        output.say("What is said of a process is its user's word.", "warn")


# Heading, cell. The first that stand here are left out first where the terminal is narrow.
_SPARED = ("last event", "when", "source", "fence", "epoch", "user")
_PROGRAM_LEAST, _ROOM_LEAST, _GAP, _WIDE = 16, 26, 2, 160
_SOURCE_MOST, _MISSING_MOST = 64, 400  # what a process says of itself is not to push the others off the screen


def _table(shown: list[Outside], event: Callable[[Outside], str]) -> None:
    room = output.room()
    most = _SOURCE_MOST if room is None or room > _WIDE else _SOURCE_MOST // 2
    names = {one.user: cut(name(one.user), 12) for one in shown}
    columns: dict[str, list[output.Cell]] = {
        "pid": [str(one.pid) for one in shown],
        "user": [names[one.user] for one in shown],
        "program": [cut(one.program, 32) for one in shown],
        "source": [output.shorten(str(one.source["source"]), most) if one.source else ("none", "bad") for one in shown],
        "when": [_when(one) for one in shown],
        "epoch": [str(one.epoch) if one.active else "" for one in shown],
        "fence": [one.fence["state"] if one.active else "" for one in shown],
        "last event": [cut(event(one), _SOURCE_MOST) for one in shown],
        "unprotected": [(missing(one), "good" if one.protected else "bad") for one in shown],
    }
    widths = {
        heading: max(len(heading), *(len(output.text_of(cell)) for cell in cells)) for heading, cells in columns.items()
    }
    if room is not None:
        widths["unprotected"] = min(widths["unprotected"], _ROOM_LEAST)
        for heading in _SPARED:
            if sum(widths[left] + _GAP for left in columns) - _GAP <= room:
                break
            del columns[heading]
        over = sum(widths[left] + _GAP for left in columns) - _GAP - room
        if over > 0:
            length = max(_PROGRAM_LEAST, widths["program"] - over)
            columns["program"] = [cut(one.program, length) for one in shown]
    headings = list(columns)
    right = [number for number, heading in enumerate(headings) if heading in ("pid", "epoch")]
    output.table(headings, list(zip(*columns.values(), strict=True)), right=right)


def _when(one: Outside) -> str:
    return "" if one.source is None else "synchronous" if one.source["synchronous"] else "asynchronous"


GROUPS: dict[str, Callable[[Outside], str]] = {
    "cgroup": lambda one: one.cgroup or "?",
    "user": lambda one: name(one.user),
}


def _groups(shown: list[Outside], by: str) -> None:
    groups: dict[str, list[Outside]] = {}
    for one in shown:
        groups.setdefault(GROUPS[by](one), []).append(one)
    rows: list[list[output.Cell]] = []
    for title, members in sorted(groups.items()):
        protected = sum(one.protected for one in members)
        names = list(dict.fromkeys(missing(one) for one in members if not one.protected))
        more = f" and {len(names) - NAMES_MOST} more" if len(names) > NAMES_MOST else ""
        told = (f"{protected} of {len(members)}", "good" if protected == len(members) else "bad")
        rows.append([_tail(title), told, "; ".join(names[:NAMES_MOST]) + more])
    output.table([by, "protected", "unprotected"], rows)


def _tail(title: str) -> str:
    """The end of a cgroup's path tells most."""
    most = max(20, (output.room() or 120) - 40)
    return title if len(title) <= most else "..." + title[3 - most :]


def missing(one: Outside) -> str:
    return cut(_missing(one), _MISSING_MOST)


def _missing(one: Outside) -> str:
    if not one.recorded:
        return "all: not activated"
    if not one.active:
        return f"all: {one.why_not}"
    if one.source is None:
        return "all: no source"
    if one.source["deserted"]:
        return "all: its manager does not run"
    if one.source["distrust"]:
        return "perhaps all: see --pid"
    return ", ".join([*one.unprotected, *one.unexamined, *(["degraded entropy"] if one.degraded else [])]) or "nothing"


def name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except (KeyError, OverflowError):
        return str(user)


def cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
