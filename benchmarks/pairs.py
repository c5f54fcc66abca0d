"""Runs a case as a pair: two processes alive at once, measured in turn, round by round, so that what disturbs the
machine disturbs both. Ratios and differences are taken in each round; what is reported is their median over the quieter
half of the rounds.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import snapsafe_rt
from benchmarks.case import SOURCES, Case
from snapsafe_rt.cli.shipped import activation_folder
from snapsafe_rt.source import vmclock_file

# The package that is measured is the one that is imported here: installed, or the working tree's.
FOLDERS = dict.fromkeys(str(Path(file).resolve().parent.parent) for file in (snapsafe_rt.__file__, __file__))
ROUND_NS = 5_000_000
WARM_UP = 2  # rounds


class Failed(RuntimeError):
    """A measuring process ended, or did not measure what it should."""


@contextmanager
def environments(source: str) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """The environments without and with. Each has a file source of its own meanwhile, which only the second watches."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON"))}
    clean["PYTHONHASHSEED"] = "0"
    kind = SOURCES[source]
    with tempfile.TemporaryDirectory(prefix="snapsafe-bench-", dir=vmclock_file.private_folders()[0]) as folder:
        pair = []
        for side, more in (
            ("without", {"SNAPSAFE": "0", "PYTHONPATH": os.pathsep.join(FOLDERS)}),
            ("with", {"PYTHONPATH": os.pathsep.join([activation_folder(), *FOLDERS])}),
        ):
            path = f"{folder}/{side}"
            if kind is not None:
                vmclock_file.create(path, synchronous=kind[0])
                vmclock_file.publish(path, reseeded=kind[1])
            pair.append({**clean, **more, "BENCHMARK_SOURCE": path, "SNAPSAFE_SOURCES": f"vmclock:{path}"})
        yield pair[0], pair[1]


class Worker:
    """One of the two processes. `measure(calls)` -> what one call took, in the case's unit."""

    def __init__(self, case: Case, env: dict[str, str], setup: str, expected: bool) -> None:
        arguments = [setup, case.statement, str(int(case.own)), case.stays, str(int(expected))]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", *arguments],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def measure(self, calls: int) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(f"{calls}\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Failed(self.process.communicate()[1].strip() or "ended without a word")
        return float(line)

    def close(self) -> None:
        try:
            said = self.process.communicate(timeout=60)[1]
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        if self.process.returncode:
            raise Failed(said.strip())


def run(case: Case, *, processes: int | None = None, rounds: int | None = None) -> dict[str, Any]:
    """Measure a case: medians, the quartiles of the ratio, and whether its bar holds. Raises Failed."""
    without: list[float] = []
    with_: list[float] = []
    for _ in range(processes or case.processes):
        with environments(case.source) as (plain, active):
            stock = Worker(case, plain, case.setup if case.rival is None else case.rival, expected=False)
            ours = Worker(case, active, case.setup, expected=True)
            try:
                calls = case.calls or _calls(stock, ours)
                for number in range(WARM_UP + (rounds or case.rounds)):
                    pair = [0.0, 0.0]
                    for side in (0, 1) if number % 2 else (1, 0):
                        pair[side] = (stock, ours)[side].measure(calls)
                    if number >= WARM_UP:
                        without.append(pair[0])
                        with_.append(pair[1])
            finally:
                stock.close()
                ours.close()
    # What else runs on the machine only ever adds: the quieter half of the rounds is what tells.
    measured = sorted(zip(without, with_, strict=True), key=sum)
    quiet = measured[: (len(measured) + 1) // 2]
    low, ratio, high = statistics.quantiles([b / a for a, b in quiet], n=4)
    more = statistics.median(b - a for a, b in quiet)
    typical = statistics.median(b for _, b in quiet)
    return {
        "name": case.name,
        "unit": case.unit,
        "bar": case.bar(),
        "without": statistics.median(a for a, _ in quiet),
        "with": typical,
        "least": [min(without), min(with_)],
        "ratio": ratio,
        "quartiles": [low, high],
        "more": more,
        "ok": case.holds(ratio, more, typical),
        "rival": case.rival is not None,
        "rounds": len(measured),
    }


def _calls(*workers: Worker) -> int:
    calls = 10
    while (slowest := max(worker.measure(calls) * calls for worker in workers)) < ROUND_NS and calls < 10_000_000:
        calls = min(calls * 10, max(calls * 2, int(calls * ROUND_NS / slowest)))
    return calls
