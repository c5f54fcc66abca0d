"""For tests: an interpreter that a way of snapsafe_rt.cli.matrix.WAYS has activated, and the proof by clones of it."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.conftest import FOLDER, PACKAGE, layout
from tests.helpers.own_python import copy_package, make_python, site_packages

CLONES = 3
SOURCE = "/run/snapsafe/vmclock0"  # the default one: under -I and -E no variable can name another

# Draws once in each of three clones of itself: 3 different values where it is protected, the same 3 times where not.
PROOF = f"""
import random, sys
sys.path.append(WHERE)  # importing activates nothing
from snapsafe_rt.source.vmclock_file import FileSource
from snapsafe_rt.testing.clones import run_clones
draw = lambda number: random.random().hex().encode()
drawn = run_clones({CLONES}, draw, prepare=random.random, source=FileSource({SOURCE!r}))
print("different:", len(set(drawn)), flush=True)
"""
CALL = """
import sys
sys.path.insert(0, WHERE)
import snapsafe_rt
snapsafe_rt.activate()
"""


class Way(NamedTuple):
    name: str
    python: Path
    where: Path  # the folder that holds the package
    before: tuple[str, ...]  # in front of a command line
    env: dict[str, str]

    def script(self, text: str) -> str:
        return self.where_filled((CALL if self.name == "call" else "") + text)

    def where_filled(self, text: str) -> str:
        return text.replace("WHERE", repr(str(self.where)))


def make_way(name: str, folder: Path) -> Way:
    """A Python below `folder`, with the package in its site-packages, and what `name` does to it done."""
    python = make_python(folder / "python")
    where = copy_package(PACKAGE, FOLDER, site_packages(python)).parent
    before: tuple[str, ...] = ()
    env = {}
    if name == "run":
        before = (str(python), "-m", "snapsafe_rt", "run")
    elif name == "bundle":
        snapsafe(python, "bundle", folder / "bundle")
        env = {"PYTHONPATH": str(folder / "bundle")}
    elif name in ("install", "stdlib"):
        snapsafe(python, "install", *(["--stdlib"] if name == "stdlib" else []))
    return Way(name, python, where, before, env)


def snapsafe(python: Path, *arguments: object) -> None:
    done = subprocess.run(
        [python, "-m", "snapsafe_rt", *map(str, arguments)],
        env=clean(),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def clean(**variables: str) -> dict[str, str]:
    dropped = ("SNAPSAFE", "PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)} | variables


def own_mounts() -> list[str]:
    """In front of a command: what it mounts is seen by nobody else. In a chroot the propagation cannot be changed, but
    need not be where nothing is shared."""
    user = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    shared = " shared:" in Path("/proc/self/mountinfo").read_text()
    return ["unshare", *user, "--mount", "--propagation", "private" if shared else "unchanged"]


class Stage:
    """Where nobody else's source is: a /run of its own that holds the default one."""

    def __init__(self, folder: Path) -> None:
        self.page = folder / "page"
        self.page.write_bytes(layout(1))
        steps = f'mount -t tmpfs -o mode=755 run /run && mkdir /run/snapsafe && cp "{self.page}" {SOURCE} && exec "$@"'
        self.command = [*own_mounts(), "sh", "-c", steps, "sh"]

    @property
    def refused(self) -> str:
        """Why there can be none here; "" if there can."""
        try:
            done = subprocess.run([*self.command, "true"], capture_output=True, text=True, timeout=60)
        except OSError as error:
            return str(error)
        return done.stderr.strip() if done.returncode else ""

    def run(self, command: list[object], env: dict[str, str], timeout: float = 180) -> str:
        """What it printed. It must end well; what it says on stderr is the caller's to allow."""
        done = subprocess.run(
            [*self.command, *map(str, command)],
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"{command}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
        self.stderr = done.stderr
        return done.stdout

    def different(self, command: list[object], env: dict[str, str], timeout: float = 180) -> int:
        said = self.run(command, env, timeout)
        lines = [line for line in said.splitlines() if line.startswith("different: ")]
        assert len(lines) == 1, f"{command}\n{said}\n{self.stderr}"
        return int(lines[0].split()[1])
