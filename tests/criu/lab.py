"""Dumps a running process tree once with CRIU, restores it many times, and compares what the copies drew.

    lab.py ACTION-SCRIPT RESULTS.json

Runs as the first process of `.ci/tree run --alone`, as root, with the Python that has the package: `make criu-test`.
SNAPSAFE_CRIU_COPIES: copies of each of the two trees (20); SNAPSAFE_CRIU_LOGS: a folder to keep the logs in.
"""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import phases
from trees import LAB, SNAPSAFE, SOURCE, THREADS, WORKERS, Container, Copy, Failed, Tree, must

from snapsafe_rt.source import vmclock_file

sys.path.append(str(pathlib.Path(__file__).parents[2]))  # last: the package is the installed one
import database

from tests.vm.results import Results

ACTION, RESULTS = map(os.path.abspath, sys.argv[1:3])
COPIES = int(os.environ.get("SNAPSAFE_CRIU_COPIES", "20"))
CONTAINERS = 5
DUMPED_AT = 5  # generation; small, so that another host's history can be before, at and after it

# What copies of a process cannot repeat: they share the live kernel, or the time is part of it.
UNIQUE_ANYWAY = {"os.urandom()", "secrets.token_hex()", "uuid4", "uuid1", "uuid7", "uuid4 of a fork after it"}
# Not kept with the logs; rootfs is the machine's own root.
LEFT_OUT = shutil.ignore_patterns("*.img", "*.json", "rootfs", "server", "database")
# Asked once of each process.
ONCE = {"uuid.getnode()"}


def say(text: str) -> None:
    print(f"criu: {time.monotonic() - began:5.1f} s  {text}", flush=True)


def compare(copies: list[Copy]) -> dict[str, tuple[int, int]]:
    """Of each kind: values drawn, and how many of them were drawn before, in whatever copy, process or thread."""
    found = {}
    for kind in dict.fromkeys(kind for copy in copies for process in copy.processes for kind in process["rows"]):
        if kind in ONCE:
            drawn = [value for copy in copies for value in set(copy.values(kind))]
        else:
            drawn = [value for copy in copies for value in copy.values(kind)]
        found[kind] = len(drawn), len(drawn) - len(set(drawn))
    return found


def check_protected(name: str, copies: list[Copy], *moved: Copy) -> dict[str, tuple[int, int]]:
    found = compare([*copies, *moved])
    repeated = {kind: number for kind, (_, number) in found.items() if number}
    must(not repeated, f"{name}: drawn twice: {repeated}")
    for copy in copies:
        for process in copy.processes:
            must(process["calls"] == 1, f"{name}: the callback ran {process['calls']} times in one process")
            must(process["epoch"] == 1, f"{name}: the epoch is {process['epoch']}")
    for process in [process for copy in [*copies, *moved] for process in copy.processes]:
        watching, source = process["status"]["watching"], process["status"]["source"]
        must(watching["how"] == "inotify", f"{name}: after the restore the watcher is {watching}")
        must(source and source["synchronous"], f"{name}: after the restore the source is {source}")
    for copy in copies:
        for seen in copy.outside:
            must(seen["recorded"] and seen["protected"], f"{name}: seen from outside: {seen}")
            must(seen["epoch"] == 1 and seen["watching"], f"{name}: seen from outside: {seen}")
    return found


def kept(copies: list[Copy]) -> set[str]:
    return {json.dumps(process["kept"]) for copy in copies for process in copy.processes}


def other_host(generation: int) -> None:
    """The same path leads to another file, of another history."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOURCE)
    vmclock_file.create(SOURCE, synchronous=True, generation=generation)


def plus_one() -> str:
    """An action script that counts by one instead of by the clock."""
    path = LAB / "plus-one"
    write = f"vmclock_file.publish({SOURCE!r}, generation="
    body = f"from snapsafe_rt.source import vmclock_file; old = {write}0)[0]; {write}old + 1)"
    path.write_text(f'#!/bin/sh\n[ "$CRTOOLS_SCRIPT_ACTION" != post-restore ] || exec {sys.executable} -c "{body}"\n')
    path.chmod(0o755)
    return str(path)


def refused(tree: Tree, script: str, text: str) -> None:
    """With a file that cannot be moved no copy comes up."""
    try:
        tree.restore(script, events=False)
    except Failed as error:
        must(text in str(error), f"restored with a bad file, or for another reason: {error}")
    else:
        raise Failed(f"restored although {text}")


def in_a_container() -> list[dict]:
    other_host(DUMPED_AT)
    say("dumping a container ...")
    container = Container("container", {"SNAPSAFE_SOURCES": f"vmclock:{SOURCE}"})
    say(f"restoring it {CONTAINERS} times, and twice without the action script ...")
    copies = [container.restore(ACTION, events=True) for _ in range(CONTAINERS)]
    ours = check_protected("container", copies)
    pair = []
    for _ in range(2):
        vmclock_file.publish(SOURCE, generation=DUMPED_AT)
        pair.append(container.restore(None, events=False))
    without = compare(pair)
    silent = [kind for kind in without if kind not in UNIQUE_ANYWAY | ONCE and not without[kind][1]]
    must(not silent, f"container: without the action script nothing was repeated: {silent}")
    return [
        {
            "scenario": "criu",
            "setup": "container restored by crun; without: no action script, 2 copies",
            "what": kind,
            "clones": CONTAINERS,
            "values": values,
            "without": without[kind][1],
            "ours": number,
        }
        for kind, (values, number) in ours.items()
        if kind in without
    ]


def quiesced() -> None:
    """The example with a database, asked before the dump by the action script."""
    with subprocess.Popen([SNAPSAFE, "manager", "--file", LAB / "managers"]) as manager:
        try:
            for kind in "postgres", "sqlite":
                say(f"dumping the example with {kind}, quiesced, and restoring it {CONTAINERS} times ...")
                database.check(kind, ACTION, CONTAINERS)
        finally:
            manager.terminate()


def main() -> int:
    results = Results({})
    rows = results.rows
    os.makedirs(os.path.dirname(SOURCE))
    LAB.mkdir()
    other_host(DUMPED_AT)

    say("dumping an activated tree ...")
    tree = Tree("activated", {"SNAPSAFE_SOURCES": f"vmclock:{SOURCE}"})
    say(f"restoring it {COPIES} times ...")
    copies = []
    for number in range(COPIES):
        copies.append(tree.restore(ACTION, events=True, again=number == 0))
    say("the twins: without the action script, and with one that counts by one ...")
    for name, script, shown in (("no action script", None, 0), ("counted by one", plus_one(), 1)):
        pair = []
        for _ in range(2):
            vmclock_file.publish(
                SOURCE, generation=DUMPED_AT - shown
            )  # the same file: another one is noticed for that alone
            pair.append(tree.restore(script, events=False))
        found = compare(pair)
        silent = [kind for kind in found if kind not in UNIQUE_ANYWAY | ONCE and not found[kind][1]]
        must(not silent, f"{name}: nothing was repeated, so this test shows nothing: {silent}")
        rows.append(
            {
                "scenario": "criu",
                "setup": name,
                "what": "uuid4",
                "clones": 2,
                "values": found["uuid4"][0],
                "without": found["uuid4"][1],
            }
        )

    hosts = (DUMPED_AT, DUMPED_AT - 1, DUMPED_AT - 2, 2**63 + 1)
    for generation in hosts:
        say(f"restoring it on a host whose file shows {generation} ...")
        other_host(generation)
        copies.append(tree.restore(ACTION, events=True))
    say("moving it over three more hosts, and restoring it there ...")
    for generation in (DUMPED_AT, DUMPED_AT, DUMPED_AT):
        tree.move(ACTION)
        other_host(generation)
    moved = tree.restore(ACTION, events=False)
    must(all(one["calls"] in range(1, 5) for one in moved.processes), "callbacks after four restores: more than four")
    ours = check_protected("with the action script", copies, moved)

    say("a file that cannot be moved ...")
    with open(SOURCE, "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"?", 0)
    refused(tree, ACTION, "post-restore script")

    rows += in_a_container()

    say(f"a tree that is asked first; CRIU of one that is not: {phases.run(say, ACTION)}")

    other_host(DUMPED_AT)
    quiesced()
    say("dumping a tree with SNAPSAFE=0 ...")
    plain = Tree("plain", {"SNAPSAFE": "0"})
    say(f"restoring it {COPIES} times ...")
    plain_copies = [plain.restore(ACTION, events=False) for _ in range(COPIES)]
    without = compare(plain_copies)
    silent = [kind for kind in without if kind not in UNIQUE_ANYWAY and not without[kind][1]]
    must(not silent, f"SNAPSAFE=0: nothing was repeated, so this test shows nothing: {silent}")
    must(len(kept(copies) | kept(plain_copies)) == 1, "a Random(42) is not the same in all copies")

    for kind, (values, number) in ours.items():
        row = {
            "scenario": "criu",
            "setup": f"{COPIES} copies and {len(hosts)} other hosts, and a copy of copies",
            "what": kind,
        }
        rows.append({**row, "clones": len(copies) + 1, "values": values, "without": without[kind][1], "ours": number})
    results.facts |= {
        "criu": subprocess.run(["criu", "--version"], capture_output=True, text=True, check=True).stdout.split()[1],
        "python": sys.version.split()[0],
        "kernel": os.uname().release,
        "processes": WORKERS + 1,
        "threads": THREADS * WORKERS,
        "values": sum(values for values, _ in ours.values()),
    }
    results.write(RESULTS, len(copies) + 1)
    print(*results.table(), results.facts, sep="\n")
    return 0


if __name__ == "__main__":
    began = time.monotonic()
    try:
        sys.exit(main())
    except Failed as error:
        print(f"criu: FAILED: {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        Container.forget()
        logs = os.environ.get("SNAPSAFE_CRIU_LOGS")
        if logs:
            shutil.copytree(LAB, logs, dirs_exist_ok=True, ignore=LEFT_OUT)
