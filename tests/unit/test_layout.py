"""How tests are laid out (tests/README.md): no test module imports another, long programs are files, whoever sleeps
says why, and what is hidden from ThreadSanitizer is there."""

import ast
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.internals

TESTS = Path(__file__).resolve().parents[1]
FILES = sorted(path.relative_to(TESTS) for path in TESTS.rglob("*.py"))
SCREEN = 30  # lines
# Not yet so: their long scripts, and the sleeps of programs that stand still.
LATER = re.compile(r"process/test_(dbus|lifecycle)")


def imported(tree, path):
    """Each module that is imported, with its full name below tests."""
    package = ("tests", *path.parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def of_other_tests(tree, path):
    for name in imported(tree, path):
        parts = name.split(".")
        if parts[0] == "tests" and any(part.startswith("test_") for part in parts):
            yield name


def long_programs(tree, path=None):
    """Line and length of each string over SCREEN lines that is no docstring."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and is_text(node)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Constant, ast.JoinedStr)) and id(node) not in docstrings:
            lines = node.end_lineno - node.lineno - 1  # the quotes stand on lines of their own
            if lines > SCREEN:
                yield node.lineno, lines


def is_text(node):
    return bool(node.body) and isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)


def found_in(look):
    """What `look` finds in each file that it finds something in."""
    found = {path: list(look(ast.parse((TESTS / path).read_text()), path)) for path in FILES}
    return {str(path): what for path, what in found.items() if what}


def test_no_test_module_is_imported_by_another():
    """What tests share stands in tests/helpers."""
    assert found_in(of_other_tests) == {}


def test_programs_over_a_screen_are_files():
    """They are tests/programs/NAME.py. Shown: the line of each string, and how many lines it has."""
    assert {path: what for path, what in found_in(long_programs).items() if not LATER.match(path)} == {}


def bare_sleeps(text):
    """Lines that sleep longer than a look takes, without a reason beside it. Those of a minute and more are of programs
    that hang: nobody waits for their end."""
    for number, line in enumerate(text.splitlines(), 1):
        for seconds in re.findall(r"\bsleep\(([0-9.]+)\)", line):
            if 0.05 < float(seconds) < 60 and "#" not in line:
                yield number, line.strip()


def test_whoever_sleeps_says_why():
    """What is waited for is looked at: tests/helpers/restored.py, tests/native/clock.c."""
    found = {str(path): list(bare_sleeps((TESTS / path).read_text())) for path in FILES}
    assert {path: lines for path, lines in found.items() if lines and not LATER.match(path)} == {}


def test_a_planted_sleep_is_found():
    text = "time.sleep(0.3)\ntime.sleep(0.01)\ntime.sleep(0.3)  # a reason\nasyncio.sleep(1.5)\ntime.sleep(3600)"
    assert [number for number, _ in bare_sleeps(text)] == [1, 4]


def test_what_thread_sanitizer_is_not_to_tell_is_there():
    """A function that has got another name would be told of, or a race in the one that has its name now would not."""
    hidden = re.findall(r"^race\w*:\^(\w+)\$$", (TESTS / "tsan.supp").read_text(), re.MULTILINE)
    source = "".join(path.read_text() for path in sorted(TESTS.with_name("cython").glob("*.[ch]")))
    of_cpython = {"generic_pycdata_new", "_PyType_GetSubclasses"}
    assert of_cpython < set(hidden)
    assert [name for name in hidden if name not in of_cpython and f"{name}(" not in source] == []


def test_the_worked_example_is_the_one_that_runs():
    assert (TESTS / "process/test_twin_example.py").read_text() in (TESTS / "README.md").read_text()


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from .test_record import rows", {"tests.process.test_record", "tests.process.test_record.rows"}),
        ("from . import test_record", {"tests.process.test_record"}),
        ("from ..unit.test_cli import x", {"tests.unit.test_cli", "tests.unit.test_cli.x"}),
        ("def f():\n    import tests.vm.test_hot", {"tests.vm.test_hot"}),
        ("from tests.vm.test_hot import compare", {"tests.vm.test_hot", "tests.vm.test_hot.compare"}),
        ("import test.test_uuid", set()),  # CPython's own
        ("from ..helpers.looking import rows", set()),
    ],
)
def test_a_planted_import_is_found(code, found):
    assert set(of_other_tests(ast.parse(code), Path("process/test_x.py"))) == found


@pytest.mark.parametrize("quotes", ['"""', 'f"""'])
def test_a_planted_program_is_found(quotes):
    text = "\n" + "x\n" * (SCREEN + 1)
    assert list(long_programs(ast.parse(f'def f():\n    run({quotes}{text}""")'))) != []
    assert list(long_programs(ast.parse(f'def f():\n    run({quotes}{text[2:]}""")'))) == []
    assert list(long_programs(ast.parse(f'def f():\n    """{text}"""'))) == []
