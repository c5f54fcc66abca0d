"""Fixtures. What patches the interpreter is tested in processes of its own, with a timeout and both streams shown."""

import importlib.util
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

import snapsafe_rt
from snapsafe_rt.cli.shipped import activation_folder

# The package under test is the one that is imported: installed, or the working tree's.
PACKAGE = Path(snapsafe_rt.__file__).resolve().parent
FOLDER = Path(activation_folder())
NATIVE = Path(__file__).resolve().parent / "native"
HELPERS = NATIVE.parent / "helpers"  # modules for the scripts that run_python runs
PROGRAMS = NATIVE.parent / "programs"  # and scripts that are longer than a screen

# Whoever runs the tests in the background has it ignored, and every program that they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

SLOWER = int(os.environ.get("SNAPSAFE_TEST_SLOWER", "1"))  # so many times longer a script may take; .ci/tsan
OPTIONS = ("-X", "dev", "-X", "faulthandler", "-W", "error")
SLOW = re.compile(r"^Executing <.* took [0-9.]+ seconds\n", re.MULTILINE)  # asyncio, of a machine that is busy; -X dev


# Not for the programs under test.
WORKER = [os.environ.pop(name) for name in list(os.environ) if name.startswith("PYTEST_XDIST_")]
RESULTS = os.environ.get("SNAPSAFE_TEST_RESULTS")  # a file to which each test and its outcome is added, for .ci/proofs
PASSED = os.environ.get("SNAPSAFE_TEST_PASSED")  # such a file, of the same Python: what passed there is not run again


def own_name(name: str) -> str:
    """Without pytest-xdist's name of the group."""
    return name[: name.rfind("@")] if name.rfind("@") > name.rfind("]") else name


def add_result(outcome: str, name: str) -> None:
    if RESULTS and not WORKER:  # what a worker has found its controller is told
        with open(RESULTS, "a") as file:
            file.write(f"{outcome}\t{own_name(name)}\n")


def pytest_collection_modifyitems(config, items):
    if not PASSED or not os.path.exists(PASSED):
        return
    lines = Path(PASSED).read_text().splitlines()
    passed = {line.partition("\t")[2] for line in lines if line.startswith("passed\t")}
    again = [item for item in items if own_name(item.nodeid) in passed]
    config.hook.pytest_deselected(items=again)
    items[:] = [item for item in items if own_name(item.nodeid) not in passed]


def pytest_configure(config):
    if WORKER:  # which has a thread that speaks to its controller, and some tests fork
        config.addinivalue_line("filterwarnings", "ignore:This process .* is multi-threaded:DeprecationWarning")


def pytest_runtest_logreport(report):
    if report.when == "call" or (report.when == "setup" and not report.passed):
        add_result("ran" if hasattr(report, "wasxfail") else report.outcome, report.nodeid)


def pytest_collectreport(report):
    if not report.passed:
        add_result(report.outcome, report.nodeid)


def pytest_collection_finish(session):
    if session.config.option.collectonly:
        for item in session.items:
            add_result("collected", item.nodeid)


def need(module: str) -> None:
    """Skips a test of a library that is not installed. It may be a module of a package."""
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip(f"{module} is not installed: .ci/companions runs this with it")


def layout(generation: int, *, synchronous: bool = False) -> bytes:
    """A page in VMClock's layout (docs/design.md), independent of the code under test."""
    page = bytearray(4096)
    struct.pack_into("<IIHBBI", page, 0, 0x4B4C4356, 4096, 1, 0xFF, 0, 2)
    struct.pack_into("<Q", page, 0x18, 1 << 8)
    struct.pack_into("<Q", page, 0x68, generation)
    struct.pack_into("<I", page, 0x808, synchronous)
    return bytes(page)


class SourceFile:
    """A file source. `env` activates a Python on it by PYTHONPATH, as a user would."""

    def __init__(self, path: Path, *, synchronous: bool = False) -> None:
        self.path = path
        path.write_bytes(layout(1, synchronous=synchronous))
        path.chmod(0o644)

    @property
    def uri(self) -> str:
        return f"vmclock:{self.path}"

    @property
    def env(self) -> dict[str, str]:
        return {"SNAPSAFE_SOURCES": self.uri}

    def bump(self, generation: int | None = None) -> int:
        with self.path.open("r+b", buffering=0) as file:
            new = generation or struct.unpack_from("<Q", self.path.read_bytes(), 0x68)[0] + 1
            os.pwrite(file.fileno(), struct.pack("<Q", new), 0x68)
        return new


@pytest.fixture
def shm_path():
    """A folder on tmpfs: a source on overlayfs, as /tmp is in many containers, is refused."""
    path = Path(tempfile.mkdtemp(prefix="snapsafe-test-", dir="/dev/shm"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def source_file(shm_path):
    return SourceFile(shm_path / "vmclock0")


@pytest.fixture
def synchronous_source(shm_path):
    """Claims that its writer keeps the processes frozen until it has written."""
    return SourceFile(shm_path / "vmclock0", synchronous=True)


@pytest.fixture(scope="session")
def compile_native(tmp_path_factory):
    """compile_native("race.c") -> path of a shared library made of tests/native/race.c."""
    import functools
    import sysconfig

    @functools.cache
    def build(name: str, *flags: str) -> Path:
        target = tmp_path_factory.mktemp("native") / f"{Path(name).stem}.so"
        include = sysconfig.get_paths()["include"]
        command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-I", include]
        subprocess.run(
            [*command, str(NATIVE / name), "-o", str(target), "-lpthread", "-ldl", *flags],
            check=True,
        )
        return target

    return build


@pytest.fixture
def run_python():
    """Runs a script in a fresh interpreter, activated through PYTHONPATH, and returns what it printed. A script that is
    a Path is a file, as those of tests/programs are."""

    def run(
        script,
        *arguments,
        env=None,
        status=0,
        stream="stdout",
        options=(),
        dev=True,
        activated=True,
        timeout=120,
        executable=sys.executable,
        under=(),
    ):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SNAPSAFE")}
        folders = [FOLDER] if activated else []
        environment["PYTHONPATH"] = os.pathsep.join(map(str, [*folders, PACKAGE.parent, HELPERS]))
        preloaded = environment.get("LD_PRELOAD")  # a sanitizer, which must stay the first
        environment.update(env or {})
        if preloaded and preloaded != environment["LD_PRELOAD"]:
            environment["LD_PRELOAD"] = f"{preloaded} {environment['LD_PRELOAD']}"
        timeout *= SLOWER
        command = [*under, executable, *(OPTIONS if dev else ()), *options]
        command += [str(script)] if isinstance(script, Path) else ["-c", textwrap.dedent(script)]
        try:
            done = subprocess.run(
                [*command, *map(str, arguments)],
                env=environment,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            pytest.fail(f"no end after {timeout} s\n--- stdout\n{late.stdout}\n--- stderr\n{late.stderr}")
        said = f"--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
        if done.returncode == 77 and status != 77:
            pytest.skip(done.stdout.strip())
        if done.returncode != status:
            pytest.fail(f"exit status {done.returncode}, expected {status}\n{said}")
        if status == 0 and SLOW.sub("", done.stderr):
            pytest.fail(f"stderr is not empty\n{said}")
        return getattr(done, stream)

    return run


@pytest.fixture
def living():
    """living(env={...}) -> tests.living.Living, ended with the test."""
    from tests.living import Living

    made = []

    def start(**more):
        made.append(Living(**more))
        return made[-1]

    yield start
    for one in made:
        one.close()
