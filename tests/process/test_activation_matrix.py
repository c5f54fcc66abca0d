"""Each way of activation, each option of Python, each place: protected in real clones exactly where
snapsafe_rt.cli.matrix says so, and unprotected where it says why not.

The twin is the same start of an interpreter that nothing activated."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from snapsafe_rt.cli import installation, matrix
from snapsafe_rt.errors import Failure
from tests.conftest import PACKAGE
from tests.helpers.activation_document import filled
from tests.helpers.own_python import make_venv
from tests.helpers.ways import CLONES, PROOF, clean

pytestmark = pytest.mark.xdist_group("activation_matrix")  # what `ways` makes is made once

HEAVY = {
    "random", "uuid", "ssl", "threading", "typing", "dataclasses", "logging", "importlib.metadata", "json", "re",
    "argparse", "subprocess", "collections", "functools", "enum", "pkgutil", "tempfile", "hashlib",
}  # fmt: skip
CASES = [case for case in (*matrix.OPTIONS, *matrix.PLACES) if case.name != "uv"]  # that one: tests/companions


def command(way, case, tmp_path):
    """The command line of a start as the case says."""
    script = way.script(PROOF)
    proof = way.where_filled(PROOF)
    python = way.python
    if case in matrix.OPTIONS:
        if sys.version_info < (3, 11) and "(3.11)" in case.words:
            pytest.skip("an option of 3.11")
        return [*way.before, python, *case.name.split(), "-c", script]
    if case.name == "child":
        outer = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {proof!r}]).returncode)"
        return [*way.before, python, "-c", way.script(outer)]
    if case.name == "zipapp":
        with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
            archive.writestr("__main__.py", script)
        return [*way.before, python, tmp_path / "app.pyz"]
    if case.name == "other":
        other = another_version(installation.cores(str(PACKAGE)) if way.name == "bundle" else None)
        if way.name == "bundle":
            add_to_bundle(way, other)
        return [*way.before, other, "-c", script]
    options = ["--system-site-packages"] if case.name == "shared" else []
    return [*way.before, make_venv(python, tmp_path / "venv", *options), "-c", script]


def another_version(cores=None):
    """One with a core among these, if any are given."""
    for path in installation.others(installation.of_python(sys.executable)):
        try:
            target = installation.of_python(path)
        except Failure:
            continue
        if (3, 10) <= target.version != sys.version_info[:2] and (cores is None or target.suffix in cores):
            return path
    return pytest.skip("no other version of Python here" + ("" if cores is None else " with a core built for it"))


def add_to_bundle(way, python):
    """With the core that is built for it beside the one under test."""
    script = (
        f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); "
        "from snapsafe_rt.cli import main; sys.exit(main.main())"
    )
    done = subprocess.run(
        [python, "-c", script, "bundle", way.env["PYTHONPATH"]], env=clean(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name or "plain")
@pytest.mark.parametrize("name", matrix.WAYS)
def test_protected_or_said_to_be_not(stage, ways, tmp_path, name, case):
    way = ways(name)
    different = stage.different(command(way, case, tmp_path), clean(**way.env))
    assert different == (1 if name in case.but else CLONES)
    # The command says so itself; of any other way nothing of ours runs that could.
    assert stage.stderr.count("snapsafe run: not protected: ") == (name == "run" and name in case.but)
    assert stage.stderr.count("\n") == (name == "run" and name in case.but)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name or "plain")
def test_unprotected_without(stage, ways, tmp_path, case):
    """Else a case above would prove nothing: the same start repeats itself where nothing was activated."""
    assert stage.different(command(ways("none"), case, tmp_path), clean()) == 1


@pytest.mark.parametrize("name", matrix.WAYS)
def test_switched_off(stage, ways, tmp_path, name):
    way = ways(name)
    assert stage.different(command(way, matrix.OPTIONS[0], tmp_path), clean(SNAPSAFE="0", **way.env)) == 1


@pytest.mark.parametrize("name", [name for name in matrix.WAYS if name != "call"])
def test_nothing_heavy_is_imported(ways, stage, name):
    """By `python -c pass`, compared with the same interpreter that nothing activates."""
    script = "import sys; print(*sys.modules)"
    way = ways(name)
    with_us = set(stage.run([*way.before, way.python, "-c", script], clean(**way.env)).split())
    without = set(stage.run([ways("none").python, "-c", script], clean()).split())
    assert {name for name in with_us if name.startswith("snapsafe_rt")} == {"snapsafe_rt._core"}
    more = {module for module in with_us - without if not module.startswith("snapsafe_rt")}
    more -= {"encodings.utf_8_sig"} if name == "install" else set()  # site reads every .pth by it, from 3.13 on
    assert more <= {"sitecustomize", "_snapsafe_start", "time", "cython_runtime"}
    assert not more & HEAVY


def test_the_document_shows_this_table():
    document = Path(__file__).parents[2] / "docs" / "activation.md"
    if not document.exists():
        pytest.skip("only the tests are here")
    assert document.read_text() == filled(document.read_text())
