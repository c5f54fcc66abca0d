"""A tree that is asked before it is dumped: then it can be dumped, and its copies go on; else CRIU refuses it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from trees import LAB, SNAPSAFE, SOURCE, Failed, criu, wait_for

from snapsafe_rt import settings
from snapsafe_rt.source import vmclock_file

COPIES = 5
PROGRAM = Path(__file__).with_name("asked.py")
INTERFACE = "org.snapsafe.Manager."


class Database:
    """Whoever connects says his id and is greeted; `ids` are all that were said."""

    def __init__(self, path: Path) -> None:
        self.ids: list[str] = []
        self.kept: list[socket.socket] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(100)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            peer, _ = self.listener.accept()
            self.ids.append(peer.recv(100).decode().strip())
            peer.sendall(b"welcome")
            self.kept.append(peer)


class Asked:
    """The tree, and the manager beside it."""

    def __init__(self) -> None:
        self.folder, self.image = LAB / "asked", LAB / "asked" / "image"
        self.image.mkdir(parents=True)
        self.database = Database(self.folder / "database")
        host = f"{SOURCE}-host"  # what the manager watches
        vmclock_file.create(host)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOURCE)
        environment = {**os.environ, "SNAPSAFE_SOURCES": f"vmclock:{host}"}
        self.manager = subprocess.Popen([SNAPSAFE, "manager"], env=environment, stdin=subprocess.DEVNULL)
        wait_for("the manager", [Path(settings.MANAGER), Path(SOURCE)])
        self.program = subprocess.Popen(
            list(map(str, [SNAPSAFE, "run", sys.executable, PROGRAM, self.folder, self.folder / "database"])),
            env={**os.environ, "SNAPSAFE_SOURCES": f"vmclock:{SOURCE}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "stderr").open("ab"),
            start_new_session=True,
        )
        self.until(lambda: len(list(self.folder.glob("ready.*"))) == 2, "two processes")
        self.pids = sorted(int(path.suffix[1:]) for path in self.folder.glob("ready.*"))
        self.until_locked()

    def until(self, true: "object", what: str) -> None:
        end = time.monotonic() + 30
        while not true():  # type: ignore[operator]
            if time.monotonic() > end:
                raise Failed(f"asked: {what}: {(self.folder / 'stderr').read_text()} {self.logs()}")
            time.sleep(0.01)

    def until_locked(self) -> None:
        self.until(lambda: len(self.call("ListInhibitors")["inhibitors"]) == 2, "both hold a lock")

    def call(self, method: str, **parameters: object) -> dict:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(settings.MANAGER)
            peer.sendall(json.dumps({"method": INTERFACE + method, "parameters": parameters}).encode() + b"\0")
            text = b""
            while not text.endswith(b"\0"):
                text += peer.recv(65536)
        found = json.loads(text[:-1])
        if "error" in found:
            raise Failed(f"asked: {method}: {found}")
        return found["parameters"]

    def logs(self) -> dict[int, list[str]]:
        return {pid: (self.folder / f"log.{pid}").read_text().split("\n")[:-1] for pid in self.pids if self.logged(pid)}

    def logged(self, pid: int) -> bool:
        return (self.folder / f"log.{pid}").exists()

    def took(self, *lines: str) -> None:
        """Each has called these since the last time."""
        expected = {pid: list(lines) for pid in self.pids}
        self.until(lambda: self.logs() == expected, f"both call {lines}")
        time.sleep(0.1)  # of two programs in a container no seam tells that nothing is under way
        if self.logs() != expected:
            raise Failed(f"asked: called more than {lines}: {self.logs()}")
        for pid in self.pids:
            (self.folder / f"log.{pid}").unlink()

    def end(self) -> None:
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 30
        while any(os.path.exists(f"/proc/{pid}") for pid in self.pids):  # we are the first process: orphans come to us
            for pid in self.pids:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            if time.monotonic() > end:
                raise Failed("asked: processes that do not end")
            time.sleep(0.002)

    def close(self) -> None:
        self.end()
        self.manager.terminate()
        self.manager.wait(30)


def run(say: "object", action: str) -> str:
    """Returns CRIU's reason for refusing the tree that was not asked."""
    say("dumping a tree that is not asked first ...")  # type: ignore[operator]
    asked = Asked()
    try:
        try:
            criu("dump", asked.image / "refused.log", "--tree", asked.pids[0], "--leave-running")
        except Failed as error:
            refused = str(error)
        else:
            raise Failed("asked: CRIU dumped a tree with connections to somebody outside")
        say("quiescing, dumping it and letting it go on ...")  # type: ignore[operator]
        if asked.call("Quiesce", dump=True)["late"]:
            raise Failed("asked: somebody was late")
        asked.took("before 0")
        criu("dump", asked.image / "dump.log", "--tree", asked.pids[0], "--leave-running")
        asked.call("Unquiesce")
        asked.took("original welcome 0")
        asked.until_locked()
        say(f"restoring it {COPIES} times ...")  # type: ignore[operator]
        for number in range(COPIES):
            asked.end()
            criu("restore", asked.image / f"restore-{number}.log", "--restore-detached", "--action-script", action)
            asked.took("clone welcome 1")
            asked.until_locked()
        if len(set(asked.database.ids)) != 1 + 2 * COPIES:  # a process and its worker had one id
            raise Failed(f"asked: ids in the database: {asked.database.ids}")
        reasons = [line for line in refused.splitlines() if "ocket" in line]
        if not reasons:
            raise Failed(f"asked: CRIU refused for another reason: {refused}")
        return reasons[0]
    finally:
        asked.close()
