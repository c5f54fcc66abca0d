"""CONTRIBUTING.md's worked example of a refreshed library, followed to the letter in a copy of the project."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import FOLDER, PACKAGE

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n# (\S+?)(, in TABLE)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^```sh\n\.venv/test/bin/python (.*)\n```$", re.MULTILINE)
TESTS = re.compile(r'`make test ARGS="(.*)"`')

# What the program itself says of the library, and what another process says.
LOOK = """
import json, os, subprocess, sys
import snapsafe_rt
import dicelib
inside = snapsafe_rt.status().as_dict()
command = [sys.executable, "-m", "snapsafe_rt", "status", "--json", "--pid", str(os.getpid())]
outside = json.loads(subprocess.run(command, capture_output=True).stdout)
print(json.dumps([
    {row["name"]: row["protection"] for row in status["subsystems"]}.get("dicelib") for status in (inside, outside)
]))
"""


class Copy:
    """The project in a folder of its own, beginning without what the text adds."""

    def __init__(self, root):
        self.root = root
        generated = shutil.ignore_patterns("__pycache__", "vm")
        shutil.copytree(PACKAGE, root / "snapsafe_rt", ignore=generated)
        shutil.copytree(FOLDER, root / "sitecustomize", dirs_exist_ok=True, ignore=generated)
        for name in ("tests", "docs"):
            shutil.copytree(ROOT / name, root / name, ignore=generated)
        shutil.copy(ROOT / "pyproject.toml", root)
        self.section = (
            (ROOT / "CONTRIBUTING.md").read_text().partition("\n## Add a refreshed library\n")[2].partition("\n## ")[0]
        )
        self.blocks = {name: (text, bool(line)) for name, line, text in BLOCK.findall(self.section)}

    def write(self, name):
        text, is_line = self.blocks.pop(name)
        file = self.root / name
        if is_line:
            before, begin, rest = file.read_text().partition("\nTABLE: ")
            table, end, after = rest.partition("\n}\n")
            text = f"{before}{begin}{table}\n{text.rstrip()}{end}{after}"
        file.write_text(text)

    def python(self, *command, **env):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTEST"))}
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.root,
            env={**clean, "PYTHONPATH": str(self.root), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=200,
        )

    def test(self, *files):
        return self.python("-m", "pytest", "-q", "-p", "no:cacheprovider", *files)


@pytest.mark.timeout(400)  # four runs of pytest, one after the other
def test_the_worked_example(tmp_path, source_file):
    copy = Copy(tmp_path)
    files = TESTS.search(copy.section)[1].split()

    # The library, and the test that comes first: all clones draw the same, with the event as well.
    copy.write("dicelib.py")
    copy.write("tests/process/test_dicelib.py")
    done = copy.test("tests/process/test_dicelib.py")
    if "1 skipped" in done.stdout:
        pytest.skip("clones of the same pid are not permitted")
    assert done.returncode == 1
    assert "['1', '1'] == ['20', '1']" in done.stdout, done.stdout

    # The guard and its line: all passes but one test, for the docs lack the row.
    copy.write("snapsafe_rt/guards/dicelib.py")
    copy.write("snapsafe_rt/guards/table.py")
    done = copy.test(*files)
    assert "test_the_docs_say_what_the_files_say - " in done.stdout, done.stdout
    assert "1 failed, " in done.stdout, done.stdout
    path = os.pathsep.join(map(str, [copy.root / "sitecustomize", copy.root]))
    done = copy.python("-c", LOOK, PYTHONPATH=path, **source_file.env)
    assert json.loads(done.stdout) == ["refreshed", "refreshed"]

    done = copy.python(*COMMAND.search(copy.section)[1].split())
    assert done.returncode == 0, done.stdout
    row = "\n| dicelib | dicelib.throw | refreshed | Its generator is seeded anew by the restore event |\n"
    assert row in (copy.root / "docs" / "guards.md").read_text()
    done = copy.test(*files)
    assert done.returncode == 0, done.stdout
    assert not copy.blocks  # each file that the text names was made
