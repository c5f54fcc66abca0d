"""The matrix of docs/README.md: it says what the tables say, leaves out no row, and names tests that exist."""

import ast
from pathlib import Path

import pytest

from snapsafe_rt.guards import table
from tests.helpers import hazards_document as document

pytestmark = [pytest.mark.checkout, pytest.mark.any_python]

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_says_what_the_tables_say():
    """python -m tests.helpers.hazards_document docs/README.md"""
    text = (ROOT / "docs" / "README.md").read_text()
    assert document.filled(text) == text


def test_each_row_has_its_hazard():
    named = [name for rows in document.HAZARDS.values() for name in rows]
    assert sorted(named) == sorted([*table.TABLE, *table.NAMED])


@pytest.mark.parametrize("test", sorted({row[-1] for row in document.rows()}))
def test_each_test_that_it_names_exists(test):
    file, _, function = test.partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text())
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("test", [document.IN_CLONES, document.RECIPE])
def test_a_test_of_many_libraries_has_each_of_them(test):
    text = (ROOT / "tests" / test.partition("::")[0]).read_text()
    named = {name for rows in document.HAZARDS.values() for name, one in rows.items() if one == test}
    assert {name for name in named if f'"{name}"' not in text} == set()


def test_each_page_is_reached_from_the_front():
    text = (ROOT / "docs" / "README.md").read_text()
    assert {page.name for page in (ROOT / "docs").glob("*.md") if f"]({page.name})" not in text} == {"README.md"}
