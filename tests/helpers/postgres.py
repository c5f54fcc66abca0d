"""A PostgreSQL server for a test: in a folder, on a Unix socket, as a user who is not root."""

import glob
import os
import shutil
import subprocess

NOBODY = 65534
PROGRAMS = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
# Nothing has to outlive the test's machine.
OPTIONS = (
    "-c listen_addresses='' -c fsync=off -c full_page_writes=off -c unix_socket_directories={} -c shared_buffers=16MB"
)


def unprivileged(folder):
    """What a command begins with that is run as a user who is not root. The folder becomes that user's."""
    if os.geteuid() != 0:
        return []
    shutil.chown(folder, NOBODY, NOBODY)
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


class Postgres:
    """Started, with an empty database. `address` is for libpq. Ended by close()."""

    def __init__(self, folder):
        self.folder = folder
        self.under = unprivileged(folder)  # it refuses to run as root
        self.data = folder / "data"
        self.address = f"host={folder} user=tests dbname=postgres"
        self.run("initdb", "--no-sync", "--no-instructions", "--username=tests", "--auth=trust", "--encoding=UTF8")
        self.run("pg_ctl", "--wait", f"--log={folder}/log", f"--options={OPTIONS.format(folder)}", "start")

    def run(self, program, *arguments):
        command = [*self.under, f"{PROGRAMS[-1]}/{program}", f"--pgdata={self.data}", *arguments]
        # Into a file: the server keeps what it was given.
        with open(self.folder / "said", "w+") as said:
            done = subprocess.run(command, cwd=self.folder, stdout=said, stderr=said, timeout=60, check=False)
            said.seek(0)
            assert done.returncode == 0, f"{program}: {said.read()}"

    def close(self):
        self.run("pg_ctl", "--wait", "--mode=immediate", "stop")
