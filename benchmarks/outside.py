"""Whole programs: the benchmarks of pyperformance, and popular applications. See __main__.py, --outside.

Three processes of one kind at a time, on one CPU, measured in turn: stock, one with snapsafe_rt, and stock again, the
*twin*, which tells what the machine's noise alone makes of a ratio. What is measured is CPU time, for other work on the
machine takes wall time, and takes it unevenly.
"""

import itertools
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from benchmarks import instructions, pairs
from benchmarks.counted import CALLS

BAR, MEAN_BAR = 1.02, 1.003
COUNTED, COUNTED_MOST = 0.25, 5.0  # seconds under valgrind, while it does not count, of what is counted then
COUNTED_ABOVE = 60.0  # the most of what is above the bar, which wants a reason
SLOWER = 20  # times, under valgrind that does not count, at the least
LABELS = ("stock", "with", "twin")
ROUND, LONG = 0.01, 0.1  # seconds; a loop that takes longer is a round by itself, and from LONG on there are fewer
ROUNDS, LEAST_ROUNDS, LEAST_GROUPS = 7, 2, 3
WORKER = str(Path(__file__).with_name("outside_worker.py"))
# Chosen among the 550 most downloaded of PyPI: (name, rank in November 2026, what is installed, what it does until it
# is "imported").
APPLICATIONS = (
    ("boto3", 1, ("boto3",), "import boto3\nboto3.client('s3', 'eu-west-1')"),
    ("requests", 6, ("requests",), "import requests\nrequests.Session()"),
    ("pytest", 30, ("pytest",), "import pytest\npytest.main(['--version'])"),
    ("pandas", 37, ("pandas",), "import pandas\npandas.DataFrame({'a': [1, 2]})"),
    (
        "fastapi, uvicorn",
        67,
        ("fastapi", "uvicorn"),
        "import fastapi, uvicorn\nuvicorn.Config(fastapi.FastAPI()).load()",
    ),
    ("sqlalchemy", 98, ("sqlalchemy",), "import sqlalchemy\nsqlalchemy.create_engine('sqlite://').connect().close()"),
    ("flask", 181, ("flask",), "import flask\nflask.Flask('app').test_client()"),
    ("jupyter-client", 351, ("jupyter-client",), "import jupyter_client\njupyter_client.KernelManager()"),
    ("celery", 506, ("celery",), "import celery, celery.bin.celery\ncelery.Celery('app').finalize()"),
    (
        "django",
        528,
        ("django",),
        "import django\nfrom django.conf import settings\nsettings.configure()\ndjango.setup()\n"
        "from django.core.wsgi import get_wsgi_application\nget_wsgi_application()",
    ),
)
# argv: where to, and is snapsafe_rt to be active. CPU time counts from the start of the process.
IMPORTED = """
import sys, time
taken = time.process_time()
core = sys.modules.get("snapsafe_rt._core")
if (core is not None and core.active()) != (sys.argv[2] == "1"):
    sys.exit("snapsafe_rt is %sactive here" % ("not " if sys.argv[2] == "1" else ""))
sizes = {}
for name in ("smaps_rollup", "status"):
    with open("/proc/self/" + name) as file:
        for line in file:
            words = line.split()
            if words[-1] == "kB":
                sizes[words[0]] = int(words[1])
with open(sys.argv[1], "w") as file:
    print(taken, sizes["VmHWM:"], sizes["Private_Clean:"] + sizes["Private_Dirty:"], file=file)
"""
WHAT = (("imported", "ms"), ("exit", "ms"), ("peak", "KiB"), ("private", "KiB"))

Row = dict[str, Any]
Group = list[tuple[float, ...]]  # a round a line: the seconds of stock, with and twin


class Process:
    """One of three; `said()` and `ask()` raise pairs.Failed with its last words."""

    def __init__(
        self, python: Sequence[str], command: Sequence[str], env: dict[str, str], expected: bool, folder: str
    ) -> None:
        self.errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - close() does
        self.process = subprocess.Popen(
            [*python, WORKER, str(int(expected)), *command],
            env=env,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def said(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            words = [
                line for line in self.errors.read().strip().splitlines() if not line.startswith("==")
            ]  # valgrind's
            raise pairs.Failed(words[-1] if words else "ended without a word")
        return json.loads(line)

    def ask(self, loops: int) -> float:
        self.tell(loops)
        return float(self.said())

    def tell(self, loops: int) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{loops}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self.said()
            raise

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()


def environments(both: tuple[dict[str, str], dict[str, str]], group: int) -> list[dict[str, str]]:
    """Of stock, with and twin: pairs' own, of which the environment that is measured knows the activation folder alone.

    The hash seed differs from group to group, and is the same in one.
    """
    stock = {name: value for name, value in both[0].items() if not name.startswith(("SNAPSAFE", "PYTHON", "BENCHMARK"))}
    stock["PYTHONHASHSEED"] = str(group)
    ours = {
        **stock,
        "SNAPSAFE_SOURCES": both[1]["SNAPSAFE_SOURCES"],
        "PYTHONPATH": both[1]["PYTHONPATH"].split(os.pathsep)[0],
    }
    return [stock, ours, stock]


def ratios(rounds: Sequence[tuple[float, ...]]) -> tuple[float, float]:
    """Of one group: with to the two stocks, and twin to stock; medians over the quieter half of its rounds, for what
    else runs only ever adds.
    """
    quiet = sorted(rounds, key=sum)[: (len(rounds) + 1) // 2]
    ours = statistics.median(active / math.sqrt(stock * twin) for stock, active, twin in quiet)
    return ours, statistics.median(twin / stock for stock, _, twin in quiet)


def quartiles(values: Sequence[float]) -> list[float]:
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3


def geometric_mean(rows: Sequence[Row], key: str) -> float:
    return math.exp(statistics.fmean(math.log(row[key][1]) for row in rows))


def error(rows: Sequence[Row], key: str) -> float:
    """The standard error of that mean, from how far the benchmarks differ."""
    logs = [math.log(row[key][1]) for row in rows]
    return statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf


def verdict(rows: Sequence[Row]) -> str:
    """Is the bar of the geometric mean held? Noise on the wrong side of it decides nothing."""
    mean, doubt = geometric_mean(rows, "first"), 2 * error(rows, "first")
    return "held" if mean + doubt <= MEAN_BAR else "missed" if mean - doubt > MEAN_BAR else "within the noise"


def row(name: str, groups: Sequence[Group]) -> Row:
    ours, twin = zip(*map(ratios, groups), strict=True)
    return {
        "name": name,
        "seconds": [statistics.median(one[side] for rounds in groups for one in rounds) for side in (0, 1)],
        "ratio": quartiles(ours),
        "twin": quartiles(twin),
        "groups": len(groups),
        "rounds": sum(map(len, groups)),
    }


def enough(processes: Sequence[Process]) -> tuple[int, int]:
    """How many loops fill a round, and how many rounds a group has."""
    loops, spent = 1, [process.ask(1) for process in processes]
    while (most := max(max(spent), 1e-9)) * loops < ROUND:
        loops = max(loops * 2, min(loops * 10, int(ROUND / most)))
        spent = [process.ask(loops) for process in processes]
    return loops, ROUNDS if most * loops < LONG else LEAST_ROUNDS


def in_turn(processes: Sequence[Process], loops: int, rounds: int) -> list[tuple[float, ...]]:
    """The rounds of one benchmark, in which each of the three is the first as often as the others."""
    orders = itertools.cycle([(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1), (2, 0, 1), (1, 0, 2)])
    found = []
    for order in itertools.islice(orders, rounds):
        taken = [0.0, 0.0, 0.0]
        for side in order:
            taken[side] = processes[side].ask(loops)
        found.append(tuple(taken))
    return found


def benchmark(python: str, command: Sequence[str], seconds: float, first: int = 0) -> dict[str, list[Group]]:
    """Groups of three processes until the seconds are over; by name, for a script may have several. Raises Failed.

    Where objects lie makes a process some percent faster or slower for as long as it lives. So there are many
    processes, each measured shortly, and in each group objects lie elsewhere (outside_worker.displaced).
    """
    found: dict[str, list[Group]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    begin, group = time.monotonic(), first
    with pairs.environments("file") as both, tempfile.TemporaryDirectory() as folder:
        while group < first + LEAST_GROUPS or time.monotonic() - begin < seconds:
            group += 1
            processes: list[Process] = []
            try:
                for env, label in zip(environments(both, group), LABELS, strict=True):
                    processes.append(Process([python], command, env, label == "with", folder))
                while (names := [process.said() for process in processes])[0] is not None:
                    name = names[0]
                    if names != [name] * 3:
                        raise pairs.Failed(f"they do not run the same: {names}")
                    if name not in sizes:
                        sizes[name] = enough(processes)
                    elif sizes[name][1] == ROUNDS:
                        in_turn(processes, 1, 1)  # warms up; a long one needs it less
                    found.setdefault(name, []).append(in_turn(processes, *sizes[name]))
                    for process in processes:
                        process.tell(0)
            finally:
                for process in processes:
                    process.close()
            if not found:
                raise pairs.Failed("it measures nothing")
    return found


def pyperformance(folder: str, seconds: float, word: str) -> Row:
    """Two thirds of the time are for all, the last one for those above the bar: these are measured again, for longer.

    `first` is what a row was before that. The geometric means are of it, for else luck counted on one side alone.
    """
    python = f"{folder}/bin/python"
    known, absent = benchmarks(python, word)
    found: dict[str, dict[str, list[Group]]] = {}
    begin = time.monotonic()
    for number, one in enumerate(known):
        left = seconds * 2 / 3 - (time.monotonic() - begin)
        try:
            found[one["name"]] = benchmark(python, one["command"], left / (len(known) - number))
        except pairs.Failed as error:
            absent.append([one["name"], str(error)])
            say(f"{number + 1}/{len(known)} {one['name']}: not here: {error}")
        else:
            say(f"{number + 1}/{len(known)} {words(found[one['name']])}")
    first = {name: row(name, groups)["ratio"] for each in found.values() for name, groups in each.items()}
    above = [one for one in known if any(first[name][1] > BAR for name in found.get(one["name"], ()))]
    for number, one in enumerate(above):
        left = seconds - (time.monotonic() - begin)
        had = found[one["name"]]
        if left < 0:
            break
        try:
            more = benchmark(python, one["command"], left / (len(above) - number), max(map(len, had.values())))
        except pairs.Failed as error:
            say(f"again {one['name']}: {error}")
            continue
        found[one["name"]] = {name: [*groups, *more[name]] for name, groups in had.items()}
        say(f"again {number + 1}/{len(above)} {words(found[one['name']])}")
    return {
        "rows": [
            row(name, each[name]) | {"first": first[name], "script": script}
            for script, each in found.items()
            for name in each
        ],
        "absent": absent,
        "minutes": round((time.monotonic() - begin) / 60),
        "versions": versions(folder, ("pyperformance", "pyperf")),
    }


def count(python: str, command: Sequence[str], most: float) -> dict[str, list[float]]:
    """By name, in one loop: the instructions stock, with, and of these the core's own. By valgrind; raises Failed, also
    where a loop takes more than `most` seconds under it while it does not count.

    Not of a benchmark that is a program which it starts.
    """
    with pairs.environments("file") as both, tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        marks, envs = instructions.marks(folder), environments(both, 0)
        loops: dict[str, Future[int]] = defaultdict(Future)  # is what stock decides

        def side(activated: bool) -> dict[str, dict[str, float]]:
            out = tempfile.mkdtemp(dir=folder)
            tool = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}/out", python]
            process = Process(tool, command, {**envs[activated], "BENCHMARK_MARKS": marks}, activated, out)
            try:
                while name := process.said():
                    taken = min(process.ask(1), process.ask(1))
                    if taken > most:
                        error = pairs.Failed("a loop is too long for that")
                        if not activated:
                            loops[name].set_exception(error)  # else the other side would wait
                        raise error
                    if not activated:
                        loops[name].set_result(max(1, round(COUNTED / taken)))
                    number = loops[name].result(timeout=instructions.PATIENCE)
                    process.ask(number)
                    process.ask(-number)
                    process.tell(0)
            finally:
                process.close()
            found = map(instructions.read, Path(out).glob("out.*"))
            return dict(filter(None, found))

        stock, ours = (future.result() for future in [pool.submit(side, activated) for activated in (False, True)])
    return {
        name: [
            each * CALLS / loops[name].result() for each in (stock[name]["all"], ours[name]["all"], ours[name]["own"])
        ]
        for name in stock
    }


def counts(folder: str, word: str, rows: Sequence[Row], seconds: float) -> dict[str, list[float]]:
    """By name: the instructions stock, with, and of these the core's own. Of what valgrind can run: those above the
    bar, and then, until the seconds are over, the others, the quickest first.
    """
    python = f"{folder}/bin/python"
    found: dict[str, list[float]] = {}
    takes: dict[str, float] = {}
    above = set()
    for each in rows:
        takes[each["script"]] = max(each["seconds"][0], takes.get(each["script"], 0))
        if each["ratio"][1] > BAR:
            above.add(each["script"])
    known = [one for one in benchmarks(python, word)[0] if one["name"] in takes]
    begin = time.monotonic()
    for one in sorted(known, key=lambda one: (one["name"] not in above, takes[one["name"]])):
        most = COUNTED_ABOVE if one["name"] in above else COUNTED_MOST
        if takes[one["name"]] * SLOWER > most:
            say(f"{one['name']}: not counted: a loop is too long for that")
            continue
        if one["name"] not in above and time.monotonic() - begin > seconds:
            say(f"{one['name']}: not counted: no time is left")
            continue
        try:
            fresh = count(python, one["command"], most)
        except (pairs.Failed, futures.TimeoutError) as error:
            say(f"{one['name']}: not counted: {error}")
            continue
        for name, (stock, ours, own) in fresh.items():
            say(f"{name}: instructions x {ours / stock:.5f}, of {stock:.0f}; the core's own are {own:.0f}")
        found |= fresh
    return found


def benchmarks(python: str, word: str) -> tuple[list[Row], list[list[str]]]:
    """The default set: those for this Python, and why others are not."""
    known = json.loads(subprocess.run([python, WORKER, "list"], stdout=subprocess.PIPE, check=True).stdout)
    known = [one for one in known if word in one["name"]]
    absent = [[one["name"], f"is for Python {one['needs']}"] for one in known if one["needs"]]
    return [one for one in known if not one["needs"]], absent


def words(found: dict[str, list[Group]]) -> str:
    rows = [row(name, groups) for name, groups in found.items()]
    return "; ".join(
        f"{one['name']} x {one['ratio'][1]:.3f}, twin {one['twin'][1]:.3f}, {one['groups']} groups" for one in rows
    )


def say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True)


def applications(folder: str, seconds: float, word: str) -> Row:
    rows, absent = [], []
    for name, rank, installed, statement in APPLICATIONS:
        if word not in name:
            continue
        try:
            groups = application(f"{folder}/bin/python", statement, seconds / len(APPLICATIONS))
        except pairs.Failed as error:
            absent.append([name, str(error)])
            continue
        found = amounts(groups)
        rows.append(
            {"name": name, "rank": rank, "version": versions(folder, installed), "groups": len(groups), **found}
        )
        say(f"{name}: " + ", ".join(f"{what} {found[what]['more'][1]:+.2f} {unit}" for what, unit in WHAT))
    return {"rows": rows, "absent": absent}


def application(python: str, statement: str, seconds: float) -> list[Group]:
    """In each group the figures of stock, with and twin. The first start, which writes bytecode, is not counted."""
    groups: list[Group] = []
    begin = time.monotonic()
    with pairs.environments("file") as both, tempfile.TemporaryDirectory() as folder:
        for group in itertools.count():
            if len(groups) >= LEAST_GROUPS and time.monotonic() - begin > seconds:
                return groups
            envs = environments(both, group)
            figures: Group = [()] * 3
            for side in ((0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1))[group % 4]:
                figures[side] = start(python, statement, envs[side], side == 1, folder)
            if group:
                groups.append(figures)
    raise AssertionError


def start(python: str, statement: str, env: dict[str, str], expected: bool, folder: str) -> tuple[float, ...]:
    path = f"{folder}/figures"
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        process = subprocess.Popen(
            [python, "-c", statement + IMPORTED, path, str(int(expected))],
            env=env,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
        status, usage = os.wait4(process.pid, 0)[1:]
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise pairs.Failed(said.read().strip().rpartition("\n")[2] or f"ended with {process.returncode}")
    taken, peak, private = map(float, Path(path).read_text().split())
    return taken * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3, peak, private


def amounts(groups: Sequence[Group]) -> dict[str, dict[str, Any]]:
    """Of each figure: stock's median, and the quartiles of what is more with us, and with the twin."""
    return {
        what: {
            "stock": statistics.median(group[0][index] for group in groups),
            "more": quartiles([group[1][index] - group[0][index] for group in groups]),
            "twin": quartiles([group[2][index] - group[0][index] for group in groups]),
        }
        for index, (what, _) in enumerate(WHAT)
    }


def versions(folder: str, names: Sequence[str]) -> str:
    library = next(Path(folder, "lib").glob("python*/site-packages"))
    known = {one.metadata["Name"].lower().replace("_", "-"): one.version for one in distributions(path=[str(library)])}
    return ", ".join(f"{name} {known[name]}" for name in names if name in known)


def measure(folder: str, word: str, seconds: float, cpu: int | None, machine: Callable[[], dict[str, str]]) -> Row:
    """folder: has the environments pyperformance and applications."""
    folder = os.path.abspath(folder)  # they are started elsewhere
    cpu = max(os.sched_getaffinity(0)) if cpu is None else cpu
    os.sched_setaffinity(0, {cpu})
    facts = {**machine(), "date": time.strftime("%Y-%m-%d"), "on": f"CPU {cpu} alone"}
    found: Row = {
        "applications": applications(f"{folder}/applications", seconds / 8, word),
        "pyperformance": pyperformance(f"{folder}/pyperformance", seconds * 5 / 8, word),
        "instructions": {},
    }
    if shutil.which("valgrind"):
        rows = found["pyperformance"]["rows"]
        found["instructions"] = counts(f"{folder}/pyperformance", word, rows, seconds / 4)
    facts["load"] += f" at the start, {os.getloadavg()[0]:.1f} at the end"
    return {"machine": facts, **found}
