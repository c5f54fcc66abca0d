"""What two clones returned alike is found, and what cannot be compared is refused."""

import array
import uuid

import pytest

from snapsafe_rt.testing.alike import Unfit, compare, leaves, table

pytestmark = pytest.mark.any_python


def alike(*returned):
    return [(row.name, row.clones, row.shown) for row in compare([list(leaves(value)) for value in returned])]


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        (("a", "b"), []),
        (("a", "a", "b"), [("", [0, 1], "'a'")]),
        (("1", 1), []),  # of different types
        ((1, True, 1.0), []),
        ((b"x", bytearray(b"x")), []),
        (([1, 2], [3, 1]), [("", [0, 1], "1")]),  # at another place of the list
        (([1, 1], [2, 2]), []),  # twice in one clone is its own affair
        (({1, 2}, (2, 3)), [("", [0, 1], "2")]),
        (({"a": 1, "b": 2}, {"a": 2, "b": 1}), []),  # of different names
        (({"a": {"b": [7]}}, {"a": {"b": [7]}}), [("['a']['b']", [0, 1], "7")]),
        ((uuid.UUID(int=1), uuid.UUID(int=1)), [("", [0, 1], repr(uuid.UUID(int=1)))]),
        ((array.array("l", [1, 2]), array.array("l", [1, 2])), [("", [0, 1], "[1, 2]")]),
        (("x" * 100, "x" * 100), [("", [0, 1], "'" + "x" * 56 + "...")]),
        (("x" * 100 + "1", "x" * 100 + "2"), []),  # they differ in what is not shown
        (("\udcff", "\udcff"), [("", [0, 1], repr("\udcff"))]),
    ],
)
def test_what_is_alike(returned, found):
    assert alike(*returned) == found


@pytest.mark.parametrize("value", [None, object(), {"a": None}, [len], {"a": object()}])
def test_what_cannot_be_compared_is_refused(value):
    """The repr of an object is its address, which all clones have alike."""
    with pytest.raises(Unfit, match="values that must differ in each clone"):
        list(leaves(value))


def test_a_table_is_bounded():
    rows = compare([list(leaves(list(range(100)))) for _ in range(30)])
    text = table(rows, 30)
    assert len(rows) == 100
    assert text.splitlines()[2].split() == ["returned", "all", "30", "0"]
    assert text.endswith("and 80 more")
    assert "0, 1, 2, 3, 4, 5, ..." in table(compare([list(leaves(1))] * 7 + [list(leaves(2))]), 8)
