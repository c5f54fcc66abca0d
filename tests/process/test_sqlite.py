"""SQLite's generator in clones: it never repeats. Each proof has a twin that shows the duplicates."""

import json

import pytest

from ..conftest import PROGRAMS

pytestmark = pytest.mark.internals

CLONES = 50

HEAD = """
    from sqlite_stage import *
"""

EACH_FIRST = """
    print(json.dumps({name: distinct(draw, prepare, place=sys.argv[2]) for name, (prepare, draw) in SURFACES.items()}))
"""


# In a child no statement of its parent may go on (sqlite.org/howtocorrupt.html 2.6); in memory nothing is harmed.
@pytest.mark.parametrize("place", ["main", "thread", "child"])
def test_each_is_the_first_to_draw(run_python, source_file, machine, place):
    env = source_file.env | machine
    counts = json.loads(run_python(HEAD + EACH_FIRST, source_file.path, place, env=env))
    assert set(counts.values()) == {CLONES}, counts


@pytest.mark.parametrize("place", ["main", "thread", "child"])
def test_each_repeats_without_us(run_python, source_file, place):
    """Whatever the kernel says: SQLite does not ask it."""
    counts = json.loads(run_python(HEAD + EACH_FIRST, source_file.path, place, activated=False))
    assert set(counts.values()) == {1}, counts


@pytest.mark.parametrize("cpu", [True, False], ids=["", "twin without the CPU's stream"])
def test_the_fence_makes_the_difference(run_python, source_file, machine, cpu):
    script = f"""
    from snapsafe_rt.core import native

    def prepare():
        used()
        native.disable_cpu_for_testing(not {cpu})

    print(distinct(SURFACES["randomblob"][1], prepare))
    """
    env = source_file.env | machine
    assert int(run_python(HEAD + script, source_file.path, env=env)) == (CLONES if cpu else 1)


@pytest.mark.parametrize(("activated", "count"), [(True, 110), (False, 2)])
def test_a_restore_of_a_restore(run_python, source_file, machine, activated, count):
    script = """
    prepare, draw = SURFACES["randomblob"]
    print(restored_twice(draw, prepare))
    """
    env = (source_file.env if activated else {}) | machine
    assert int(run_python(HEAD + script, source_file.path, env=env, activated=activated)) == count


ACTIVATE = """
    import snapsafe_rt
    native = __import__("snapsafe_rt.core").core.native
    activate = lambda: snapsafe_rt.activate(["vmclock:" + sys.argv[1]])
"""


def test_activated_late(run_python, source_file, machine):
    """Connections, cursors and a subclass from before, a running statement: the same protection. And back."""
    script = """
    names = ["randomblob", "for row in cursor", "for row in subclass", "fetchmany"]
    counts = lambda: {distinct(SURFACES[name][1], SURFACES[name][0]) for name in names}
    for _ in range(2):
        activate()
        assert counts() == {50}
        snapsafe_rt.deactivate()
        assert counts() == {1}
    """
    run_python(HEAD + ACTIVATE + script, source_file.path, activated=False, env=machine)


def test_undo_is_exact(run_python, source_file):
    """SQLite's own xRandomness and the slots of the types, as they were."""
    script = """
    import ctypes
    import libcrypto

    library = ctypes.CDLL(libcrypto.path_of("libsqlite3"))
    library.sqlite3_vfs_find.restype = ctypes.c_void_p
    OFFSET = 16 + 3 * 8 + 8 * 8     # struct sqlite3_vfs: three ints, three pointers, eight functions, xRandomness

    def state():
        address = library.sqlite3_vfs_find(None)
        types = (sqlite3.Cursor, Cursor, Iterated, sqlite3.Connection)
        slots = [ctypes.string_at(id(cls) + object.__basicsize__ + 26 * 8, 8) for cls in types]    # tp_iternext
        functions = [dict(vars(cls)) for cls in types]
        return ctypes.c_void_p.from_address(address + OFFSET).value, slots, functions

    stock = state()
    for _ in range(3):
        activate()
        assert row().protection == "refreshed", row().note
        used()
        now = state()
        assert now[0] != stock[0] and now[1][0] != stock[1][0] and now[2] == stock[2]
        assert now[1][0] == now[1][1]
        snapsafe_rt.deactivate()
        assert state() == stock
        used()
    """
    run_python(HEAD + ACTIVATE + script, source_file.path, activated=False)


def test_status_tells_each_stage(run_python, source_file):
    script = """
    import sys
    import snapsafe_rt
    def row():
        return next(row for row in snapsafe_rt.status().rows if row.name == "sqlite3")
    assert "_sqlite3" not in sys.modules
    assert row().protection == "not loaded", row().note
    import sqlite3
    assert row().protection == "refreshed" and f"SQLite {sqlite3.sqlite_version}" in row().note, row().note
    assert snapsafe_rt.status().protected
    """
    run_python(script, source_file.path, env=source_file.env)


def test_without_a_restore_nothing_differs(run_python, source_file):
    """Errors, results and the number of rows are stock's."""
    script = """
    from stage import error
    other = connection.cursor()
    print(error(connection.execute), error(other.execute, 1), error(other.execute, "nonsense"), error(next, other))
    print(error(other.fetchmany, "x"), error(other.fetchone, 1), error(other.fetchmany), other.fetchall())
    print(error(connection.executemany, "INSERT INTO t VALUES (?, ?)", [(1,)]), error(connection.executescript, 1))
    print([value for value, in connection.execute("VALUES (1), (2), (3)")], error(sqlite3.Cursor.__next__, 1))
    print(connection.execute("VALUES (1), (2), (3)").fetchmany(size=2), connection.commit(), connection.rollback())
    connection.close()
    print(error(connection.execute, "SELECT 1"), error(next, other), error(connection.commit))
    """
    activated = run_python(HEAD + script, source_file.path, env=source_file.env)
    assert activated == run_python(HEAD + script, source_file.path, activated=False)


@pytest.mark.parametrize("drawing", [True, False])
def test_fork_while_another_thread_draws(run_python, source_file, drawing):
    """The child lacks the thread that has the generator's mutex. What notices a restore there does not wait for it."""
    told = run_python(PROGRAMS / "sqlite_fork.py", source_file.path, drawing, env=source_file.env).split()
    assert told == (["unprotected", "True"] if drawing else ["refreshed", "False"])
