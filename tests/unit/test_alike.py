"""What two clones returned alike is found, and what cannot be compared is refused."""

import array
import collections
import dataclasses
import itertools
import types
import uuid

import pytest

from snapsafe_rt.testing.alike import Unfit, compare, leaves, table

pytestmark = pytest.mark.any_python


def alike(*returned):
    return [(row.name, row.clones, row.shown) for row in compare([list(leaves(value)) for value in returned])]


@dataclasses.dataclass
class Token:
    code: object
    at: object


class Struct:  # as msgspec's
    __struct_fields__ = ("code", "at")

    def __init__(self, code, at):
        self.code, self.at = code, at


class Attrs(Struct):
    __attrs_attrs__ = (types.SimpleNamespace(name="code"), types.SimpleNamespace(name="at"))


class Model(Struct):  # as pydantic's
    __pydantic_validator__ = None
    __struct_fields__ = ()


del Model.__struct_fields__


class Objects:  # as an array of numpy's
    dtype = types.SimpleNamespace(hasobject=True)

    def __init__(self, *values):
        self.tolist = lambda: list(values)


class Shows:
    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return f"Shows({self.value!r})"


CLOCK = itertools.count()


def aged(make):
    """Of two clones: the code is alike, and the time differs."""
    return tuple(make("same", next(CLOCK)) for _ in range(2))


@pytest.mark.parametrize(
    "make", [Token, Struct, Attrs, Model, lambda code, at: types.SimpleNamespace(code=code, at=at)]
)
def test_a_record_is_taken_apart(make):
    assert alike(*aged(make)) == [(".code", [0, 1], "'same'")]
    assert alike(*({"a": [one]} for one in aged(make))) == [("['a'].code", [0, 1], "'same'")]


@pytest.mark.parametrize(
    "make",
    [
        lambda code, at: collections.deque([code, at]),
        lambda code, at: collections.UserList([code, at]),
        lambda code, at: {code: at}.items(),
        lambda code, at: {code: 1, at: 2}.keys(),
        lambda code, at: {1: code, 2: at}.values(),
        lambda code, at: collections.namedtuple("Pair", "code at")(code, at),
        Objects,
    ],
)
def test_each_kind_of_list_is_taken_apart(make):
    assert alike(*aged(make)) == [("", [0, 1], "'same'")]


@pytest.mark.parametrize(
    "one",
    [collections.UserString("a"), range(10**9), "a", b"a", bytearray(b"a"), pytest.param(1 << 20000, id="huge")],
)
def test_what_is_one_value(one):
    assert [clones for _, clones, _ in alike(one, one)] == [[0, 1]]


def test_names_that_differ_hide_nothing():
    """An id that is new in each clone is the name of a token that is not."""
    found = alike({"id-1": "same"}, {"id-2": "same"})
    assert found == [("[other names]", [0, 1], "'same'")]
    assert alike({"id-1": {"at": 1, "code": 7}}, {"id-2": {"at": 2, "code": 7}})
    assert alike({"a": 1}, {"a": 2, "more": 3}) == []


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


@pytest.mark.parametrize(
    "value",
    [
        *(None, object(), {"a": None}, [len], {"a": object()}, Shows(object())),
        *(Token(object(), 1), Objects(object())),
        *([], {}, (), {"a": [], "b": 1}, [[], 1], Token({}, 1), {}.values()),
    ],
)
def test_what_cannot_be_compared_is_refused(value):
    """The repr of an object is its address, which all clones have alike, or which differs though nothing else does.
    What is empty was not compared."""
    with pytest.raises(Unfit, match="values that must differ in each clone"):
        list(leaves(value))


def test_a_table_is_bounded():
    rows = compare([list(leaves(list(range(100)))) for _ in range(30)])
    text = table(rows, 30)
    assert len(rows) == 100
    assert text.splitlines()[2].split() == ["returned", "all", "30", "0"]
    assert text.endswith("and 80 more")
    assert "0, 1, 2, 3, 4, 5, ..." in table(compare([list(leaves(1))] * 7 + [list(leaves(2))]), 8)
