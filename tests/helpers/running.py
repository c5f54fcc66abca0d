"""A program that runs beside the test, as a user would have started it."""

import http.client
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SNAPSAFE_RUN = [sys.executable, "-m", "snapsafe_rt", "run"]
SECONDS = 30  # for whatever is waited for


def wait_asleep(process):
    """Waits until its main thread sleeps, or it has ended. A signal that comes between CPython's last look for one and
    the system call that sleeps is lost until the sleep is over: one of some 2,000 sent about then, also without us.
    """

    def look():
        text = Path(f"/proc/{process.pid}/status").read_text()
        return re.findall(r"^(?:State|\w+ctxt_switches):\s+(\w+)", text, re.MULTILINE)

    until = time.monotonic() + SECONDS
    while process.poll() is None:
        found = look()
        time.sleep(0.05)  # who waits for the GIL is given the CPU meanwhile
        if found[0] == "S" and look() == found:
            return
        assert time.monotonic() < until, f"it never slept: {found}"


class Running:
    """In a session of its own, with Ctrl-C not ignored. `merged`: its log on stderr is read among the lines."""

    def __init__(self, command, env, *, merged=False):
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the program
        self.process = subprocess.Popen(
            [str(part) for part in command],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else self.errors,
            start_new_session=True,
        )
        self.buffer, self.said = b"", b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            stream.close()

    def line(self, having=""):
        """The next line that it prints with `having` in it."""
        until = time.monotonic() + SECONDS
        while True:
            line, newline, rest = self.buffer.partition(b"\n")
            if newline:
                self.buffer = rest
                if having in line.decode():
                    return line.decode()
                continue
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, until - time.monotonic()))
            piece = os.read(self.process.stdout.fileno(), 1 << 16) if ready else b""
            if not piece:
                why = "it ended" if ready else f"{SECONDS} s are over"
                raise AssertionError(f"no further line with {having!r}: {why}{self.streams()}")
            self.buffer += piece
            self.said += piece

    def tell(self, line):
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def interrupt(self, status):
        """Ctrl-C, which a terminal sends to the whole group. Returns what it said then, and all it said on stderr."""
        wait_asleep(self.process)
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            rest, _ = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"Ctrl-C does not end it{self.streams()}") from None
        self.said += rest
        assert self.process.returncode == status, f"exit status {self.process.returncode}{self.streams()}"
        # Not in a log that is merged: gunicorn and uvicorn write one there for a request that they break off.
        assert b"Traceback" not in self.stderr(), self.streams()
        return (self.buffer + rest).decode(), self.stderr().decode()

    def stderr(self):
        self.errors.seek(0)
        return self.errors.read()

    def streams(self):
        return f"\n--- stdout\n{self.said.decode()}\n--- stderr\n{self.stderr().decode()}"


def get(port, path="/"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return json.loads(answer.read())
    finally:
        connection.close()


def port_in(line):
    return int(re.search(r":(\d+)", line.partition("//")[2])[1])
