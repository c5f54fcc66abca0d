"""snapsafe metrics: what is true of all Python processes that the caller may see, as Prometheus reads it."""

import argparse
import sys
from collections.abc import Iterable
from typing import Any

from snapsafe_rt.cli import processes, scan_cache, status
from snapsafe_rt.cli.shipped import failure
from snapsafe_rt.errors import FAILED, NOT_PERMITTED, OK, Failure
from snapsafe_rt.report import prometheus
from snapsafe_rt.report.prometheus import Metric, Sample
from snapsafe_rt.report.remote import Outside
from snapsafe_rt.settings import VERSION

EXAMPLES = ("snapsafe metrics", "snapsafe metrics --output /var/lib/node-exporter/snapsafe.prom")
EXITS = {
    OK: "done, also where something is unprotected: that is in the numbers",
    FAILED: "the file cannot be written, or stdout is closed",
    NOT_PERMITTED: "the file may not be written, or /proc is not mounted",
}
PROGRAM_MOST = 32  # as `status --all` shows: what comes later in a command line may be a secret
ROWS_MOST = 64  # of one process

METRICS = (
    Metric("snapsafe_info", "gauge", "Always 1; the version of the command that wrote this."),
    Metric("snapsafe_processes", "gauge", "Python processes that may be seen, by whether they are protected."),
    Metric("snapsafe_processes_not_permitted", "gauge", "Processes that the caller may not look at."),
    Metric("snapsafe_processes_silent", "gauge", "Processes that do not answer: reading them came to no end."),
    Metric("snapsafe_protected", "gauge", "1 if the process is protected."),
    Metric("snapsafe_active", "gauge", "1 if the process is activated."),
    Metric("snapsafe_source_info", "gauge", "Always 1; the source that the process watches."),
    Metric("snapsafe_epoch", "gauge", "Restores noticed by the process, and by those it was forked from."),
    Metric("snapsafe_restores_total", "counter", "Restores noticed by the process."),
    Metric("snapsafe_last_restore_timestamp_seconds", "gauge", "When the last one was noticed, and its cause."),
    Metric("snapsafe_subsystem", "gauge", "Always 1; a subsystem that is unprotected or unexamined."),
    Metric("snapsafe_fence_info", "gauge", "Always 1; the state of the fence."),
    Metric("snapsafe_callbacks", "gauge", "Callbacks that are registered."),
    Metric("snapsafe_last_event_seconds", "gauge", "How long the last restore event took."),
    Metric("snapsafe_last_event_callbacks", "gauge", "Callbacks that ran in it."),
    Metric("snapsafe_last_event_errors", "gauge", "Of these, how many failed."),
    Metric("snapsafe_phase_info", "gauge", "Always 1; where the process stands around an announced snapshot."),
    Metric("snapsafe_manager_up", "gauge", "1 if a manager answers."),
    Metric("snapsafe_machine_phase_info", "gauge", "Always 1; where the machine stands, as the manager says."),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="write it there, whole or not at all, as node_exporter's textfile collector wants",
    )
    parser.epilog = (
        "docs/monitoring.md lists the numbers. What is said of a process is its own word; it speaks of no other one."
    )


def main(options: argparse.Namespace) -> int:
    if options.output is None and sys.__stdout__ is None:
        raise Failure("stdout is closed, and nobody would get the numbers; name a file with --output")
    with scan_cache.kept():
        found, hidden, silent = processes.find_all(quiet=True)
    text = prometheus.render(METRICS, samples(found, hidden, len(silent), status.of_machine()))
    if options.output is None:
        print(text, end="")
        return OK
    try:
        prometheus.write(options.output, text)
    except OSError as error:
        raise failure(options.output, error, "name another --output") from None
    return OK


def samples(found: Iterable[Outside], hidden: int, silent: int, manager: dict[str, Any] | None) -> list[Sample]:
    made: list[Sample] = [("snapsafe_info", {"version": VERSION}, 1)]
    counts = {"protected": 0, "unprotected": 0, "not activated": 0}
    for one in found:
        if processes.is_manager(one, manager):  # snapsafe_manager_up tells of it
            continue
        counts["protected" if one.protected else "unprotected" if one.active else "not activated"] += 1
        made += _of_process(one)
    made += [("snapsafe_processes", {"state": state}, number) for state, number in counts.items()]
    made.append(("snapsafe_processes_not_permitted", {}, hidden))
    made.append(("snapsafe_processes_silent", {}, silent))
    made.append(("snapsafe_manager_up", {}, manager is not None))
    if manager is not None:
        made.append(("snapsafe_machine_phase_info", {"phase": str(manager["state"])}, 1))
    return made


def _of_process(one: Outside) -> Iterable[Sample]:
    own = {"pid": str(one.pid), "program": one.program[:PROGRAM_MOST], "uid": str(one.user), "cgroup": one.cgroup}
    yield "snapsafe_protected", own, one.protected
    yield "snapsafe_active", own, one.active
    if not one.active:
        return
    if source := one.source:
        when = "true" if source["synchronous"] else "false"
        lost = "true" if source["deserted"] or source["distrust"] else "false"
        told = {"source": source["source"], "what": source["what"], "synchronous": when, "doubtful": lost}
        yield "snapsafe_source_info", own | told, 1
    yield "snapsafe_epoch", own, one.epoch
    yield "snapsafe_restores_total", own, one.restores["count"]
    if one.restores["last_time"]:
        cause = {"cause": one.restores["last_cause"] or ""}
        yield "snapsafe_last_restore_timestamp_seconds", own | cause, one.restores["last_time"]
    for level, names in (("unprotected", one.unprotected), ("unexamined", one.unexamined)):
        for name in sorted(set(names))[:ROWS_MOST]:
            yield "snapsafe_subsystem", own | {"name": name, "level": level}, 1
    yield "snapsafe_fence_info", own | {"state": one.fence["state"]}, 1
    yield "snapsafe_callbacks", own, one.callbacks
    if event := one.last_event:
        yield "snapsafe_last_event_seconds", own, max(0.0, event["ended"] - event["began"])
        yield "snapsafe_last_event_callbacks", own, event["callbacks"]
        yield "snapsafe_last_event_errors", own, len(event["errors"])
    yield "snapsafe_phase_info", own | {"phase": one.lifecycle["phase"]}, 1
