"""Process trees that CRIU dumps and restores: on their own, and in a container."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from snapsafe_rt.source import vmclock_file

VALUES, WORKERS, THREADS = 200, 2, 3
LAB = pathlib.Path("/run/lab")  # a tmpfs
SOURCE = "/run/snapsafe/vmclock0"
TIMEOUT = 60.0
SNAPSAFE = pathlib.Path(sys.executable).with_name("snapsafe")
PROGRAM = pathlib.Path(__file__).with_name("program.py")


class Failed(Exception):
    pass


def must(condition: object, text: str) -> None:
    if not condition:
        raise Failed(text)


def wait_for(what: str, paths: list[pathlib.Path]) -> None:
    end = time.monotonic() + TIMEOUT
    while not all(path.exists() for path in paths):
        if time.monotonic() > end:
            missing = ", ".join(path.name for path in paths if not path.exists())
            raise Failed(f"{what}: no end after {TIMEOUT:.0f} s; missing {missing}")
        time.sleep(0.01)


def criu(action: str, log: pathlib.Path, *options: object) -> None:
    """The log's errors and its end are part of what is raised."""
    command = ["criu", action, "--images-dir", log.parent, "--log-file", log.name, "-v2", *options]
    environment = {**os.environ, "SNAPSAFE_FILE": SOURCE, "SNAPSAFE_COMMAND": str(SNAPSAFE)}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    if done.returncode:
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        told = [line for line in lines[:-8] if "Error" in line][:10] + lines[-8:]
        raise Failed("\n".join([f"criu {action} failed ({done.returncode})", *told, done.stdout, done.stderr]))


def run(*command: object, cwd: pathlib.Path | None = None) -> None:
    # A file, not a pipe: what goes on in the background would keep a pipe open.
    with tempfile.TemporaryFile("w+") as said:
        done = subprocess.run(
            list(map(str, command)),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            timeout=TIMEOUT,
            check=False,
        )
        if done.returncode:
            said.seek(0)
            raise Failed(f"{' '.join(map(str, command))}: {done.returncode}\n{said.read()[-3000:]}")


class Tree:
    """A process tree that was dumped."""

    visible = True  # by the pids that its processes see

    def __init__(self, name: str, environment: dict[str, str]) -> None:
        self.name, self.image, self.out, self.mark = name, LAB / name / "image", LAB / name / "out", LAB / name / "mark"
        self.image.mkdir(parents=True)
        self.out.mkdir()
        self.mark.write_bytes(bytes(4096))
        self.number = 0
        self.start(environment)
        end = time.monotonic() + TIMEOUT
        while len(self.pids()) < WORKERS + 1:
            if not self.runs() or time.monotonic() > end:
                raise Failed(f"the program did not start: {(LAB / name / 'stderr').read_text()}")
            time.sleep(0.01)
        self.main = self.pids()[0]
        time.sleep(0.3)  # some thousand draws, so that pools and caches are in use
        self.dump(self.image)

    def start(self, environment: dict[str, str]) -> None:
        command = [SNAPSAFE, "run", sys.executable, PROGRAM, self.mark, self.out]
        self.process = subprocess.Popen(
            list(map(str, [*command, VALUES, WORKERS, THREADS])),
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(LAB / self.name / "stderr").open("ab"),
            start_new_session=True,
        )

    def runs(self) -> bool:
        return self.process.poll() is None

    def dump(self, image: pathlib.Path) -> None:
        criu("dump", image / "dump.log", "--tree", self.main)
        self.end()

    def bring_up(self, script: str | None) -> None:
        options = ["--restore-detached", *(["--action-script", script] if script else [])]
        criu("restore", self.image / f"restore-{self.number}.log", *options)

    def pids(self) -> list[int]:
        return sorted(int(path.suffix[1:]) for path in self.out.glob("ready.*"))

    def restore(self, script: str | None, *, events: bool, again: bool = False) -> "Copy":
        """One copy, ended again. `events`: main and the callbacks are waited for."""
        self.number += 1
        self.mark_copy(self.number)
        try:
            self.bring_up(script)
            pids = self.pids() if events else [pid for pid in self.pids() if pid != self.main]
            paths = [self.out / f"{self.number}.{pid}.json" for pid in pids]
            wait_for(f"{self.name}, copy {self.number}", paths)
            copy = Copy(paths)
            if events and self.visible:
                copy.outside = [self.outside(pid) for pid in pids]
            if again:  # a restore that nobody draws or checks for: the watcher has to be there
                vmclock_file.publish(SOURCE)
                wait_for(
                    f"{self.name}, copy {self.number}: the callback of the next restore",
                    [self.out / f"{self.number}.{pid}.again" for pid in pids],
                )
            return copy
        finally:
            self.end()
            self.mark_copy(0)

    def move(self, script: str) -> None:
        """On to another host: a copy is dumped again as soon as it runs; its image takes the old one's place."""
        image = self.image.with_name(f"{self.image.name}-next")
        image.mkdir()
        self.bring_up(script)
        self.dump(image)
        self.image = image

    def outside(self, pid: int) -> dict:
        """`snapsafe status --pid`."""
        command = [SNAPSAFE, "status", "--pid", pid, "--json"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=TIMEOUT, check=False)
        if done.returncode not in (0, 1):
            raise Failed(f"status --pid: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return json.loads(done.stdout)

    def mark_copy(self, number: int) -> None:
        with self.mark.open("r+b", buffering=0) as file:
            os.pwrite(file.fileno(), number.to_bytes(4, "little"), 0)

    def end(self) -> None:
        for pid in self.pids() if self.visible else ():
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


class Container(Tree):
    """The same in a container, dumped and restored by crun, as by podman: namespaces for pids, mounts and the rest.

    Its root is ours, without what is mounted here; the file source is bind-mounted, read-only.
    """

    visible = False
    NAME = "snapsafe-lab"

    def start(self, environment: dict[str, str]) -> None:
        bundle = LAB / self.name
        (bundle / "rootfs").mkdir()
        run("mount", "--bind", "/", bundle / "rootfs")
        run("crun", "spec", cwd=bundle)
        config = json.loads((bundle / "config.json").read_text())
        program = [SNAPSAFE, "run", sys.executable, PROGRAM, self.mark, self.out, VALUES, WORKERS, THREADS]
        # CRIU takes no descriptor that leads out of the container.
        quiet = ["sh", "-c", 'exec "$@" </dev/null >/dev/null 2>/dev/null', "sh"]
        config["process"] |= {"terminal": False, "args": [*quiet, *map(str, program)]}
        config["process"]["env"] += [f"{name}={value}" for name, value in environment.items()]
        del config["process"]["rlimits"]
        config["root"] = {"path": "rootfs", "readonly": False}
        folders = {PROGRAM.parents[2]: "rw", bundle: "rw", os.path.dirname(SOURCE): "ro"}
        bound = [
            {"destination": str(one), "source": str(one), "type": "bind", "options": ["bind", how]}
            for one, how in folders.items()
        ]
        # No cgroups and no network of its own: where cgroups are of both versions CRIU cannot restore the first.
        config["mounts"] = [one for one in config["mounts"] if "cgroup" not in one["type"]] + bound
        config["linux"].pop("resources", None)
        spaces = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [one for one in spaces if one["type"] not in ("network", "cgroup")]
        config["annotations"] = {"org.criu.config": str(bundle / "criu.conf")}
        (bundle / "config.json").write_text(json.dumps(config))
        (bundle / "stderr").touch()
        self.crun("run", "--detach", "--bundle", bundle)

    def crun(self, action: str, *options: object) -> None:
        run("crun", "--cgroup-manager=cgroupfs", action, *options, self.NAME)

    def runs(self) -> bool:
        return True

    def dump(self, image: pathlib.Path) -> None:
        self.crun("checkpoint", "--manage-cgroups-mode=ignore", "--image-path", image)
        self.end()

    def bring_up(self, script: str | None) -> None:
        (LAB / self.name / "criu.conf").write_text(f"action-script {script}\n" if script else "")
        options = ["--manage-cgroups-mode=ignore", "--image-path", self.image, "--bundle", LAB / self.name]
        self.crun("restore", "--detach", *options)

    def end(self) -> None:
        self.forget()
        super().end()

    @classmethod
    def forget(cls) -> None:
        """Also its cgroup, which is the machine's; nothing if there is none."""
        run("crun", "--cgroup-manager=cgroupfs", "delete", "--force", cls.NAME)


class Copy:
    def __init__(self, paths: list[pathlib.Path]) -> None:
        self.outside: list[dict] = []
        self.processes = [json.loads(path.read_text()) for path in paths]

    def values(self, kind: str) -> list[str]:
        return [value for process in self.processes for value in process["rows"].get(kind, ())]
