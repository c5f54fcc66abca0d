"""The package's modules at start-up: read without a search, yet as the importer would have made them."""

import os
import shutil
import subprocess
import sys

import pytest

from ..conftest import PACKAGE

SHOW = """
import importlib.machinery, importlib.util, sys
searched = []
class Finder:
    def find_spec(name, path=None, target=None):
        if name.startswith("snapsafe_rt."):
            searched.append(name)
sys.meta_path.insert(0, Finder)
import snapsafe_rt
sys.meta_path.remove(Finder)
found = {}
for name, module in sorted(sys.modules.items()):
    if name.startswith("snapsafe_rt."):
        spec = module.__spec__
        assert importlib.util.find_spec(name) is spec
        assert getattr(sys.modules[name.rpartition(".")[0]], name.rpartition(".")[2]) is module
        found[name] = [
            spec.name, spec.origin, spec.cached, spec.has_location, spec.parent, spec.submodule_search_locations,
            type(spec.loader).__name__, spec.loader.path, module.__file__, getattr(module, "__path__", None),
            sorted(key for key in vars(module) if key.startswith("__")),
        ]
print(found)
print(snapsafe_rt.settings.__doc__.splitlines()[0])
print(len(searched))
"""


@pytest.fixture
def copied(tmp_path):
    """show(*options, **environment) -> the lines of a Python that imports a copy of the package, compiling it.

    The last line: how many of its modules the importer had to find.
    """
    folder = tmp_path / "snapsafe_rt"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON"))}

    def show(*options, **more):
        done = subprocess.run(
            [sys.executable, *options, "-c", SHOW],
            env=env | {"PYTHONPATH": str(tmp_path)} | more,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout.splitlines()

    show.folder = folder
    return show


def test_modules_are_as_the_importer_makes_them(copied):
    first, second = copied(), copied()  # the second finds bytecode
    assert str(copied.folder) in first[0]
    assert (first[2], second[2]) == ("9", "0")
    assert first[:2] == second[:2]
    optimised = copied("-O"), copied("-O")
    assert optimised[0][:2] == optimised[1][:2]
    assert (optimised[0][2], optimised[1][2]) == ("9", "0")
    assert copied(PYTHONPYCACHEPREFIX=str(copied.folder.parent / "elsewhere"))[1:] == first[1:]


@pytest.mark.parametrize("change", ["source", "magic", "cut", "hashed"])
def test_bytecode_that_is_not_the_sources_is_not_believed(copied, change):
    before = copied()[1]
    source = copied.folder / "settings.py"
    compiled = copied.folder / "__pycache__" / f"settings.{sys.implementation.cache_tag}.pyc"
    good = compiled.read_bytes()
    source.write_text(source.read_text().replace('"""The', '"""Now the', 1))
    if change == "magic":
        compiled.write_bytes(b"\0\0\0\0" + good[4:])
    elif change == "cut":
        compiled.write_bytes(good[:200])
    elif change == "hashed":  # checked against the source's hash, which it does not have
        compiled.write_bytes(good[:4] + b"\x03\0\0\0" + bytes(8) + good[16:])
    assert before.startswith("The ")
    assert copied()[1].startswith("Now the ")


@pytest.mark.parametrize("number", range(8))
def test_an_import_that_is_interrupted_leaves_nothing_half_made(copied, number):
    """By Ctrl-C, say: who imports it again gets it whole."""
    copied()
    script = f"""
import sys
class Interrupt(BaseException):
    pass
began = 0
def interrupt(event, arguments):
    global began
    if event == "exec" and "snapsafe_rt/" in getattr(arguments[0], "co_filename", ""):
        began += 1
        if began == {number} + 2:  # the first is the package itself
            raise Interrupt
sys.addaudithook(interrupt)
try:
    import snapsafe_rt
except Interrupt:
    pass
else:
    raise AssertionError("not interrupted")
import snapsafe_rt
assert not snapsafe_rt.status().active
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=copied.folder.parent, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
