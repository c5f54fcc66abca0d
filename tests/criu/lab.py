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
import signal
import subprocess
import sys
import time

from snapsafe_rt import publish

ACTION, RESULTS = map(os.path.abspath, sys.argv[1:3])
COPIES = int(os.environ.get("SNAPSAFE_CRIU_COPIES", "20"))
VALUES, WORKERS, THREADS = 200, 2, 3
LAB = pathlib.Path("/run/lab")  # a tmpfs
SOURCE = "/run/snapsafe/vmclock0"
DUMPED_AT = 5  # generation; small, so that another host's history can be before, at and after it
TIMEOUT = 60.0
PROGRAM = pathlib.Path(__file__).with_name("program.py")

# What copies of a process cannot repeat: they share the live kernel, or the time is part of it.
UNIQUE_ANYWAY = {"os.urandom()", "secrets.token_hex()", "uuid4", "uuid1", "uuid7", "uuid4 of a fork after it"}
# Asked once of each process.
ONCE = {"uuid.getnode()"}


class Failed(Exception):
    pass


def say(text: str) -> None:
    print(f"criu: {time.monotonic() - began:5.1f} s  {text}", flush=True)


def wait_for(what: str, paths: list[pathlib.Path]) -> None:
    end = time.monotonic() + TIMEOUT
    while not all(path.exists() for path in paths):
        if time.monotonic() > end:
            missing = ", ".join(path.name for path in paths if not path.exists())
            raise Failed(f"{what}: no end after {TIMEOUT:.0f} s; missing {missing}")
        time.sleep(0.01)


def criu(action: str, log: pathlib.Path, *options: object) -> None:
    """The log's errors are part of what is raised."""
    command = ["criu", action, "--images-dir", log.parent, "--log-file", log.name, "-v2", *options]
    environment = {**os.environ, "SNAPSAFE_FILE": SOURCE}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    if done.returncode:
        text = log.read_text(errors="replace") if log.exists() else ""
        errors = [line for line in text.splitlines() if "Error" in line][:10]
        raise Failed("\n".join([f"criu {action} failed ({done.returncode})", *errors, done.stdout, done.stderr]))


class Tree:
    """A process tree that was dumped."""

    def __init__(self, name: str, environment: dict[str, str]) -> None:
        self.name, self.image, self.out, self.mark = name, LAB / name / "image", LAB / name / "out", LAB / name / "mark"
        self.image.mkdir(parents=True)
        self.out.mkdir()
        self.mark.write_bytes(bytes(4096))
        command = [f"{os.path.dirname(sys.executable)}/snapsafe", "run", sys.executable, PROGRAM, self.mark, self.out]
        self.process = subprocess.Popen(
            list(map(str, [*command, VALUES, WORKERS, THREADS])),
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(LAB / name / "stderr").open("ab"),
            start_new_session=True,
        )
        self.main = self.process.pid
        end = time.monotonic() + TIMEOUT
        while len(self.pids()) < WORKERS + 1:
            if self.process.poll() is not None or time.monotonic() > end:
                raise Failed(f"the program did not start: {(LAB / name / 'stderr').read_text()}")
            time.sleep(0.01)
        time.sleep(0.3)  # some thousand draws, so that pools and caches are in use
        criu("dump", self.image / "dump.log", "--tree", self.main)
        self.process.wait()
        self.end()
        self.number = 0

    def pids(self) -> list[int]:
        return sorted(int(path.suffix[1:]) for path in self.out.glob("ready.*"))

    def restore(self, script: str | None, *, events: bool, again: bool = False) -> "Copy":
        """One copy, ended again. `events`: main and the callbacks are waited for."""
        self.number += 1
        self.mark_copy(self.number)
        options = ["--restore-detached", *(["--action-script", script] if script else [])]
        try:
            criu("restore", self.image / f"restore-{self.number}.log", *options)
            pids = self.pids() if events else [pid for pid in self.pids() if pid != self.main]
            paths = [self.out / f"{self.number}.{pid}.json" for pid in pids]
            wait_for(f"{self.name}, copy {self.number}", paths)
            if again:  # a restore that nobody draws or checks for: the watcher has to be there
                publish.publish(SOURCE)
                wait_for(
                    f"{self.name}, copy {self.number}: the callback of the next restore",
                    [self.out / f"{self.number}.{pid}.again" for pid in pids],
                )
            return Copy(paths)
        finally:
            self.end()
            self.mark_copy(0)

    def mark_copy(self, number: int) -> None:
        with self.mark.open("r+b", buffering=0) as file:
            os.pwrite(file.fileno(), number.to_bytes(4, "little"), 0)

    def end(self) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + TIMEOUT
        while True:  # we are the first process of the namespace: orphans come to us
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.002)
            except ChildProcessError:
                return
            if time.monotonic() > end:
                raise Failed(f"{self.name}: processes that do not end: {self.pids()}")


class Copy:
    def __init__(self, paths: list[pathlib.Path]) -> None:
        self.processes = [json.loads(path.read_text()) for path in paths]

    def values(self, kind: str) -> list[str]:
        return [value for process in self.processes for value in process["rows"].get(kind, ())]


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


def must(condition: object, text: str) -> None:
    if not condition:
        raise Failed(text)


def check_protected(name: str, copies: list[Copy]) -> dict[str, tuple[int, int]]:
    found = compare(copies)
    repeated = {kind: number for kind, (_, number) in found.items() if number}
    must(not repeated, f"{name}: drawn twice: {repeated}")
    for copy in copies:
        for process in copy.processes:
            must(process["calls"] == 1, f"{name}: the callback ran {process['calls']} times in one process")
            must(process["epoch"] == copies[0].processes[0]["epoch"], f"{name}: epochs differ: {process['epoch']}")
            watching = process["status"]["watching"]
            must(watching["how"] == "inotify", f"{name}: after the restore the watcher is {watching}")
            must(process["status"]["source"]["synchronous"], f"{name}: {process['status']['source']}")
    return found


def kept(copies: list[Copy]) -> set[str]:
    return {json.dumps(process["kept"]) for copy in copies for process in copy.processes}


def other_host(generation: int) -> None:
    """The same path leads to another file, of another history."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOURCE)
    publish.create(SOURCE, synchronous=True, generation=generation)


def plus_one() -> str:
    """An action script that counts by one instead of by the clock."""
    path = LAB / "plus-one"
    write = f"publish.publish({SOURCE!r}, generation="
    body = f"from snapsafe_rt import publish; old = {write}0)[0]; {write}old + 1)"
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


def main() -> int:
    rows = []
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
            publish.publish(
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
    ours = check_protected("with the action script", copies)

    say("a file that cannot be moved ...")
    with open(SOURCE, "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"?", 0)
    refused(tree, ACTION, "post-restore script")

    other_host(DUMPED_AT)
    say("dumping a tree with SNAPSAFE=0 ...")
    plain = Tree("plain", {"SNAPSAFE": "0"})
    say(f"restoring it {COPIES} times ...")
    plain_copies = [plain.restore(ACTION, events=False) for _ in range(COPIES)]
    without = compare(plain_copies)
    silent = [kind for kind in without if kind not in UNIQUE_ANYWAY and not without[kind][1]]
    must(not silent, f"SNAPSAFE=0: nothing was repeated, so this test shows nothing: {silent}")
    must(len(kept(copies) | kept(plain_copies)) == 1, "a Random(42) is not the same in all copies")

    for kind, (values, number) in ours.items():
        row = {"scenario": "criu", "setup": f"{COPIES} copies and {len(hosts)} other hosts", "what": kind}
        rows.append({**row, "clones": len(copies), "values": values, "without": without[kind][1], "ours": number})
    facts = {
        "criu": subprocess.run(["criu", "--version"], capture_output=True, text=True, check=True).stdout.split()[1],
        "python": sys.version.split()[0],
        "kernel": os.uname().release,
        "processes": WORKERS + 1,
        "threads": THREADS * WORKERS,
        "clones": len(copies),
        "values": sum(values for values, _ in ours.values()),
        "seconds": round(time.monotonic() - began),
    }
    pathlib.Path(RESULTS).write_text(json.dumps({"facts": facts, "rows": rows}, indent=1) + "\n")
    for row in rows:
        print(
            *(
                f"{row.get(key, '-')!s:>{width}}"
                for key, width in (("what", 28), ("values", 8), ("without", 8), ("ours", 6))
            ),
            row["setup"],
            sep="  ",
        )
    print(facts)
    return 0


if __name__ == "__main__":
    began = time.monotonic()
    try:
        sys.exit(main())
    except Failed as error:
        print(f"criu: FAILED: {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        logs = os.environ.get("SNAPSAFE_CRIU_LOGS")
        if logs:
            shutil.copytree(LAB, logs, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.img", "*.json"))
