"""The table of surfaces: that nothing leaves it unseen, and that a guest can have its two files alone."""

import ast
import gc
import sys
import uuid
import warnings
from pathlib import Path

import pytest

from snapsafe_rt.cli import demo, demo_surfaces

from ..helpers import surfaces

pytestmark = pytest.mark.internals

KINDS = ("memory", "pid", "clock", "kernel", "machine")
NAMES = [surface.name for surface in surfaces.TABLE]
PLAIN = [surface for surface in surfaces.TABLE if not surface.library and surface.kind != "machine"]


def test_names_and_words_are_one_each_and_kinds_are_known():
    assert len(set(NAMES)) == len(NAMES)
    assert len({surface.words for surface in surfaces.TABLE}) == len(NAMES)
    assert {surface.kind for surface in surfaces.TABLE} == set(KINDS)
    assert set(demo.NOTES) - {"program"} == {"kernel", "clock", "pid"} <= set(KINDS)  # the user's program is no surface


def test_what_the_demo_shows():
    shown = [surface.name for surface in demo_surfaces.TABLE]
    first = ["random", "instance", "gauss", "shuffle", "uuid1_identity", "getnode", "uuid1", "uuid4", "msgid"]
    assert shown == [*first, "tempfile", "secrets", "urandom", "uuid7", "ssl", "tls", "ec", "sqlite"]


@pytest.mark.parametrize(
    ("where", "sure"),
    [
        ("namespace", {"memory", "pid"}),
        ("none", {"memory"}),
        ("machine", {"memory", "pid", "machine"}),
    ],
)
def test_what_repeats_where(where, sure):
    if where == "machine":
        found = {kind for kind in KINDS if surfaces.repeats(kind, machine=True)}
    else:
        found = {kind for kind in KINDS if demo.Row("", "", kind, 0, 0).repeats(where)}
    assert found == sure


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
    with warnings.catch_warnings():  # a draw keeps its connection open, to the end of its program
        warnings.simplefilter("ignore", ResourceWarning)
        del draw, found
        gc.collect()


def _has_libcrypto():
    return "libcrypto" in Path("/proc/self/maps").read_text()


def test_both_of_a_thread_that_lives_on():
    pytest.importorskip("ssl")
    for draw in surfaces.prepare(surfaces.select("random_thread", "ssl_thread")).values():
        assert draw() != draw()


def test_an_unknown_name_is_an_error():
    with pytest.raises(KeyError):
        surfaces.select("no such surface")


@pytest.mark.parametrize("module", [demo_surfaces, surfaces])
def test_they_import_the_standard_library_and_each_other_alone(module):
    tree = ast.parse(Path(module.__file__).read_text())
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module)
    own = {"demo_surfaces", "snapsafe_rt.cli"}  # the copy; where there is none, the package's
    assert {name.partition(".")[0] for name in modules - own} <= set(sys.stdlib_module_names)
