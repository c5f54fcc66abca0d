"""snapsafe audit: what a program did before a snapshot that will be the same in every clone, by place."""

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import time
from typing import Any

from snapsafe_rt.cli import child, output, reach, run, usage
from snapsafe_rt.cli.shipped import failure
from snapsafe_rt.cli.usage import NOT_EXECUTABLE, NOT_FOUND, PROGRAMS
from snapsafe_rt.errors import FAILED, NOT_PERMITTED, OK, USAGE, Failure
from snapsafe_rt.report import audited, patience, procfs
from snapsafe_rt.report.audited import Record

EXAMPLES = (
    "snapsafe audit python app.py",
    "snapsafe audit --fail-on drawn,tls --output report.txt pytest",
    "snapsafe audit --pid 4711",
)
EXITS = {
    PROGRAMS: "the program's own; 128 and the signal if it died of one",
    OK: "done, with --pid",
    FAILED: "--fail-on found something; or nothing was recorded, or there is no such process",
    NOT_PERMITTED: "the process may not be read or does not answer, or the report not be written",
} | {code: usage.EXITS[code] for code in (NOT_EXECUTABLE, NOT_FOUND)}
DRAWN = ("random", "urandom", "secrets", "uuid", "ssl", "tempfile", "email")
OPEN = ("tcp", "files", "threads")
KINDS = (*DRAWN, "seed", "tls", *OPEN, "environment")
OURS = ("snapsafe-event", "snapsafe-watch")  # threads that a program without us would not have
ROWS_MOST = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "snapsafe audit [-h] [--json] [--output FILE] [--fail-on KIND,...]\n"
        "                      (--pid N | [--] PROGRAM [ARGUMENT ...])"
    )
    parser.add_argument("--pid", type=int, metavar="N", help="of a running process that records by SNAPSAFE_AUDIT")
    parser.add_argument("--json", action="store_true", help="the same for programs; docs/audit.md lists the keys")
    parser.add_argument("--output", metavar="FILE", help="write it there; without it a program's report is on stderr")
    parser.add_argument(
        "--fail-on", metavar="KIND,...", type=_kinds, default=(), help="fail if one of these kinds is found"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.epilog = (
        f"Kinds: {', '.join(KINDS)}; `drawn` stands for the first {len(DRAWN)}.\n\n"
        "No value is stored or printed: only what was done, where, how often and when. What the program's own exit "
        "code says is not replaced, unless that is 0."
    )


def _kinds(text: str) -> tuple[str, ...]:
    named = [word.strip() for word in text.split(",") if word.strip()]
    for word in named:
        if word not in (*KINDS, "drawn"):
            near = usage.nearest(word, (*KINDS, "drawn"))
            way_out = f"did you mean `{near}`?" if near else f"it is one of {', '.join(KINDS)}, drawn"
            raise argparse.ArgumentTypeError(f"there is no {word!r}; {way_out}")
    return tuple(kind for kind in KINDS if kind in named or ("drawn" in named and kind in DRAWN))


def main(options: argparse.Namespace) -> int:
    program: list[str] = options.command[1:] if options.command[:1] == ["--"] else options.command
    if (options.pid is None) == (not program):
        raise Failure("which program, or which --pid? For example: snapsafe audit python app.py", USAGE)
    if options.pid is not None:
        code, records = OK, [_of_process(options.pid)]
    else:
        code, records = _of_program(program)
    if not records:
        print("snapsafe audit: nothing was recorded: no Python that is activated has run", file=sys.stderr)
        return code or (FAILED if options.fail_on else OK)
    _show(records, options, sys.stdout if options.pid is not None else sys.stderr)
    found = findings(records, options.fail_on)
    if found:
        print(f"snapsafe audit: --fail-on: {', '.join(f'{kind} {number}' for kind, number in found)}", file=sys.stderr)
    return code or (FAILED if found else OK)


# ---- recording ----


def _of_process(pid: int) -> Record:
    try:
        record = patience.answer(pid, _record) if pid > 0 else None
    except procfs.Gone as gone:
        raise Failure(str(gone)) from None
    except (procfs.NotPermitted, procfs.Silent) as refused:
        raise Failure(str(refused), NOT_PERMITTED) from None
    except OSError:
        raise Failure(f"process {pid} ended meanwhile, or /proc does not show what it has open") from None
    if record is None:
        raise Failure(f"process {pid} records nothing: start it with SNAPSAFE_AUDIT=1, and activated")
    return record


def _record(pid: int) -> "Record | None":
    record = audited.of_process(pid)
    if record is None:
        return None
    # /proc's word, in place of what the process noted at a snapshot before
    return record._replace(note={"when": "now", "open": audited.opened(pid)})


def _of_program(program: list[str]) -> tuple[int, list[Record]]:
    if not program[0]:
        raise Failure("which program? For example: snapsafe audit python app.py", USAGE)
    with tempfile.TemporaryDirectory(prefix="snapsafe-audit-", ignore_cleanup_errors=True) as folder:
        prefix = os.path.join(folder, "of")
        environment = {**run.activating(), "SNAPSAFE_AUDIT": prefix}
        why_not = reach.why_not(program, environment)
        code = child.wait(child.start(program, environment))
        records = audited.of_files(prefix)
        if why_not and not records:
            print(f"snapsafe audit: {why_not}", file=sys.stderr)
    return code, records


# ---- judging ----


def _said(record: Record) -> dict[str, Any]:
    """What was open when the process stood still for a snapshot, else at its end; {} where nothing tells."""
    told = record.note.get("quiesce")
    told = told if isinstance(told, dict) else record.note
    opened = told.get("open")
    return opened if isinstance(opened, dict) else {}


def _generators(record: Record) -> "dict[str, int] | None":
    """Another process's word: numbers, and no others than we know."""
    counts = _said(record).get("generators")
    if not isinstance(counts, dict) or not all(type(counts.get(name)) is int for name in ("random", "kept")):
        return None
    return {name: counts[name] for name in ("random", "kept")}


def _opened(record: Record, kind: str) -> list[str]:
    listed = _said(record).get(kind)
    listed = listed[: audited.MOST] if isinstance(listed, list) else []
    listed = [procfs.printable(one) for one in listed if isinstance(one, str)]
    if kind == "threads":
        listed = [name for name in listed[1:] if name not in OURS]
    return listed


def _kinds_of(place: audited.Place) -> set[str]:
    """secrets.choice() is a method of a SystemRandom, which does not tell whose."""
    return {place.kind, "secrets"} if place.what.startswith("random.SystemRandom.") else {place.kind}


def findings(records: list[Record], kinds: "tuple[str, ...]") -> list[tuple[str, int]]:
    """(kind, how many) of those asked for. What is not known counts as one: places that did not fit, and what a process
    had open that ended without a word."""
    found = dict.fromkeys(kinds, 0)
    for record in records:
        for place in record.places:
            for kind in _kinds_of(place) & found.keys() if not place.renewed else ():
                found[kind] += place.open if kind == "tls" else place.times
        for kind in OPEN:
            if kind in found:
                found[kind] += len(_opened(record, kind)) if _said(record) else 1
        if "tls" in found:
            found["tls"] += record.lost_sessions
    told = [(kind, number) for kind, number in found.items() if number]
    lost = sum(record.lost for record in records) if kinds else 0
    return [*told, ("not recorded", lost)] if lost else told


# ---- showing ----


def _show(records: list[Record], options: argparse.Namespace, stream: Any) -> None:
    made = io.StringIO()
    with contextlib.redirect_stdout(made if options.output is not None else stream):
        if options.json:
            print(json.dumps({"processes": [as_dict(record) for record in records]}, indent=2))
        else:
            _show_text(records)
    if options.output is not None:
        try:
            with open(options.output, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(made.getvalue())
        except OSError as error:
            raise failure(options.output, error, "name another --output") from None


def as_dict(record: Record) -> dict[str, Any]:
    """Keys as in docs/audit.md."""
    said = _said(record)
    when = record.note.get("when")
    return {
        "pid": record.pid,
        "parent": record.parent,
        "program": record.program,
        "began": record.began,
        "places": [place._asdict() for place in record.places],
        "lost": record.lost,
        "when": when if isinstance(when, str) else "",
        "open": None
        if not said
        else {
            **{kind: _opened(record, kind) for kind in (*OPEN, "stacks")},
            "tls": sum(place.open for place in record.places) + record.lost_sessions,
            "generators": _generators(record),
        },
    }


def _show_text(records: list[Record]) -> None:
    empty = 0
    for record in records:
        if not record.places and not record.lost and not any(_opened(record, kind) for kind in OPEN):
            empty += 1
            continue
        whole = f", forked from {record.parent}" if any(other.pid == record.parent for other in records) else ""
        output.say(f"{record.program} (process {record.pid}{whole})", "bold")
        _show_places(record)
        _show_open(record)
        output.say()
    if empty:
        output.say(f"{empty} more recorded nothing.", "dim")


def _show_places(record: Record) -> None:
    rows: list[list[output.Cell]] = []
    for place in sorted(record.places, key=lambda one: (KINDS.index(one.kind), -one.times))[:ROWS_MOST]:
        where = _where(place.file, place.line, place.function)
        if place.caller_file:
            where += f", called from {_where(place.caller_file, place.caller_line, place.caller)}"
        kept: output.Cell = ("no: per_generation", "good") if place.renewed else ("yes", "warn")
        if place.kind == "tls":
            kept = (f"{place.open} open", "bad") if place.open else ("no: over", "good")
        when = " to ".join(dict.fromkeys((_time(place.first), _time(place.last))))
        what = f"environment: {place.what}" if place.kind == "environment" else place.what
        rows.append([what, str(place.times), when, kept, where])
    if rows:
        output.table(["what", "times", "when", "same in clones", "where"], rows, right=[1])
    if len(record.places) > ROWS_MOST:
        output.say(f"And {len(record.places) - ROWS_MOST} more places; --json has all.", "dim")
    if record.lost:
        reason = "there was no room for more places, or a process could not make its record"
        output.say(f"Not recorded: {record.lost}; {reason}.", "bad")


def _show_open(record: Record) -> None:
    said = _said(record)
    if not said:
        output.say("What it had open is not known: it ended by os._exit() or a signal, or could not look.", "warn")
        return
    generators = _generators(record)
    if generators is not None:
        number, kept = generators["random"], generators["kept"]
        output.say(f"Generators of `random` alive: {number}; {kept} with a chosen seed, which no restore renews.")
    words = {"tcp": "TCP connections open", "files": "Files open for writing", "threads": "Other threads"}
    for kind, text in words.items():
        listed = _opened(record, kind)
        if listed:
            output.say(f"{text}: {', '.join(listed)}.")


def _where(file: str, line: int, function: str) -> str:
    return f"{file}:{line}:{function}"


def _time(seconds: float) -> str:
    try:
        return time.strftime("%H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError):
        return "?"
