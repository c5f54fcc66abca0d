"""`snapsafe run` says in one line on stderr when it will protect nothing, and only then."""

import os
import subprocess
import sys
import zipfile

import pytest

from snapsafe_rt.cli import reach
from snapsafe_rt.core import NEWEST
from tests.helpers.running import SNAPSAFE_RUN

from ..conftest import PACKAGE


@pytest.fixture
def said(source_file, tmp_path):
    """What `snapsafe run` said of the command; the command must have run all the same, and end as it ends."""

    def run(*command, options=(), code=0, **env):
        environment = {**os.environ, **source_file.env, "PATH": f"{tmp_path}:{os.environ['PATH']}", **env}
        line = [*SNAPSAFE_RUN, *options, "--", *map(str, command)]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done
        assert done.stderr.count("\n") <= 1
        return done.stderr.removeprefix("snapsafe run: not protected: ").strip()

    return run


def script(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_nothing_is_said_of_what_will_be_protected(said, tmp_path):
    assert not said(sys.executable, "-c", "pass")
    assert not said(sys.executable, "-X", "dev", "-Wignore", "-um", "this", "-I")
    assert not said("sh", "-c", "exit 3", code=3)
    assert not said(script(tmp_path / "app", f"#!{sys.executable} -s\n"))


@pytest.mark.parametrize(
    ("options", "word"),
    [(["-I"], "-I"), (["-bE"], "-E"), (["-W", "ignore", "-X", "dev", "-S"], "-S"), (["-uIc"], "-I")],
)
def test_python_ignores_the_path(said, tmp_path, options, word):
    command = ["pass"] if options[-1].endswith("c") else ["-c", "pass"]
    line = said(sys.executable, *options, *command)
    assert f"python {word} " in line
    # What mends it: not `install`, where site is not imported.
    assert (f"`snapsafe install --python {sys.executable}`" in line) is (word != "-S")
    assert "snapsafe_rt.activate()" in line
    assert f"python {word} " in said(script(tmp_path / "app", f"#!{sys.executable} {word}\n"))


def test_no_source_and_switched_off(said):
    assert "no source shows a restore here" in said("true", SNAPSAFE_SOURCES="vmclock:/dev/not-there")
    assert "/dev/not-there does not exist" in said("true", SNAPSAFE_SOURCES="vmclock:/dev/not-there")
    assert "`snapsafe doctor`" in said("true", SNAPSAFE_SOURCES="vmclock:/dev/not-there")
    assert said("true", SNAPSAFE="0") == "SNAPSAFE=0 switches it off: `unset SNAPSAFE`"
    assert not said("true", options=["--quiet"], SNAPSAFE="0")


def test_another_version(said, tmp_path):
    built = {path.name[:17] for path in PACKAGE.glob("_core.cpython-3*")}
    minor = next(minor for minor in range(10, 16) if f"_core.cpython-3{minor}" not in built)
    stranger = script(tmp_path / f"python3.{minor}", "#!/bin/sh\nexit 1\n")
    assert f"no core for Python 3.{minor} is here: `{stranger} -m pip install snapsafe-rt`" in said(stranger, code=1)
    # As a distribution's, where pip refuses (PEP 668).
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    lines = "import sys, sysconfig", "sys.base_prefix = sys.prefix", "sys.modules['snapsafe_rt'] = None"
    lines += (f"sysconfig.get_path = lambda name: {str(tmp_path)!r}", "exec(sys.argv[1])")
    code = "; ".join(lines)
    script(stranger, f'#!/bin/sh\nexec {sys.executable} -Sc "{code}" "$2"\n')
    line = said(stranger, "-c", "pass")
    assert "PEP 668" in line
    for way in (
        f"`{stranger} -m venv ",
        f"`pipx install --python {stranger} ",
        f"`uv tool install --python {stranger} ",
    ):
        assert way in line
    (tmp_path / "EXTERNALLY-MANAGED").unlink()
    assert "PEP 668" not in said(stranger, "-c", "pass")
    script(stranger, "#!/bin/sh\n")  # it has snapsafe-rt itself
    assert not said(stranger)
    assert not said(script(tmp_path / "python2.7", "#!/bin/sh\n"))


def test_a_version_that_nobody_knows_yet(said, tmp_path):
    newer = script(tmp_path / "python3.99", "#!/bin/sh\nexit 1\n")
    line = said(newer, code=1)
    assert f"knows Python up to {'.'.join(map(str, NEWEST))}; look for a newer one" in line
    assert "pip install" not in line


@pytest.mark.parametrize("name", [*reach.CLEARS, "opentelemetry-instrument"])
def test_programs_that_clear_the_environment(said, tmp_path, name):
    script(tmp_path / name, "#!/bin/sh\n")
    assert said(name, "python3", "app.py")


def test_tox_as_a_module(said, tmp_path):
    (tmp_path / "tox.py").write_text("")
    assert "tox takes PYTHONPATH" in said(sys.executable, "-m", "tox", PYTHONPATH=str(tmp_path))


def test_frozen_and_packed(said, tmp_path):
    frozen = tmp_path / "frozen"
    with open("/bin/true", "rb") as program:
        frozen.write_bytes(program.read() + b"x" * 70_000 + reach.PYINSTALLER + b"y" * 80)
    frozen.chmod(0o755)
    assert "PyInstaller" in said(frozen)
    for pex in (tmp_path / "app.pex", tmp_path / "app.zip"):
        with open(pex, "wb") as file:
            file.write(f"#!{sys.executable}\n".encode())
        with zipfile.ZipFile(pex, "a") as archive:
            archive.writestr("__main__.py", "")
            if pex.suffix == ".pex":
                archive.writestr("PEX-INFO", "{}")
        pex.chmod(0o755)
        for command in ([pex], [sys.executable, pex]):
            assert bool(said(*command)) is (pex.suffix == ".pex")
