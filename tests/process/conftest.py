"""Fixtures for programs that run beside the test, and for clones of a machine."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import PACKAGE, SourceFile
from ..helpers.lab import Lab
from ..helpers.managed import Container, Manager
from ..helpers.running import EXAMPLES, SNAPSAFE_RUN, Running
from ..helpers.ways import Stage, make_way


@pytest.fixture
def machine(compile_native):
    """Clones as a machine's: the kernel, too, gives each of them the same bytes and the same time."""
    return {"LD_PRELOAD": str(compile_native("replay.c"))}


@pytest.fixture
def clock(compile_native):
    """One that the script moves: tests/helpers/moving_clock.py."""
    return {"LD_PRELOAD": str(compile_native("clock.c"))}


@pytest.fixture
def real_copy(run_python, tmp_path):
    """Copies of the libcrypto that `ssl` uses."""
    path = run_python("import ssl, libcrypto; print(libcrypto.path_of() or '')", activated=False).strip()
    if not path:
        pytest.skip("_ssl has its OpenSSL inside")
    return lambda name: shutil.copy(Path(path).resolve(), tmp_path / name)


@pytest.fixture
def outer(shm_path):
    """The source that a manager watches, as a pod's would that is given the machine's file."""
    (shm_path / "outer").mkdir()
    return SourceFile(shm_path / "outer" / "vmclock0")


@pytest.fixture
def managed(shm_path, source_file):
    """A Manager that watches source_file, and its `container`, in which its folder is /run/snapsafe. Takes root."""
    run = shm_path / "run" / "snapsafe"
    run.mkdir(parents=True)
    container = Container(shm_path / "dev", run.parent)
    manager = Manager(run, source_file.uri, under=container.under, at="/run/snapsafe")
    manager.container = container
    yield manager
    manager.close()
    container.close()


@pytest.fixture
def bare(shm_path, source_file, living):
    """A Lab whose manager is still to be started."""
    lab = Lab(shm_path, source_file, living)
    yield lab
    if lab.manager is not None:
        lab.manager.close()


@pytest.fixture
def lab(bare):
    bare.start()
    return bare


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    stage = Stage(tmp_path_factory.mktemp("stage"))
    if stage.refused:
        pytest.skip(f"no mount namespace for a source of its own: {stage.refused}")
    return stage


@pytest.fixture(scope="module")
def ways(tmp_path_factory):
    """ways("install") -> Way, made once; "none" is an interpreter that only has the package."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = make_way(name, tmp_path_factory.mktemp(name))
        return made[name]

    return get


@pytest.fixture
def environment(source_file, tmp_path):
    """A user's: nothing but the source is set, a folder to write to is home, and warnings are shown."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON"))}
    ours = {"PYTHONPATH": str(PACKAGE.parent), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(tmp_path)}
    return kept | ours | source_file.env | {"PYTHONWARNINGS": "default"}


@pytest.fixture
def start(environment):
    """start("x.py", ...) runs an example under `snapsafe run`; it is ended with the test."""
    with contextlib.ExitStack() as stack:

        def start(name, *arguments, merged=False, **settings):
            program = [sys.executable, EXAMPLES / name] if name.endswith(".py") else [sys.executable, "-m", name]
            quiet = ["--quiet"] if settings.get("SNAPSAFE") == "0" else []  # a twin is not protected, and told so
            command = [*SNAPSAFE_RUN, *quiet, *program, *arguments]
            return stack.enter_context(Running(command, environment | settings, merged=merged))

        yield start


@pytest.fixture
def finish(environment):
    """Runs a command to its end, which must be `status`; returns its stdout, or (stdout, stderr) if it fails."""

    def finish(*command, status=0, **settings):
        done = subprocess.run(
            [str(part) for part in command],
            env=environment | settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, f"--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        if status:
            return done.stdout, done.stderr
        assert done.stderr == ""
        return done.stdout

    return finish
