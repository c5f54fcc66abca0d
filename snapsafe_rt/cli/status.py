"""snapsafe status: what a Python that starts here, or one that runs already, watches and guards."""

import argparse
import contextlib
import importlib
import json
import os
import pwd
import time
from typing import TYPE_CHECKING, Any

from snapsafe_rt.activation import activate
from snapsafe_rt.cli import output, scan_cache
from snapsafe_rt.cli.machine import clock
from snapsafe_rt.errors import FAILED, NOT_PERMITTED, OK, Failure
from snapsafe_rt.manager.client import Manager, Refused, listed, named, snake_case
from snapsafe_rt.report import procfs, remote
from snapsafe_rt.report.remote import Outside
from snapsafe_rt.restore.watcher import NOTHING_REGISTERED
from snapsafe_rt.state import state

if TYPE_CHECKING:
    from snapsafe_rt.report.status import Status

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
    parser.add_argument("--json", action="store_true", help="the same for programs; docs/command.md lists the keys")
    parser.epilog = (
        "Exit code 1 if there is no source, or something that is loaded would repeat itself in a clone, or if nobody\n"
        "has examined whether it would; 77 if the process of --pid, or one of those of --all, may not be read."
    )


def main(options: argparse.Namespace) -> int:
    if options.all:
        with scan_cache.kept():
            return _show_all(options.json)
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
        return remote.inspect(pid)
    except procfs.Gone as gone:
        raise Failure(str(gone)) from None
    except procfs.NotPermitted as refused:
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
            output.say(f"All of it is the word of user {_name(status.user)}, whose process it is.", "warn")
    else:
        output.say(f"snapsafe {data['version']} in {data['python']}: what a program started here, by this user, gets.")
    output.say()
    if data["why_not"]:
        output.say(f"Not active: {data['why_not']}.", "bad")
    else:
        _show_source(data["source"])
    if data["candidates"]:
        output.say()
        rows: list[list[output.Cell]] = [
            [entry["source"], ("yes", "good") if entry["usable"] else "no", entry["reason"]]
            for entry in data["candidates"]
        ]
        output.table(["source", "usable", "why not"], rows)
    if data["subsystems"]:
        output.say()
        rows = [
            [
                row["name"],
                (row["protection"], TONES[row["protection"]]),
                ": ".join(filter(None, [", ".join(row["covers"]), row["note"]])),
            ]
            for row in data["subsystems"]
            if row["protection"] != "not loaded"
        ]
        output.table(["subsystem", "protection", "what, and how far"], rows)
        unloaded = [row["name"] for row in data["subsystems"] if row["protection"] == "not loaded"]
        if unloaded:
            output.say(f"Not loaded, and guarded or renewed as soon as they are: {', '.join(unloaded)}.", "dim")
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
    output.say(f"Epoch {data['epoch']}: {data['restores']['count']} restores seen by this process.")
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
        output.say("NOT protected by itself: a Python started plainly here is not activated.", "bad")
        output.say("All this is what it would get: start it with `snapsafe run`, or see `snapsafe install --help`.")


def _watched(watching: dict[str, str]) -> str:
    reason = f" ({watching['reason']})" if watching["reason"] else ""
    if watching["how"] == "off":
        return f"called by check() alone: no watcher runs{reason}"
    return f"called when a restore is noticed by {watching['how']}{reason}"


def _show_source(source: dict[str, object] | None) -> None:
    if source is None:
        output.say("Watching nothing: a restore goes unnoticed.", "bad")
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
        output.say("NOT protected: no source; docs/platforms.md tells what to add. To try it with a file:", "bad")
        output.say("  snapsafe trigger --create")
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
        kept = snake_case({name: described[name] for name in ("state", "snapshot", "lastSnapshot")})
        state, last = kept["state"], kept["last_snapshot"]
        whole = isinstance(state, str) and all(one["mode"] in ("block", "delay") and named(one) for one in inhibitors)
        if not whole or not state.isprintable():
            return None
        if last is not None:
            listed([_told_of(last), *last["late"]])
    except (Failure, Refused, LookupError, TypeError, ValueError):
        return None
    return {**kept, "inhibitors": inhibitors}


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


# ---- --all ----


def _show_all(as_json: bool) -> int:
    found, hidden = find_all()
    if as_json:
        print(json.dumps({"processes": [one.as_dict() for one in found], "not_permitted": hidden}, indent=2))
    else:
        _show_table(found)
        if hidden:
            whose = "1 process" if hidden == 1 else f"{hidden} processes"
            way_out = "this root lacks CAP_SYS_PTRACE" if os.geteuid() == 0 else "run this as root to see all"
            output.say(f"Not to be read by user {os.geteuid()}: {whose}; {way_out}.", "warn")
    if not all(one.protected for one in found):
        return FAILED
    return NOT_PERMITTED if hidden else OK  # what was not read is not called protected


def find_all(quiet: bool = False) -> tuple[list[Outside], int]:
    """The Python processes but this one, and how many may not be read. Raises Failure where no process can be seen."""
    if not os.path.isdir("/proc/self"):
        raise Failure("/proc: is not mounted, so that no process can be seen", NOT_PERMITTED)
    found, hidden = [], 0
    pids = sorted(set(procfs.processes()) - {os.getpid()})
    shown = contextlib.nullcontext(lambda done: None) if quiet else output.progress("processes looked at", len(pids))
    with shown as progress:
        for number, pid in enumerate(pids):
            progress(number)
            try:
                one = remote.inspect(pid)
            except procfs.Gone:
                continue
            except procfs.NotPermitted:
                hidden += 1
                continue
            if one.is_python:
                found.append(one)
    return found, hidden


def _show_table(found: list[Outside]) -> None:
    if not found:
        output.say("No Python process runs here, as far as it may be seen.")
        return
    rows: list[list[output.Cell]] = []
    for one in found:
        source = one.source
        event = one.last_event
        rows.append(
            [
                str(one.pid),
                _cut(_name(one.user), 12),
                _cut(one.program, 32),
                str(source["source"]) if source else ("none", "bad"),
                "" if source is None else "synchronous" if source["synchronous"] else "asynchronous",
                str(one.epoch) if one.active else "",
                one.fence["state"] if one.active else "",
                "" if event is None else _event(event),
                (_missing(one), "good" if one.protected else "bad"),
            ]
        )
    columns = ["pid", "user", "program", "source", "when", "epoch", "fence", "last event", "unprotected"]
    output.table(columns, rows, right=[0, 5])
    output.say(f"{sum(one.protected for one in found)} of {len(found)} protected.")
    if any(one.recorded and one.user not in (0, os.geteuid()) for one in found):
        output.say("What is said of a process is its user's word.", "warn")


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


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except (KeyError, OverflowError):
        return str(user)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
