"""The table of guards: that a line says what the guard's file says, that the docs do, and what a start pays for."""

import subprocess
import sys
from pathlib import Path

import pytest

import snapsafe_rt.activation  # noqa: F401 - names the guards that lie in other rooms
from snapsafe_rt.guards import guard, libraries, table
from snapsafe_rt.report import procfs, remote
from tests.helpers.guards_document import filled, first_paragraph

pytestmark = pytest.mark.internals

ROOT = Path(__file__).resolve().parents[2]
LINES = {**table.TABLE, **table.NAMED}
SHARED = {"__init__", "calls", "examined", "guard", "libraries", "loaded", "methods", "scan", "table", "unexamined"}


@pytest.mark.parametrize("name", LINES)
def test_a_line_says_what_the_file_says(name):
    one = table.load(name)
    assert (one.name, one.triggers) == (name, LINES[name])
    assert one.covers
    assert one.level in table.LEVELS
    assert first_paragraph(type(one))


def test_each_file_has_its_line():
    files = {file.stem for file in Path(table.__file__).parent.glob("*.py")} - SHARED
    assert files == set(table.TABLE) - set(table.ELSEWHERE)
    assert [one.name for one in libraries.GUARDS] == list(table.NAMED)


def test_no_name_and_no_trigger_is_there_twice():
    assert not set(table.TABLE) & set(table.NAMED)
    triggers = [trigger for line in LINES.values() for trigger in line]
    assert len(set(triggers)) == len(triggers) == len(table.TRIGGERS)


def test_the_docs_say_what_the_files_say():
    """python -m tests.helpers.guards_document docs/guards.md"""
    text = (ROOT / "docs" / "guards.md").read_text()
    assert filled(text) == text


def test_a_start_imports_no_guard():
    script = """
import sys
from snapsafe_rt.guards import table
print(*(name for name in sys.modules if name.startswith("snapsafe_rt.guards.")))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"snapsafe_rt.guards.table", "snapsafe_rt.guards.guard"}  # no row's own


def test_a_name_that_is_in_no_line():
    with pytest.raises(KeyError):
        table.load("guard")
    assert table.find("guard") is None


# ---- the defaults ----


class Example(guard.Guard):
    """An example."""

    name = "example"
    triggers = ("snapsafe_test_example",)
    files = ("_example.", "/example/_rust.abi3.so")
    reason = ""

    def displaced(self):
        return self.reason

    def note(self):
        return "all is well"


class Refreshed(Example):
    def refresh(self):
        pass


class Seen:
    """A process of which so much is seen from outside."""

    def __init__(self, *files, watched=True):
        self.files = files
        self.watched = watched

    def mapped(self, patterns):
        return next((file for file in self.files if any(pattern in file for pattern in patterns)), None)


def test_what_a_guard_says_of_itself(monkeypatch):
    one = Example()
    assert one.protection() == ("not loaded", one.unloaded)
    monkeypatch.setitem(sys.modules, "snapsafe_test_example", one)
    assert one.protection() == one.cheap_protection() == ("guarded", "all is well")
    assert one.in_place()
    one.reason = "somebody replaced it"
    assert one.protection() == ("unprotected", "somebody replaced it")
    assert not one.in_place()
    assert not one.by_event
    assert Refreshed().by_event


@pytest.mark.parametrize("noted", [None, ("not loaded", "")])
@pytest.mark.parametrize("file", ["/lib/_example.cpython-311.so", "/lib/example/_rust.abi3.so"])
def test_evidence_against_what_a_process_noted(noted, file):
    level, note = Example().judge_remote(noted, False, Seen(file))
    assert level == "unprotected"
    assert file in note
    assert Example().judge_remote(noted, False, Seen()) == noted


def test_a_row_that_needs_the_event_is_worth_its_watcher():
    noted = ("refreshed", "renewed")
    assert Refreshed().judge_remote(noted, True, Seen()) == noted
    assert Refreshed().judge_remote(noted, True, Seen(watched=False))[0] == "unprotected"
    assert Refreshed().judge_remote(noted, False, Seen(watched=False)) == noted


# ---- another process's rows ----


class Record:
    """The record of a process whose core knows no library."""

    def __init__(self):
        self.libraries = {"openssl": [], "sqlite3": []}


def judged(*lines, mapped=()):
    """{name: level} of what a process with these lines of text has loaded."""
    mappings = [procfs.Mapping(4096 * number, path, number) for number, path in enumerate(mapped, 1)]
    seen = remote.Outside(procfs.Process(1, 0, False, "python"), mappings)
    rows = seen._read_lines([list(line) for line in lines])
    return {name: level for name, level, _ in seen._judged(Record(), rows)}


def test_a_named_library_by_its_line_or_by_its_file():
    assert judged(("library", "tensorflow")) == {"tensorflow": "unprotected"}
    assert judged(mapped=["/x/lib/libtensorflow_framework.so (deleted)"]) == {"tensorflow": "unprotected"}


@pytest.mark.parametrize("name", ["of_a_later_version", "random", "openssl", "guard", "../os", ""])
def test_a_line_that_names_no_named_library(name):
    """The word of another process is never the way to a guard's own."""
    assert judged(("library", name))[name] == "unprotected"


def test_a_row_of_a_later_version():
    assert judged(("row", "later", "guarded", "", "0", "0")) == {"later": "guarded"}
    assert judged(("row", "later", "refreshed", "", "1", "0")) == {"later": "unprotected"}  # no watcher runs


def test_a_guard_that_cannot_be_loaded_here(monkeypatch):
    """What would have to be judged by it is not believed."""
    assert judged(("row", "openssl", "guarded", "", "0", "0")) == {"openssl": "guarded"}
    monkeypatch.setattr(table, "find", lambda name: None)
    assert judged(("row", "openssl", "guarded", "", "0", "0"))["openssl"] == "unprotected"
