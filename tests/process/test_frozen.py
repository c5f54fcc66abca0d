"""Programs that are packed with their interpreter, or start it anew: active where the documents say so, and where not,
`snapsafe run` says it."""

import subprocess
import sys

import pytest

from tests.helpers.running import SNAPSAFE_RUN
from tests.helpers.ways import clean

APP = """
import os, random, struct
random.random(); before = random.getstate()[1][:9]
fd = os.open(os.environ["APP_SOURCE"], os.O_RDWR)
os.pwrite(fd, struct.pack("<Q", struct.unpack("<Q", os.pread(fd, 8, 0x68))[0] + 1), 0x68)
random.random()
print("renewed" if random.getstate()[1][:9] != before else "the same")
"""
SAID = "snapsafe run: not protected: "


@pytest.fixture
def run(source_file, tmp_path):
    def run(*command):
        environment = clean(**source_file.env, APP_SOURCE=str(source_file.path), PEX_ROOT=f"{tmp_path}/root")
        line = [*SNAPSAFE_RUN, *map(str, command)]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done
        return done.stdout.strip(), done.stderr

    return run


def test_the_script_itself(run, tmp_path):
    (tmp_path / "app.py").write_text(APP)
    assert run(sys.executable, tmp_path / "app.py") == ("renewed", "")


@pytest.mark.parametrize("told", [True, False], ids=["--hidden-import snapsafe_rt", "twin"])
def test_pyinstaller(run, tmp_path, told):
    pytest.importorskip("PyInstaller")
    (tmp_path / "app.py").write_text(APP)
    more = ["--hidden-import", "snapsafe_rt"] if told else []
    made = subprocess.run(
        [sys.executable, "-m", "PyInstaller", "--log-level", "ERROR", "-y", "--name", "app1", *more, "app.py"],
        cwd=tmp_path,
        env=clean(PYINSTALLER_CONFIG_DIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    program = tmp_path / "dist" / "app1" / "app1"
    assert program.exists(), made
    printed, said = run(program)
    assert printed == ("renewed" if told else "the same")
    assert told == (not said)
    assert told or "PyInstaller" in said.removeprefix(SAID)
    bundled = (tmp_path / "build" / "app1" / "PYZ-00.toc").read_text()
    assert ("snapsafe_rt.report" in bundled) == told
    assert "'botocore" not in bundled  # which recipes import, where a program asks for them
    assert "'snapsafe_rt.cli" not in bundled  # the command is no part of a program
    assert "'rich" not in bundled


def test_pex(run, tmp_path):
    pytest.importorskip("pex")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "app.py").write_text(APP)
    pex = tmp_path / "app.pex"
    made = subprocess.run(
        [sys.executable, "-m", "pex", "-D", "src", "-e", "app", "-o", pex, "--python", sys.executable],
        cwd=tmp_path,
        env=clean(PEX_ROOT=str(tmp_path / "root")),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert pex.exists(), made
    printed, said = run(sys.executable, pex)
    assert printed == "the same"
    assert said.startswith(SAID)
    assert "a PEX file" in said
