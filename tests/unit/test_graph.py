""".ci/graph: that it passes, and that a circle, an import against the layers or a look-up by name makes it fail."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[2]
IMPORT = "from snapsafe_rt import {}\n"
LAZY = "def later():\n    from snapsafe_rt import {}\n"
TYPES = "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from snapsafe_rt import {}\n"


def graph(root, *parts):
    """(exit code, lines) of the script that lies in the project, over the files below `root`."""
    command = [sys.executable, ROOT / ".ci" / "graph", "--root", root, *parts]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.stderr
    return done.returncode, done.stdout.splitlines()


@pytest.fixture
def copy(tmp_path):
    """A copy of what the script reads. `copy(NAME, TEXT)` adds the text to a file of it and returns its first line."""
    shutil.copytree(ROOT / "cython", tmp_path / "cython")
    shutil.copytree(
        ROOT / "snapsafe_rt", tmp_path / "snapsafe_rt", ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )

    def plant(name, text):
        file = tmp_path / name
        before = file.read_text() if file.exists() else ""
        file.write_text(before + text)
        return f"{name}:{before.count(chr(10)) + 1}"

    plant.root = tmp_path
    return plant


def around(lines, *rooms):
    """The edges of the circle through exactly these rooms."""
    found = [
        n for n, line in enumerate(lines) if line.startswith("circle: ") and set(line[8:].split(" -> ")) == set(rooms)
    ]
    assert found, lines
    return lines[found[0] + 1 : found[0] + 1 + len(rooms)]


# ---- the project itself ----


def test_no_circle_among_the_c_rooms():
    assert graph(ROOT, "c") == (0, [])


def test_no_circle_among_the_modules():
    assert graph(ROOT, "python") == (0, [])


# ---- C ----


@pytest.mark.parametrize(
    "text",
    [
        '#include "epoch.h"\n',
        "extern uint64_t ss_epoch_advance(int);\nvoid ss_planted(void) { ss_epoch_advance(0); }\n",
    ],
    ids=["include", "extern"],
)
def test_a_circle_in_c(copy, text):
    at = copy("cython/process.c", text)
    code, lines = graph(copy.root, "c")
    assert code == 1
    edges = around(lines, "epoch", "process")
    assert any(line.startswith("  cython/epoch.c:") and line.endswith(": epoch -> process") for line in edges)
    assert f"  {at}: process -> epoch" in edges


def test_a_variable_of_a_room_above(copy):
    """Pointers to functions, too: that is how the epoch once reached the rooms that need it."""
    copy("cython/watcher.c", "void (*ss_planted)(void);\n")
    copy("cython/process.c", "extern void (*ss_planted)(void);\nvoid ss_call(void) { ss_planted(); }\n")
    code, lines = graph(copy.root, "c")
    assert code == 1
    circles = [set(line[8:].split(" -> ")) for line in lines if line.startswith("circle: ")]
    assert any({"watcher", "process"} <= one for one in circles), lines


@pytest.mark.parametrize("text", ["/* ss_epoch_advance() */\n", 'const char *ss_text = "ss_epoch_advance";\n'])
def test_what_is_no_use(copy, text):
    copy("cython/process.c", text)
    assert graph(copy.root, "c") == (0, [])


# ---- Python ----


@pytest.mark.parametrize("form", [IMPORT, LAZY], ids=["import", "lazy"])
def test_a_circle_in_python(copy, form):
    one = copy("snapsafe_rt/planted_one.py", form.format("planted_two"))
    two = copy("snapsafe_rt/planted_two.py", IMPORT.format("planted_one"))
    code, lines = graph(copy.root, "python")
    if form == LAZY:
        one = one.replace(":1", ":2")
    assert code == 1
    edges = around(lines, "planted_one", "planted_two")
    assert sorted(edges) == [f"  {one}: planted_one -> planted_two", f"  {two}: planted_two -> planted_one"]


def test_what_only_a_type_checker_imports(copy):
    copy("snapsafe_rt/planted_one.py", TYPES.format("planted_two"))
    copy("snapsafe_rt/planted_two.py", IMPORT.format("planted_one"))
    assert not [line for line in graph(copy.root, "python")[1] if line.startswith("circle") and "planted" in line]


@pytest.mark.parametrize("form", [IMPORT, LAZY, "import snapsafe_rt.{}\n", "from .{} import anything\n"])
def test_an_import_against_the_layers(copy, form):
    at = copy("snapsafe_rt/settings.py", form.format("cli"))
    at = f"{at.rpartition(':')[0]}:{int(at.rpartition(':')[2]) + (form == LAZY)}"
    code, lines = graph(copy.root, "python")
    assert code == 1
    assert f"upward: {at}: settings -> cli" in lines


def test_a_module_that_is_in_no_layer(copy):
    copy("snapsafe_rt/planted.py", "")
    assert "in no layer: snapsafe_rt.planted" in graph(copy.root, "python")[1]


@pytest.mark.parametrize(
    "text",
    [
        'sys.modules.get("snapsafe_rt.cli")',
        'sys.modules["snapsafe_rt.cli"]',
        '"snapsafe_rt.cli" in sys.modules',
        'sys.modules[f"{__package__}.cli"]',
        '__import__("snapsafe_rt.cli")',
        'importlib.import_module(".cli", __package__)',
        "importlib.import_module(name)",
    ],
)
def test_a_look_up_by_name(copy, text):
    at = copy("snapsafe_rt/settings.py", f"found = {text}\n")
    code, lines = graph(copy.root, "python")
    assert code == 1
    assert [line for line in lines if line.startswith(f"by name: {at}: ")], lines


@pytest.mark.parametrize("text", ['sys.modules.get("uuid")', '__import__("json")', '"snapsafe_rtx" in sys.modules'])
def test_others_may_be_looked_up(copy, text):
    at = copy("snapsafe_rt/settings.py", f"found = {text}\n")
    assert not [line for line in graph(copy.root, "python")[1] if at in line]
