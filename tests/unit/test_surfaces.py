"""The table of surfaces: that nothing leaves it unseen, and that a guest can have its file alone."""

import ast
import sys
import uuid
from pathlib import Path

import pytest

from snapsafe_rt.cli import demo, demo_program
from snapsafe_rt.testing import surfaces

KINDS = ("memory", "pid", "clock", "kernel", "machine")
NAMES = [surface.name for surface in surfaces.TABLE]
PLAIN = [surface for surface in surfaces.TABLE if not surface.library and surface.kind != "machine"]


def test_names_and_words_are_one_each_and_kinds_are_known():
    assert len(set(NAMES)) == len(NAMES)
    assert len({surface.words for surface in surfaces.TABLE}) == len(NAMES)
    assert {surface.kind for surface in surfaces.TABLE} == set(KINDS)
    assert set(demo.NOTES) == {"kernel", "clock", "pid"} <= set(KINDS)


def test_what_the_demo_shows():
    shown = [surface.name for surface in demo_program.shown()]
    first = ["random", "instance", "gauss", "shuffle", "uuid1_identity", "getnode", "uuid1", "uuid4", "msgid"]
    assert shown == [*first, "tempfile", "secrets", "urandom", "uuid7", "ssl", "tls", "ec", "sqlite"]


@pytest.mark.parametrize(
    ("where", "sure"),
    [
        ({}, {"memory", "pid"}),
        ({"same_pid": False}, {"memory"}),
        ({"machine": True}, {"memory", "pid", "machine"}),
    ],
)
def test_what_repeats_where(where, sure):
    assert {kind for kind in KINDS if surfaces.repeats(kind, **where)} == sure


def test_nothing_is_left_out_that_this_python_has():
    """prepare() passes over what cannot be prepared; a mistake in the table must not look like that."""
    pytest.importorskip("ssl")
    pytest.importorskip("sqlite3")
    found = surfaces.prepare(PLAIN)
    absent = {name for name in ("uuid6", "uuid7", "uuid8") if not hasattr(uuid, name)}
    assert {surface.name for surface in PLAIN} - set(found) <= absent | ({"ec"} if not _has_libcrypto() else set())
    for name, draw in found.items():
        if name not in ("getnode", "uuid1_identity", "node", "clock_seq", "getstate"):
            assert draw() != draw(), name


def _has_libcrypto():
    return "libcrypto" in Path("/proc/self/maps").read_text()


def test_both_of_a_thread_that_lives_on():
    pytest.importorskip("ssl")
    for draw in surfaces.prepare(surfaces.select("random_thread", "ssl_thread")).values():
        assert draw() != draw()


def test_an_unknown_name_is_an_error():
    with pytest.raises(KeyError):
        surfaces.select("no such surface")


def test_it_imports_the_standard_library_alone():
    tree = ast.parse(Path(surfaces.__file__).read_text())
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module)
    assert {name.partition(".")[0] for name in modules} <= set(sys.stdlib_module_names)
