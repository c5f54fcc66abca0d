"""The process in which a benchmark of pyperformance runs: outside_worker.py EXPECTED SCRIPT OPTION...

`list` instead prints what benchmarks there are, `requirements` the files that say what those that run here need.

EXPECTED is 1 where snapsafe_rt must be active, 0 where it must not. The script runs as pyperf runs it, but instead of
the options it is asked, on stdin, for one measurement after the other, so that the driver can measure several such
processes in turn. It says the name of each benchmark that it comes to; a number of loops is answered with the seconds
of one, and 0 goes on. A negative number of loops is run between the marks of $BENCHMARK_MARKS (marks.c), for valgrind.
What is measured is CPU time, of the process and of children that it waited for.
This file runs in an environment that has pyperformance, and nothing of ours.
"""

import ctypes
import json
import os
import resource
import runpy
import subprocess
import sys
import time
from typing import Any


def clock() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def displaced(group: int) -> list[Any]:
    """Objects that are made, and must live on, before anything else: others of each number, none of 0.

    CPython's cache of methods has 4,096 places, which go by the addresses of names and by how many types were used
    before. A pair of hot methods that share one makes a benchmark some percent slower, in each process that makes the
    same objects in the same order. So each group of processes makes others.
    """
    number = group * 2654435761 % 997
    types = [type(f"Displaced{each}", (), {}) for each in range(number)]
    return [
        types,
        [getattr(each, "nothing", None) for each in types],
        [f"{each:0{each % 61}}" for each in range(number)],
    ]


def active() -> bool:
    core = sys.modules.get("snapsafe_rt._core")
    return core is not None and core.active()


def known() -> list[dict[str, Any]]:
    """pyperformance's default set."""
    from pyperformance._manifest import load_manifest  # type: ignore[import-not-found, unused-ignore]

    here = ".".join(map(str, sys.version_info[:3]))
    return [
        {
            "name": one.name,
            "command": [one.runscript, *one.extra_opts],
            "needs": str(one.python) if here not in one.python else "",
            "requirements": one.requirements_lockfile,
        }
        for one in sorted(load_manifest(None).resolve_group("default"), key=lambda one: str(one.name))
    ]


def main(expected: str, script: str, *options: str) -> None:
    sys.path[0] = os.path.dirname(script)  # as if Python had been given the script
    time.perf_counter = clock  # before pyperf and the script, which take it by name
    kept = displaced(int(os.environ["PYTHONHASHSEED"]))
    import pyperf  # type: ignore[import-not-found, unused-ignore]

    asked, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)

    def say(value: object) -> None:
        print(json.dumps(value), file=answers, flush=True)

    commands: set[str] = set()

    class Runner(pyperf.Runner):  # type: ignore[misc, unused-ignore]
        def _main(self, task: Any) -> None:
            say(task.name)
            for line in asked:
                if active() != (expected == "1"):
                    os._exit(fail(f"snapsafe_rt is {'' if active() else 'not '}active here"))
                if line.strip() == "0":
                    return
                loops = int(line)
                if loops < 0 and task.name in commands:
                    say(0)  # valgrind counts one process
                elif loops < 0:
                    marks = ctypes.CDLL(os.environ["BENCHMARK_MARKS"])
                    marks.begin()
                    task.task_func(task, -loops)
                    marks.end(task.name.encode())
                    say(0)
                else:
                    say(task.task_func(task, loops) / loops)
            os._exit(0)

        def bench_command(self, name: str, command: list[str]) -> None:
            """pyperf's own takes the time in a process between, by its own clock."""

            def run(loops: int) -> float:
                begin = clock()
                for _ in range(loops):
                    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, check=True)
                return clock() - begin

            commands.add(name)
            self.bench_time_func(name, run)

    pyperf.Runner = Runner
    sys.argv = [script, "--worker", "--loops=1", "--warmups=0", *options]
    runpy.run_path(script, run_name="__main__")
    say(None)
    del kept
    answers.close()
    os._exit(0)  # what servers and threads the script has left need not end


def fail(reason: str) -> int:
    sys.stderr.write(f"{reason}\n")
    sys.stderr.flush()
    return 1


if __name__ == "__main__":
    if sys.argv[1] == "list":
        print(json.dumps(known()))
    elif sys.argv[1] == "requirements":
        files = {one["requirements"] for one in known() if not one["needs"]}
        print("\n".join(sorted(file for file in files if os.path.exists(file))))
    else:
        main(*sys.argv[1:])
