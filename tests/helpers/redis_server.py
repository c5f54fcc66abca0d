"""A Redis server for a test: in a folder, on a Unix socket, as a user who is not root. For tests."""

import os
import shutil
import subprocess
import time

from .postgres import unprivileged

PROGRAM = shutil.which("redis-server")
SECONDS = 30


class Redis:
    """Started, and empty. Ended by close()."""

    def __init__(self, folder):
        self.socket = f"{folder}/redis"
        options = ["--port", "0", "--unixsocket", self.socket, "--dir", str(folder), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen([*unprivileged(folder), PROGRAM, *options], stdout=subprocess.DEVNULL)
        until = time.monotonic() + SECONDS
        while not os.path.exists(self.socket):
            assert self.process.poll() is None, "redis-server does not start"
            assert time.monotonic() < until, "redis-server does not begin"
            time.sleep(0.01)

    def close(self):
        self.process.kill()
        self.process.wait()
