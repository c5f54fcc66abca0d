"""`snapsafe bundle`: one folder for PYTHONPATH, of which each interpreter takes the core that is its own, or none."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from snapsafe_rt.cli import installation
from snapsafe_rt.errors import Failure
from tests.conftest import FOLDER, PACKAGE
from tests.helpers.own_python import copy_package, listing, make_venv

SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
pytestmark = pytest.mark.any_python

ACTIVE = "import sys; core = sys.modules.get('snapsafe_rt._core'); print(core is not None and core.active())"


def clean(**variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON"))}
    return {**kept, **variables}


@pytest.fixture
def bundle(tmp_path):
    """bundle(DIR, ...) -> stdout; status=N for what must fail, and then its line."""

    def run(*arguments, status=0, python=sys.executable):
        done = subprocess.run(
            [python, "-m", "snapsafe_rt", "bundle", *map(str, arguments)],
            env=clean(PYTHONPATH=str(PACKAGE.parent)),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
        return done.stderr if status else done.stdout

    return run


def start(python, folder, *options, status=0, script=ACTIVE, **variables):
    done = subprocess.run(
        [python, *options, "-c", script],
        env=clean(PYTHONPATH=str(folder), **variables),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, done.stderr
    if status == 0:
        assert done.stderr == ""
    return done.stderr if status else done.stdout.strip()


@pytest.fixture
def make_wheel(tmp_path):
    """make_wheel(suffix, ...) -> a wheel of this package whose core, the one we have, has these names."""

    def make(*suffixes, core_file=None, **changed):
        package = copy_package(PACKAGE, FOLDER, tmp_path / f"wheel{len(list(tmp_path.iterdir()))}")
        core = package / f"_core{SUFFIX}"
        content = (core_file or core).read_bytes()
        for suffix in suffixes:
            core.with_name(f"_core{suffix}").write_bytes(content)
        if SUFFIX not in suffixes:
            core.unlink()
        for name, text in changed.items():
            (package / f"{name}.py").write_text(text)
        wheel = package.parent / "snapsafe_rt-0-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for path in package.rglob("*"):
                archive.write(path, path.relative_to(package.parent))
        return wheel

    return make


def test_a_bundle_activates_also_an_environment_without_the_package(bundle, tmp_path):
    target = tmp_path / "one folder"
    said = bundle(target)
    assert f"  {SUFFIX[1:-3]}\n" in said
    assert "python -I: PYTHONPATH is ignored" in said
    venv = make_venv(Path(sys.executable), tmp_path / "venv")
    assert start(venv, target) == "True"
    assert start(venv, target, SNAPSAFE="0") == "False"
    assert start(venv, target, "-I") == "False"
    before = {name: about for name, about in listing(target).items() if "__pycache__" not in name}
    bundle(target)
    after = {name: about for name, about in listing(target).items() if "__pycache__" not in name}
    assert after == before  # running it again writes nothing that is there already


def test_where_no_core_fits_nothing_happens(bundle, make_wheel, tmp_path):
    """As for another version or another libc. Nothing is said, nothing imported; only SNAPSAFE_STRICT=1 refuses."""
    musl = SUFFIX.replace("linux-gnu", "linux-musl")
    assert musl != SUFFIX
    bundle("b", "--wheel", make_wheel(musl, ".cpython-39-x86_64-linux-gnu.so"))
    script = ACTIVE + "; assert not any(name.startswith('snapsafe') for name in sys.modules)"
    venv = make_venv(Path(sys.executable), tmp_path / "venv")
    assert start(venv, tmp_path / "b", script=script) == "False"
    line = start(venv, tmp_path / "b", status=78, SNAPSAFE_STRICT="1")
    assert line.count("\n") == 1
    assert f"_core{SUFFIX}" in line
    # The twin: with a core for it among those it is active.
    bundle("b", "--wheel", make_wheel(SUFFIX))
    assert start(venv, tmp_path / "b", script=ACTIVE) == "True"


def test_it_never_hides_a_package_that_fits(bundle, make_wheel, tmp_path):
    bundle("b", "--wheel", make_wheel(".cpython-39-x86_64-linux-gnu.so"))
    venv = make_venv(Path(sys.executable), tmp_path / "venv")
    site = copy_package(PACKAGE, FOLDER, next((tmp_path / "venv").glob("lib/python3.*/site-packages"))).parent
    script = ACTIVE + "; import snapsafe_rt; print(snapsafe_rt.__file__)"
    assert start(venv, tmp_path / "b", script=script) == f"True\n{site / 'snapsafe_rt' / '__init__.py'}"


def test_one_version_only(bundle, make_wheel, tmp_path):
    bundle("b")
    before = listing(tmp_path / "b")
    line = bundle("b", "--wheel", make_wheel(SUFFIX, settings="VERSION = '9'\n"), status=1)
    assert "differ in settings.py" in line
    assert listing(tmp_path / "b") == before


@pytest.mark.parametrize("what", ["nothing", "no wheel", "no core"])
def test_what_is_no_wheel_is_refused_before_anything_is_written(bundle, make_wheel, tmp_path, what):
    wheel = tmp_path / "some.whl"
    if what == "no wheel":
        wheel.write_text("text")
    elif what == "no core":
        wheel = make_wheel()
    line = bundle("b", "--wheel", wheel, status=1)
    assert line.count("\n") == 1
    assert str(wheel) in line
    assert not (tmp_path / "b").exists()


def test_a_path_that_pythonpath_cannot_hold(bundle, tmp_path):
    assert "PYTHONPATH cannot hold" in bundle("a:b", status=2)
    assert not (tmp_path / "a:b").exists()


def test_each_interpreter_takes_its_own(bundle, tmp_path):
    """For real: every other version that the package has a core for, and that is on this machine."""
    mine = installation.of_python(sys.executable)
    others = {}
    for path in installation.others(mine):
        try:
            target = installation.of_python(path)
        except Failure:
            continue
        if target.suffix != SUFFIX and target.suffix in installation.cores(str(PACKAGE)):
            others.setdefault(target.suffix, path)
    if not others:
        pytest.skip("no core of another version is built beside this one's, or no such Python is on this machine")
    bundle("b")
    for path in others.values():
        assert start(path, tmp_path / "b") == "False"
        bundle("b", python=path)
    for path in (sys.executable, *others.values()):
        assert start(path, tmp_path / "b") == "True"
    assert len(list((tmp_path / "b").rglob("_core*.so"))) == 1 + len(others)
    assert len(list((tmp_path / "b").rglob("activation.py"))) == 1


MOVES = """
import os, random, sys
random.random()
state = random.getstate()
fd = os.open(os.environ["SOURCE"], os.O_RDWR)
os.pwrite(fd, (int.from_bytes(os.pread(fd, 8, 0x68), "little") + 1).to_bytes(8, "little"), 0x68)
core = sys.modules.get("snapsafe_rt._core")
print(random.getstate() != state, core and os.path.basename(core.__file__))
"""


def test_musl_beside_glibc(bundle, make_wheel, tmp_path, source_file):
    """A real interpreter on the other C library, of the same version: each moves on with the source by its own core."""
    musl = os.environ.get("SNAPSAFE_MUSL")
    if musl is None:
        pytest.skip(".ci/musl builds a Python on musl, and runs this with it")
    python = Path(musl, "src", "python", "python")
    suffix = ".cpython-311-x86_64-linux-musl.so"
    bundle("b")
    variables = {**source_file.env, "SOURCE": str(source_file.path)}
    assert start(python, tmp_path / "b", script=MOVES, **variables) == "False None"
    bundle("b", "--wheel", make_wheel(suffix, core_file=Path(musl, f"_core{suffix}")))
    assert start(python, tmp_path / "b", script=MOVES, **variables) == f"True _core{suffix}"
    assert start(python, tmp_path / "b", script=MOVES, **variables, SNAPSAFE="0") == "False None"
    assert start(sys.executable, tmp_path / "b", script=MOVES, **variables) == f"True _core{SUFFIX}"


def compiled(python, folder, script="import random"):
    """The sources of ours that a start compiled, as it found no bytecode of them that holds: `python -v` names each."""
    done = subprocess.run(
        [python, "-v", "-c", script],
        env=clean(PYTHONPATH=str(folder), PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if str(folder) in line]
    assert any("snapsafe" in line for line in lines), done.stderr
    return [line for line in lines if line.startswith("# code object from ") and line.endswith(".py")]


def test_no_start_compiles_it(bundle, tmp_path):
    """Images set PYTHONDONTWRITEBYTECODE, and mount folders read-only: each start would compile. Wherever it is put."""
    bundle("b")
    venv = make_venv(Path(sys.executable), tmp_path / "venv")
    (tmp_path / "b").rename(tmp_path / "elsewhere")
    hook = tmp_path / "elsewhere" / "_snapsafe_start.py"
    os.utime(hook, (1, 1))
    assert compiled(venv, tmp_path / "elsewhere") == []
    # What somebody changes by hand is what runs.
    hook.write_text(hook.read_text() + "\nchanged = True\n")
    assert len(compiled(venv, tmp_path / "elsewhere", "import _snapsafe_start as ours; assert ours.changed")) == 1
    # The twin: without the bytecode that comes with it.
    for cache in (tmp_path / "elsewhere").rglob("__pycache__"):
        shutil.rmtree(cache)
    assert len(compiled(venv, tmp_path / "elsewhere")) > 2
