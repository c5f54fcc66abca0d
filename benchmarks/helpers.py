"""The names that statements and setups find; imported by the processes that are measured, so it imports little."""

import os
import sys
from time import perf_counter_ns as clock

__all__ = ["clock", "fence", "restore", "spawn", "sys"]


def restore(times: int = 1) -> None:
    """Move the watched file's generation, and draw: a restore that this process has noticed."""
    import random

    from snapsafe_rt.source.vmclock_file import publish

    path = os.environ["BENCHMARK_SOURCE"]
    for _ in range(times):
        publish(path)
        random.random()


def fence() -> bool | None:
    """Is the fence up? None where nothing is activated."""
    core = sys.modules.get("snapsafe_rt._core")
    return core.inspect_entropy().fence != "down" if core is not None and activated() else None


def activated() -> bool:
    core = sys.modules.get("snapsafe_rt._core")
    return core is not None and core.active()


def spawn(*arguments: str, python: str = sys.executable) -> int:
    """Run Python with these arguments; ns until it ended, with success."""
    begin = clock()
    pid = os.posix_spawn(python, [python, *arguments], os.environ)
    status = os.waitpid(pid, 0)[1]
    taken = clock() - begin
    if status:
        raise SystemExit(f"python {' '.join(arguments)} ended with {status}")
    return taken
