"""What the manager knows, in a file for node_exporter's textfile collector: written anew when it has changed."""

import time
from collections.abc import Iterable
from typing import Any

from snapsafe_rt.report import prometheus
from snapsafe_rt.report.prometheus import Metric, Sample
from snapsafe_rt.settings import VERSION

METRICS = (
    Metric("snapsafe_manager_info", "gauge", "Always 1; the version of the manager, what it watches, and how."),
    Metric("snapsafe_manager_start_time_seconds", "gauge", "When the manager was started."),
    Metric("snapsafe_manager_restores_total", "counter", "Restores that it has published since."),
    Metric("snapsafe_manager_last_restore_timestamp_seconds", "gauge", "When it has published the last one."),
    Metric("snapsafe_manager_kernel_reseeded", "gauge", "1 if the kernel was made to reseed for that one."),
    Metric("snapsafe_manager_problems", "gauge", "Problems, as its log and Describe tell them."),
    Metric("snapsafe_manager_phase_info", "gauge", "Always 1; where the machine stands around a snapshot."),
    Metric("snapsafe_manager_inhibitors", "gauge", "Locks that are held."),
    Metric("snapsafe_manager_snapshots_total", "counter", "Snapshots that were announced."),
    Metric("snapsafe_manager_last_snapshot_timestamp_seconds", "gauge", "When the last one was announced."),
    Metric("snapsafe_manager_last_snapshot_seconds", "gauge", "How long each step of it took."),
    Metric("snapsafe_manager_last_snapshot_late", "gauge", "Who was waited for in vain."),
    Metric("snapsafe_manager_last_snapshot_info", "gauge", "Always 1; how it ended."),
)
STEPS = {"quiesce": "quiesceSeconds", "quiesced": "quiescedSeconds", "unquiesce": "unquiesceSeconds"}


class File:
    """`problem`: why it could not be written the last time, or ""."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problem = ""
        self._began = time.time()
        self._written = ""

    def write(self, described: "dict[str, Any]") -> None:
        """`described`: what the manager answers to Describe. Raises OSError."""
        text = prometheus.render(METRICS, self._samples(described))
        if text == self._written:
            return
        self._written = ""
        prometheus.write(self.path, text)
        self._written = text

    def keep(self, described: "dict[str, Any]") -> None:
        """The same, for a manager that runs: it goes on without."""
        try:
            self.write(described)
            self.problem = ""
        except OSError as error:
            self.problem = f"{self.path}: {error.strerror}"

    def _samples(self, described: "dict[str, Any]") -> Iterable[Sample]:
        watched = {"source": described["source"] or "", "how": described["how"]}
        yield "snapsafe_manager_info", {"version": VERSION, **watched}, 1
        yield "snapsafe_manager_start_time_seconds", {}, self._began
        yield "snapsafe_manager_restores_total", {}, described["published"]
        if described["lastRestore"]:
            yield "snapsafe_manager_last_restore_timestamp_seconds", {}, described["lastRestore"]
            yield "snapsafe_manager_kernel_reseeded", {}, int(described["reseeded"])
        yield "snapsafe_manager_problems", {}, len(described["problems"])
        yield "snapsafe_manager_phase_info", {"phase": described["state"]}, 1
        yield "snapsafe_manager_inhibitors", {}, described["inhibitors"]
        yield "snapsafe_manager_snapshots_total", {}, described["snapshot"]
        last = described["lastSnapshot"]
        if last is not None:
            yield "snapsafe_manager_last_snapshot_timestamp_seconds", {}, last["at"]
            for step, key in STEPS.items():
                if last[key] is not None:
                    yield "snapsafe_manager_last_snapshot_seconds", {"step": step}, last[key]
            yield "snapsafe_manager_last_snapshot_late", {}, len(last["late"])
            if last["ended"]:
                yield "snapsafe_manager_last_snapshot_info", {"ended": last["ended"]}, 1
