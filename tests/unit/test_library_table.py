"""docs/libraries.md, the table of tests/libraries and that of the examined libraries say the same; and .ci/libraries
does not take what repeats for guarded."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import pytest

from snapsafe_rt.guards import examined
from tests.helpers import libraries_document as document
from tests.libraries import LEVELS, TABLE

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/libraries.md").read_text()
MEASURED = document.read(TEXT)
# Examined in another way: by reading, or with programs that are no line.
OTHERWISE = {"fiona", "grpcio", "llvmlite", "rasterio", "torch"}
COUNT = 20


@pytest.fixture(scope="module")
def command():
    """.ci/libraries, as a module."""
    path = ROOT / ".ci/libraries"
    loader = importlib.machinery.SourceFileLoader("ci_libraries", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("ci_libraries", loader))
    sys.path.insert(0, str(path.parent))
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
        sys.path.remove(str(path.parent))
    return module


def test_the_document_is_what_its_rows_make():
    assert document.filled(TEXT, MEASURED) == TEXT


def test_what_was_measured_stands_in_both_tables():
    """With its newest version, and the level of its worst surface there."""
    for package, surfaces in document.newest(MEASURED).items():
        level = document.worst_of(level for level, _ in surfaces.values())
        version = next(version for name, version in MEASURED if name == package)
        entry = examined.find(TABLE[package].folder)
        assert entry is not None, package
        assert (entry.version, entry.level) == (version, level), package


def test_what_is_called_examined_was_measured():
    measured = {TABLE[package].folder for package, _ in MEASURED}
    found = {one.name for one in examined.EXAMINED if not {one.name, *one.also} & measured}
    assert found <= OTHERWISE
    assert set(examined.LEVELS) == set(LEVELS)


def test_the_versions_are_those_of_the_file(command):
    pinned = command.versions()
    assert set(pinned) == set(TABLE)
    assert all(version in pinned[package] for package, version in MEASURED)


# How many different values of COUNT there were: activated, at once and checked; in the twin; with the live kernel.
FOUND = {
    "guarded": (COUNT, COUNT, 1, COUNT),
    "refreshed": (1, COUNT, 1, 1),
    "safe": (COUNT, COUNT, COUNT, COUNT),
    "kernel": (1, 1, 1, COUNT),
    "unprotected": (1, 1, 1, 1),
}


def values(different):
    return [str(number) for number in range(different)]


def drawn(first, checked, twin, live):
    places = ("main", "new", "old")
    activated = {place: values(first) for place in places} | {f"{place} checked": values(checked) for place in places}
    return {
        "activated": activated,
        "twin": {place: values(twin) for place in activated},
        "live": {place: values(live) for place in activated},
    }


@pytest.mark.parametrize("claimed", FOUND)
@pytest.mark.parametrize("level", FOUND)
def test_a_level_that_is_not_what_was_measured_is_told(command, claimed, level):
    weaker = (claimed, level) == ("refreshed", "guarded")  # whose surfaces do no harm by being better
    assert (command.wrong(claimed, drawn(*FOUND[level])) == "") == (claimed == level or weaker)


@pytest.mark.parametrize("place", ["main", "new", "old", "main checked", "new checked", "old checked"])
def test_one_value_that_repeats_in_one_place_is_told(command, place):
    found = drawn(*FOUND["guarded"])
    found["activated"][place].pop()
    assert command.wrong("guarded", found)


def test_a_guard_whose_twin_does_not_repeat_is_told(command):
    found = drawn(*FOUND["guarded"])
    found["twin"]["old"] = values(2)
    assert command.wrong("guarded", found)


def test_what_is_kept_is_the_same_in_each_run(command):
    assert command.wrong("kept", drawn(1, 1, 1, 1)) == ""
    other = drawn(1, 1, 1, 1)
    other["live"] = {place: ["another"] for place in other["live"]}
    assert command.wrong("kept", other)
