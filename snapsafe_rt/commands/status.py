"""snapsafe status: what a Python that starts now, as this user and with this environment, watches and guards."""

import argparse
import contextlib
import importlib
import json
import os
from typing import TYPE_CHECKING

from snapsafe_rt import output
from snapsafe_rt.activation import activate
from snapsafe_rt.cli import FAILED, OK

if TYPE_CHECKING:
    from snapsafe_rt.report import Status

TONES = {"guarded": "good", "refreshed": "good", "kept": "", "unprotected": "bad", "not loaded": "dim"}
FENCES = {
    "down": "down: the kernel's random numbers are trusted",
    "cpu": "up: the CPU's random numbers are mixed in until the kernel is sure to be reseeded",
    "host": "up: the host's bytes are mixed in until the kernel is sure to be reseeded",
    "degraded": "up, but there is neither a CPU stream nor host bytes: values are likely, not surely, unique",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the same for programs; docs/command.md lists the keys")
    parser.epilog = "Exit code 1 if there is no source, or something that is loaded would repeat itself in a clone."


def main(options: argparse.Namespace) -> int:
    status = measure()
    if options.json:
        print(json.dumps(status.as_dict(), indent=2))
    else:
        show(status)
    return OK if status.protected else FAILED


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


def show(status: "Status") -> None:
    data = status.as_dict()
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
            [row["name"], (row["protection"], TONES[row["protection"]]), f"{', '.join(row['covers'])}: {row['note']}"]
            for row in data["subsystems"]
        ]
        output.table(["subsystem", "protection", "what it covers, and how far"], rows)
    output.say()
    fence = data["fence"]
    left = f" ({fence['seconds_left']:.0f} s left)" if fence["state"] != "down" else ""
    output.say(f"Fence {FENCES[fence['state']]}{left}.")
    output.say(f"Epoch {data['epoch']}: {data['restores']['count']} restores seen by this process.")
    for problem in data["problems"]:
        output.say(f"Problem: {problem}.", "warn")
    output.say("Never covered: " + "; ".join(data["limits"]) + ".")
    output.say()
    _show_verdict(status)


def _show_source(source: dict[str, object] | None) -> None:
    if source is None:
        output.say("Watching nothing: a restore goes unnoticed.", "bad")
        return
    when = (
        "synchronous: it changes before a restored program runs again"
        if source["synchronous"]
        else "asynchronous: a restored program may run for a moment before it changes"
    )
    output.say(
        f"Watching {source['source']}, a {source['what']}, now {source['value']}; {when}. "
        f"One look takes {source['check_ns']} ns."
    )


def _show_verdict(status: "Status") -> None:
    if status.protected:
        late = status.source is not None and not status.source["synchronous"]
        output.say("Protected, from the moment the source is written." if late else "Protected.", "good")
    elif not status.active:
        output.say("NOT protected.", "bad")
    elif status.source is None:
        output.say("NOT protected: there is no source. To try it with a file:", "bad")
        output.say("  snapsafe trigger --create")
    elif status.unprotected:
        output.say(f"NOT protected: {', '.join(status.unprotected)}.", "bad")
    else:
        output.say("NOT surely protected: entropy is degraded.", "bad")
