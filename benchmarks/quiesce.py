"""python -m benchmarks.quiesce [--holders N ...] [--rounds N] [--json FILE]: how long `Quiesce` takes until the last of
N holders of a delay lock, who are ready at once, has let go of it; and what the manager needs for them.

All holders live in one process, so that it is the manager and the kernel that are measured, not N programs' starts.
"""

import argparse
import json
import os
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

MANAGER = "org.snapsafe.Manager."


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quiesce")
    parser.add_argument("--holders", type=int, nargs="+", default=[0, 1, 100, 1000], metavar="N")
    parser.add_argument("--rounds", type=int, default=20, metavar="N")
    parser.add_argument("--json", metavar="FILE", help="where the figures go")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="snapsafe-bench-", dir="/dev/shm")
    try:
        rows = [measure(folder, number, options.rounds) for number in options.holders]
    finally:
        shutil.rmtree(folder)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)
    print("| holders | quiesced after | quartiles | all locks taken in | manager, resident |")
    print("|--:|--:|--:|--:|--:|")
    for row in rows:
        low, median, high = (f"{1e3 * one:.2f}" for one in row["quiesce"])
        again = f"{1e3 * row['again']:.2f} ms"
        print(f"| {row['holders']} | {median} ms | {low} to {high} | {again} | {row['resident'] / 1024:.1f} MiB |")
    return 0


def measure(folder: str, number: int, rounds: int) -> dict[str, Any]:
    path = os.path.join(folder, "socket")
    manager = subprocess.Popen(
        [sys.executable, "-m", "snapsafe_rt", "manager", "--socket", path, "--file", os.path.join(folder, "file")],
        env={**os.environ, "SNAPSAFE_SOURCES": f"vmclock:{folder}/none"},
    )
    try:
        while not os.path.exists(path):
            time.sleep(0.01)
        quiesce, again = [], []
        orchestrator = connect(path)
        for _ in range(rounds):
            began = time.perf_counter()
            holders = Holders(path, number)
            again.append(time.perf_counter() - began)
            resident = _resident(manager.pid)
            began = time.perf_counter()
            send(orchestrator, "Quiesce")
            holders.answer()
            answer = receive(orchestrator)
            quiesce.append(time.perf_counter() - began)
            if answer["parameters"]["late"]:
                raise RuntimeError("somebody was late: this is no measurement of the round trip")
            send(orchestrator, "Unquiesce")
            receive(orchestrator)
        quartiles = statistics.quantiles(quiesce, n=4)
        return {
            "holders": number,
            "quiesce": quartiles,
            "again": statistics.median(again),
            "resident": resident,
        }
    finally:
        manager.terminate()
        manager.wait()


class Holders:
    def __init__(self, path: str, number: int) -> None:
        self._waiting = select.epoll()
        self._of: dict[int, socket.socket] = {}
        for count in range(number):
            peer = connect(path)
            send(peer, "Inhibit", who=f"holder {count}", why="a measurement", mode="delay")
            send(peer, "Prepare")
            receive(peer)
            self._of[peer.fileno()] = peer
            self._waiting.register(peer, select.EPOLLIN)

    def answer(self) -> None:
        """Each as soon as it is told."""
        while self._of:
            for number, _ in self._waiting.poll():
                peer = self._of.pop(number)
                receive(peer)
                send(peer, "Ready")
                receive(peer)
                peer.close()
        self._waiting.close()


def connect(path: str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(60)
    peer.connect(path)
    return peer


def send(peer: socket.socket, method: str, **parameters: Any) -> None:
    peer.sendall(json.dumps({"method": MANAGER + method, "parameters": parameters}).encode() + b"\0")


def receive(peer: socket.socket) -> Any:
    text = b""
    while not text.endswith(b"\0"):
        part = peer.recv(65536)
        if not part:
            raise EOFError("the manager has gone")
        text += part
    return json.loads(text[:-1])


def _resident(pid: int) -> int:
    """In KiB."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


if __name__ == "__main__":
    sys.exit(main())
