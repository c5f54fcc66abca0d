"""snapsafe status: what a Python that starts here, or one that runs already, watches and guards."""

import argparse
import contextlib
import importlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

from snapsafe_rt.activation import activate
from snapsafe_rt.cli import output, processes, scan_cache
from snapsafe_rt.cli.machine import clock
from snapsafe_rt.errors import FAILED, NOT_PERMITTED, OK, Failure
from snapsafe_rt.manager.client import Manager, Refused, listed, named, snake_case
from snapsafe_rt.report import patience, procfs, remote
from snapsafe_rt.report.remote import Outside
from snapsafe_rt.report.status import DEGRADED, NO_SOURCE
from snapsafe_rt.restore.watcher import NOTHING_REGISTERED
from snapsafe_rt.state import state

if TYPE_CHECKING:
    from snapsafe_rt.report.status import Status

EXAMPLES = ("snapsafe status", "snapsafe status --pid 4711", "snapsafe status --all --by cgroup")
EXITS = {
    OK: "protected; with --all, all that run here are",
    FAILED: "no source, or something loaded would repeat itself in a clone, or nobody has examined whether it would, "
    "or a plain start is not activated; or there is no such process",
    NOT_PERMITTED: "the process of --pid, or one of those of --all, may not be read or does not answer",
}
SECONDS = {"quiescing": "quiesce_seconds", "quiesced": "quiesced_seconds", "unquiescing": "unquiesce_seconds"}
MANAGER_SECONDS = 1.0  # one that hangs is as good as none
TONES = dict.fromkeys(("guarded", "refreshed"), "good") | dict.fromkeys(("unprotected", "unexamined"), "bad")
TONES |= {"kept": "", "not loaded": "dim"}
FENCES = {
    "down": "down: the kernel's random numbers are trusted",
    "cpu": "up: the CPU's random numbers are mixed in until the kernel is sure to be reseeded",
    "host": "up: the host's bytes are mixed in until the kernel is sure to be reseeded",
    "degraded": "up, but there is neither a CPU stream nor host bytes: values are likely, not surely, unique",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--pid", type=int, metavar="N", help="of a running process, seen from outside")
    which.add_argument("--all", action="store_true", help="a table of the Python processes that run here")
    processes.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="the same for programs; docs/command.md lists the keys")
    parser.epilog = (
        "Without --pid and --all: what a program gets that is started here, by this user, with these variables. On a "
        "terminal long paths are shortened or wrapped; --json has all."
    )


def main(options: argparse.Namespace) -> int:
    processes.must_be_all(options)
    if options.all:
        with scan_cache.kept():
            return processes.show(options, lambda one: _event(one.last_event) if one.last_event else "", of_machine())
    if options.pid is not None:
        with scan_cache.kept():
            status: Status = _look(options.pid)
        data, by_itself, machine = status.as_dict(), True, None
    else:
        by_itself = state.active  # before we activate
        status = measure()
        machine = of_machine()
        data = {**status.as_dict(), "by_itself": by_itself, "machine": machine, "clock": clock()._asdict()}
    if options.json:
        print(json.dumps(data, indent=2))
    else:
        show(status, by_itself, machine)
    return OK if status.protected and by_itself else FAILED


def _look(pid: int) -> "Outside":
    try:
        return patience.answer(pid, remote.inspect)
    except procfs.Gone as gone:
        raise Failure(str(gone)) from None
    except (procfs.NotPermitted, procfs.Silent) as refused:
        raise Failure(str(refused), NOT_PERMITTED) from None


def measure() -> "Status":
    """Activates this process as sitecustomize would, and loads what most programs load."""
    # It would end us before we could say why.
    os.environ.pop("SNAPSAFE_STRICT", None)
    activate()
    for name in ("random", "uuid", "ssl", "sqlite3"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    from snapsafe_rt import status

    return status()


def show(status: "Status", by_itself: bool, machine: "dict[str, Any] | None") -> None:
    data = status.as_dict()
    if isinstance(status, Outside):
        output.say(f"Process {status.pid}: {status.program}")
        if status.written is not None:
            output.say(
                f"snapsafe {data['version']} in {data['python']}. What its modules are like, it noted "
                f"{_ago(status.written)}; the rest is of this moment."
            )
        if status.recorded and status.user not in (0, os.geteuid()):
            output.say(f"All of it is the word of user {processes.name(status.user)}, whose process it is.", "warn")
    else:
        output.say(f"snapsafe {data['version']} in {data['python']}: what a program started here, by this user, gets.")
    output.say()
    if data["why_not"]:
        output.say(f"Not active: {data['why_not']}.", "bad")
    else:
        _show_source(data["source"])
    if data["candidates"]:
        output.say()
        reasons = [entry["reason"] for entry in data["candidates"]]
        rows: list[list[output.Cell]] = [
            [entry["source"], ("yes", "good") if entry["usable"] else "no", reason]
            for entry, reason in zip(data["candidates"], output.once(reasons), strict=True)
        ]
        output.table(["source", "usable", "why not"], rows)
    if data["subsystems"]:
        output.say()
        _show_subsystems(data["subsystems"])
    if not data["subsystems"] and isinstance(status, Outside):
        for problem in data["problems"]:
            output.say(f"Problem: {problem}.", "warn")
        output.say()
        _show_verdict(status)
        return
    output.say()
    fence = data["fence"]
    left = f" ({fence['seconds_left']:.0f} s left)" if fence["state"] != "down" else ""
    output.say(f"Fence {FENCES[fence['state']]}{left}.")
    output.say(f"Epoch {data['epoch']}; restores that this process has seen: {data['restores']['count']}.")
    if data["callbacks"] or data["watching"]["how"] != "off":
        output.say(f"Callbacks: {data['callbacks']}, {_watched(data['watching'])}.")
    if data["last_event"]:
        output.say(f"Last restore event: {_event(data['last_event'])}.")
        for error in data["last_event"]["errors"]:
            output.say(f"Problem: a callback failed: {procfs.printable(error)}.", "warn")
    if not isinstance(status, Outside):
        output.say(f"Clock {clock()}.")
    _show_lifecycle(data["lifecycle"])
    for problem in data["problems"]:
        output.say(f"Problem: {problem}.", "warn")
    if machine is not None:
        _show_machine(machine)
    output.say("Never covered: " + "; ".join(data["limits"]) + ".")
    output.say()
    if by_itself or not status.protected:
        _show_verdict(status)
    if not by_itself and status.active:
        output.say(
            "NOT protected by itself: a Python started plainly here is not activated. All this is what it gets by:",
            "bad",
        )
        output.command("snapsafe run python app.py   # or once and for all: snapsafe install")


def _show_subsystems(rows: list[dict[str, Any]]) -> None:
    """What is true of several is said once, below them."""
    loaded = [row for row in rows if row["protection"] != "not loaded"]
    notes = {id(row): _own_note(row) for row in loaded}
    alike: dict[tuple[str, str], list[str]] = {}
    for row in loaded:
        alike.setdefault((row["protection"], notes[id(row)]), []).append(row["name"])
    shared = {note: names for (_, note), names in alike.items() if note and (len(names) > 1 or note == NO_SOURCE)}
    shown: list[list[output.Cell]] = []
    for row in loaded:
        note = notes[id(row)]
        told = ": ".join(filter(None, [", ".join(row["covers"]), "" if note in shared else note]))
        shown.append([row["name"], (row["protection"], TONES[row["protection"]]), told])
    output.table(["subsystem", "protection", "what, and how far"], shown)
    for note, names in shared.items():
        if note != NO_SOURCE:  # which is said of the source
            output.say(f"{', '.join(names)}: {note}.")
    trust = [row["name"] for row in loaded if row["note"].endswith(_accepts(row["name"]))]
    if trust:
        output.say(f"What is unexamined SNAPSAFE_TRUST accepts: SNAPSAFE_TRUST={','.join(trust)}")
    unloaded = [row["name"] for row in rows if row["protection"] == "not loaded"]
    if unloaded:
        output.say(f"Not loaded, and guarded or renewed as soon as they are: {', '.join(unloaded)}.", "dim")


def _own_note(row: dict[str, Any]) -> str:
    """Without what is said of all rows together; that entropy is degraded the fence tells."""
    note: str = row["note"].removesuffix(DEGRADED)
    return note.removesuffix(_accepts(row["name"]))


def _accepts(name: str) -> str:
    return f"; SNAPSAFE_TRUST={name} accepts it"


def _watched(watching: dict[str, str]) -> str:
    reason = f" ({watching['reason']})" if watching["reason"] else ""
    if watching["how"] == "off":
        return f"called by check() alone: no watcher runs{reason}"
    return f"called when a restore is noticed by {watching['how']}{reason}"


def _show_source(source: dict[str, object] | None) -> None:
    if source is None:
        output.say("Watching nothing: a restore is seen only if notify_restored() is called.", "bad")
        return
    opened = f" that {source['via']} opened for it" if source["via"] else ""
    when = (
        "synchronous: it changes before a restored program runs again"
        if source["synchronous"]
        else "asynchronous: a restored program may run for a moment before it changes"
    )
    output.say(
        f"Watching {source['source']}, a {source['what']}{opened}, now {source['value']}; {when}."
        + (f" One look takes {source['check_ns']} ns." if source["check_ns"] is not None else "")
    )


def _show_verdict(status: "Status") -> None:
    if status.protected:
        late = status.source is not None and not status.source["synchronous"]
        output.say("Protected, from the moment the source is written." if late else "Protected.", "good")
    elif not status.active:
        output.say("NOT protected.", "bad")
    elif status.source is None and isinstance(status, Outside):
        output.say("NOT protected: it watches no source.", "bad")
    elif status.source is None:
        output.say("NOT protected: no source. What to add on this machine, and how to try it with a file:", "bad")
        output.command("snapsafe doctor")
        output.command("snapsafe trigger --create")
    elif status.source is not None and status.source["deserted"]:
        output.say("NOT protected: the manager that writes the source does not run.", "bad")
    elif status.source is not None and status.source["distrust"]:
        output.say(f"NOT surely protected: the source {status.source['distrust']}.", "bad")
    elif status.unprotected:
        output.say(f"NOT protected: {', '.join(status.unprotected + status.unexamined)}.", "bad")
    elif status.unexamined:
        output.say(f"NOT surely protected: nobody has examined {', '.join(status.unexamined)}.", "bad")
    else:
        output.say("NOT surely protected: entropy is degraded.", "bad")


def _ago(when: float) -> str:
    seconds = max(0.0, time.time() - when)
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _event(event: dict[str, Any]) -> str:
    failed = f", {len(event['errors'])} failed" if event["errors"] else ""
    return f"{procfs.printable(event['cause'])}, {_ago(event['ended'])}, {event['callbacks']} callbacks{failed}"


# ---- the manager's word on snapshots ----


def _show_lifecycle(lifecycle: dict[str, Any]) -> None:
    """Nothing where nothing is registered."""
    last = lifecycle["last_snapshot"]
    who = "systemd-logind" if lifecycle["kind"] == "logind" else "the manager"
    if lifecycle["lock"]:
        output.say(f"Before a snapshot: {who} asks it.")
    elif lifecycle["reason"] != NOTHING_REGISTERED:
        output.say(f"Before a snapshot: not asked: {procfs.printable(lifecycle['reason'])}.", "warn")
    if last is not None:
        came_of = {"original": "it goes on", "clone": "this is a clone", "failed": "refused"}.get(last["came_of"], "")
        output.say(
            f"Last snapshot of it: number {last['number']}, announced {_ago(last['began'])}: {came_of or 'not over'}."
        )
        for error in last["errors"]:
            output.say(f"Problem: a callback failed: {procfs.printable(error)}.", "warn")


def of_machine() -> "dict[str, Any] | None":
    """None if there is no manager, or none that answers as ours does."""
    try:
        with Manager(answer_seconds=MANAGER_SECONDS) as manager:
            described = manager.call("Describe")
            inhibitors = manager.call("ListInhibitors")["inhibitors"]
            pid = manager.pid
        told = snake_case({name: described[name] for name in ("state", "snapshot", "lastSnapshot")})
    except (Failure, Refused, LookupError, TypeError, OSError):
        return None
    last = told["last_snapshot"]
    whole = (
        isinstance(told["state"], str)
        and told["state"].isprintable()
        and isinstance(inhibitors, list)
        and all(_has(one, _INHIBITOR) and one["mode"] in ("block", "delay") for one in inhibitors)
        and (last is None or (_has(last, _SNAPSHOT) and all(isinstance(name, str) for name in last["late"])))
    )
    return {**told, "inhibitors": inhibitors, "pid": pid} if whole else None


_NUMBER = (int, float)
_INHIBITOR = {"who": str, "why": str, "mode": str, "uid": int, "pid": int}
_SNAPSHOT = {"number": int, "at": _NUMBER, "late": list, "ended": (str, type(None))}
_SNAPSHOT |= dict.fromkeys(SECONDS.values(), (*_NUMBER, type(None)))


def _has(told: Any, kinds: "dict[str, Any]") -> bool:
    """Is that an object with these keys, each of its kind?"""
    if not isinstance(told, dict) or not all(key in told and isinstance(told[key], kinds[key]) for key in kinds):
        return False
    return not any(isinstance(told[key], _NUMBER) and not abs(told[key]) < 1 << 63 for key in kinds)


def _show_machine(machine: "dict[str, Any]") -> None:
    inhibitors = machine["inhibitors"]
    blocking = [named(one) for one in inhibitors if one["mode"] == "block"]
    asked = [named(one) for one in inhibitors if one["mode"] == "delay"]
    output.say(f"The machine is {machine['state']}; asked before a snapshot: {listed(asked) or 'nobody'}.")
    if blocking:
        output.say(f"No snapshot may be announced now: {listed(blocking)}.", "warn")
    last = machine["last_snapshot"]
    if last is not None:
        output.say(_told_of(last))
        if last["late"]:
            output.say(f"Problem: it was taken without waiting any longer for {listed(last['late'])}.", "warn")


def _told_of(last: "dict[str, Any]") -> str:
    times = ", ".join(f"{name} {last[key]:.3f} s" for name, key in SECONDS.items() if last[key] is not None)
    how = f", {last['ended']}" if last["ended"] else ""
    return f"Last snapshot: number {last['number']}, {_ago(last['at'])}, {times}{how}."
