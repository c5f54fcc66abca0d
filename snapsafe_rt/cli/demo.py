"""snapsafe demo: clones a running Python, first plain and then protected, and shows what the clones drew twice.

The program that is cloned is snapsafe_rt.cli.demo_program, in an interpreter of its own each time; with --program it
runs the user's file. Protected, it is started as `snapsafe run` starts a program; nothing else differs.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from snapsafe_rt.cli import output
from snapsafe_rt.cli.shipped import PACKAGE, activation_folder
from snapsafe_rt.core import MISSING
from snapsafe_rt.errors import FAILED, OK, Failure
from snapsafe_rt.source.vmclock_file import FileSource, private_folders

EXAMPLES = ("snapsafe demo", "snapsafe demo --clones 50 --program app.py")
EXITS = {
    OK: "nothing was drawn twice with protection, and all that has to be drawn twice was without",
    FAILED: "something was, or the demo could not show it",
}
CLONES, MOST = 200, 100_000

HOW = {
    "namespace": "each clone is pid 1 of a pid namespace of its own, as its original is",
    "user": "each clone is pid 1 of a pid namespace of its own, as its original is, inside a user namespace",
    "none": "the kernel permits no namespaces here, so each clone has another pid than its original",
}
# Why clones that nothing protects did not repeat themselves, by the root of the value.
NOTES = {
    "kernel": "(1) Clones of a process share the live kernel and its generator. This demo cannot show what clones of a "
    "whole VM do: repeat these values too, until their kernel notices the restore. snapsafe guards them there.",
    "clock": "(2) The time is part of it. Two clones that ask in the same 100 ns get the same uuid1, as node and clock "
    "sequence are the same; here none did.",
    "pid": "(3) Made anew where the pid changes, as it had to here. In a clone of a VM the pid stays: to see that, run "
    "this as root or permit user namespaces.",
    "program": "(4) It differs without protection as well, so this shows nothing of it. It comes from the kernel, "
    "which clones of a process share and clones of a VM repeat, or was made anew in each clone.",
}


class Row(NamedTuple):
    """Of how many clones the value was drawn by another one as well, `without` protection and `protected`."""

    key: str
    words: str
    root: str
    without: int
    protected: int

    def repeats(self, isolation: str) -> bool:
        """Must it repeat where nothing protects it? If it does not, the demo has shown nothing."""
        return self.root == "memory" or (self.root == "pid" and isolation != "none")

    def verdict(self, isolation: str) -> output.Cell:
        if self.protected:
            return "REPEATED", "bad"
        if self.without:
            return "fixed", "good"
        if self.repeats(isolation):
            return "NOTHING SHOWN", "bad"
        return f"unique anyway {NOTES[self.root][:3]}", "dim"


class Phase(NamedTuple):
    surfaces: dict[str, tuple[str, str]]
    drawn: list[dict[str, list[str]]]
    isolation: str
    seconds: float

    def twice(self, key: str) -> int:
        """How many clones have a value that another one has."""
        drawn = [set(clone.get(key, ())) for clone in self.drawn]
        counted = Counter(value for clone in drawn for value in clone)
        return sum(any(counted[value] > 1 for value in clone) for clone in drawn)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clones", type=_number, default=CLONES, metavar="N", help=f"how many (default {CLONES})")
    parser.add_argument(
        "--program",
        dest="file",
        metavar="FILE",
        help="clone this program of yours: a Python file, which is run first, and whose function draw() returns what "
        "must differ in each clone",
    )
    parser.add_argument("--json", action="store_true", help="the same for programs; docs/command.md lists the keys")
    parser.epilog = "It needs neither a virtual machine nor root."


def _number(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if not 2 <= number <= MOST:
        raise argparse.ArgumentTypeError(f"{text}: must be from 2 to {MOST}")
    return number


def main(options: argparse.Namespace) -> int:
    if MISSING:
        raise Failure(f"nothing can be protected: {MISSING}")
    # So that the folder and the clones go when we are told to end.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    file = os.path.abspath(options.file) if options.file is not None else None
    if file is not None and not os.path.isfile(file):
        raise Failure(f"{options.file}: no such file")
    began = time.monotonic()
    plain, protected = _phases(options.clones, file)
    seconds = time.monotonic() - began
    surfaces = plain.surfaces | protected.surfaces
    rows = [Row(key, *surfaces[key], plain.twice(key), protected.twice(key)) for key in surfaces]
    shown = all(row.without for row in rows if row.repeats(plain.isolation))
    safe = not any(row.protected for row in rows)
    if options.json:
        _print_json(rows, plain, protected, seconds, shown and safe)
    else:
        _show(rows, plain, protected, seconds)
        _show_verdict(rows, shown, safe)
    return OK if shown and safe else FAILED


def _phases(count: int, file: str | None) -> tuple[Phase, Phase]:
    folders = private_folders()
    if not folders:
        raise Failure("no folder here is fit for a file source: it takes a tmpfs that this user may write, as /dev/shm")
    with (
        tempfile.TemporaryDirectory(prefix="snapsafe-demo-", dir=folders[0], ignore_cleanup_errors=True) as folder,
        output.progress("cloning", 2 * count) as progress,
    ):
        plain = _phase(count, file, folder, False, progress)
        protected = _phase(count, file, folder, True, lambda done: progress(count + done))
    if plain.isolation != protected.isolation:
        raise Failure("the two runs could not be made alike; try again")
    return plain, protected


def _phase(count: int, file: str | None, folder: str, protect: bool, progress: Callable[[int], object]) -> Phase:
    source = FileSource(os.path.join(folder, "protected" if protect else "plain")).create()
    errors = os.path.join(folder, "stderr")
    arguments = [str(count), source.path] if file is None else [str(count), file, os.getcwd()]
    with open(errors, "w+", encoding="utf-8", errors="replace") as stderr:
        # In the empty folder: no module of the user's takes the place of one of the standard library's.
        child = subprocess.Popen(
            [sys.executable, "-m", "snapsafe_rt.cli.demo_program", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=folder,
            env=_environment(source, protect),
        )
        answer: dict[str, Any] = {}
        try:
            assert child.stdout is not None
            for line in child.stdout:
                answer = json.loads(line)
                if "done" in answer:
                    progress(answer["done"])
        finally:
            child.kill()
            child.communicate()
        if "failed" in answer:
            raise Failure(answer["failed"].rstrip())
        if "drawn" not in answer:
            stderr.seek(0)
            said = stderr.read().strip().splitlines()
            how = "with protection" if protect else "without protection"
            raise Failure(f"the run {how} came to no end:\n" + "\n".join(said[-20:]))
        if protect and not answer["active"]:
            raise Failure(f"the run with protection had none: {answer['why_not']}")
    surfaces = {key: (words, root) for key, (words, root) in answer["surfaces"].items()}
    return Phase(surfaces, answer["drawn"], answer["isolation"], answer["seconds"])


def _environment(source: FileSource, protect: bool) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SNAPSAFE")}
    path = [activation_folder()] * protect + [os.path.dirname(PACKAGE)]
    path += [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry and entry not in path]
    environment["PYTHONPATH"] = os.pathsep.join(path)
    # The plain run stays plain, even where an activation is installed into this very Python.
    environment.update({"SNAPSAFE_SOURCES": source.uri, "SNAPSAFE_STRICT": "0"} if protect else {"SNAPSAFE": "0"})
    return environment


def _show(rows: list[Row], plain: Phase, protected: Phase, seconds: float) -> None:
    count = len(plain.drawn)
    output.say(
        f"A running Python was cloned {count} times. How many of the clones drew a value that another one drew too?"
    )
    output.say()
    output.table(
        ["what was drawn", "without", "with snapsafe", "verdict"],
        [
            [row.words, _count(row.without, count), _count(row.protected, count), row.verdict(plain.isolation)]
            for row in rows
        ],
        right=(1, 2),
    )
    output.say()
    rate = 2 * count / (plain.seconds + protected.seconds)
    output.say(
        f"{2 * count} clones in {seconds:.1f} s ({rate:.0f} a second). Source: a file in VMClock's layout, written to "
        f"the same new generation in each clone of a run. Pids: {HOW[plain.isolation]}."
    )
    unique = {row.root for row in rows if not row.without and not row.repeats(plain.isolation)}
    for root, note in NOTES.items():
        if root in unique:
            output.say(note)
    output.say()


def _count(number: int, count: int) -> output.Cell:
    return (f"{number} of {count}", "bad") if number else ("none", "good")


def _show_verdict(rows: list[Row], shown: bool, safe: bool) -> None:
    if not safe:
        output.say(
            "FAILED: drawn twice with protection: " + ", ".join(row.words for row in rows if row.protected), "bad"
        )
        if any(row.root == "program" for row in rows):
            from snapsafe_rt.testing.safe import KEPT

            output.say(KEPT)
    elif not shown:
        output.say("FAILED: without protection nothing repeated itself where it has to, so this shows nothing.", "bad")
    else:
        output.say("With snapsafe nothing was drawn twice.", "good")
        output.say("Next, your own program, and what protects it on this machine:")
        output.say("  snapsafe run python app.py")
        output.say("  snapsafe status")


def _print_json(rows: list[Row], plain: Phase, protected: Phase, seconds: float, ok: bool) -> None:
    print(
        json.dumps(
            {
                "ok": ok,
                "clones": len(plain.drawn),
                "isolation": plain.isolation,
                "same_pid": plain.isolation != "none",
                "seconds": round(seconds, 3),
                "clones_per_second": round(2 * len(plain.drawn) / (plain.seconds + protected.seconds)),
                "rows": [
                    {
                        "name": row.key,
                        "words": row.words,
                        "root": row.root,
                        "must_repeat": row.repeats(plain.isolation),
                        "without": row.without,
                        "with": row.protected,
                    }
                    for row in rows
                ],
            },
            indent=2,
        )
    )
