"""SQLite's libraries: every step of _sqlite3 looks at the epoch, others who use SQLite are served or left alone, and
what cannot be reached is not claimed. test_sqlite.py proves that what is reached repeats nothing."""

import shutil
from pathlib import Path

import pytest

from snapsafe_rt.report import remote

from ..conftest import PROGRAMS

CLONES = 50
HEAD = """
    from sqlite_library import *
    from snapsafe_rt import _core
"""


@pytest.fixture
def real_copy(run_python, tmp_path):
    """Copies of the libsqlite3 that `sqlite3` uses."""
    script = "import sqlite3, libcrypto; print(libcrypto.path_of('libsqlite3') or '')"
    path = run_python(script, activated=False).strip()
    if not path:
        pytest.skip("_sqlite3 has its SQLite inside")
    return lambda name: shutil.copy(Path(path).resolve(), tmp_path / name)


# What draws salts and nonces rather than values: prepared, then called.
STEPS = {
    "commit": ("", "connection.commit()"),
    "rollback": ("", "connection.rollback()"),
    "with": ("", "connection.__exit__(None, None, None)"),
    "close": ("", "connection.close()"),
    "backup": ("", "connection.backup(other)"),
    "blobopen": ("", "connection.blobopen('t', 'x', 1).close()"),
    "Blob.write": ("blob = connection.blobopen('t', 'x', 1)", "blob.write(b'x'); blob.close()"),
}


@pytest.mark.parametrize(("before", "step"), STEPS.values(), ids=STEPS)
def test_every_step_looks_at_the_epoch(run_python, source_file, before, step):
    script = f"""
    if "blob" in {step!r} and not hasattr(connection, "blobopen"):
        sys.exit()
    connection.execute("INSERT INTO t VALUES (1, zeroblob(9))")
    connection.commit()
    other = connect()
    atexit.register(other.close)
    {before}
    count = resets()
    source.bump()
    {step}
    assert resets() == count + 1
    """
    run_python(HEAD + script, source_file.path, env=source_file.env)


# ---- others who use SQLite ----


@pytest.mark.parametrize("activated", [True, False], ids=["", "twin"])
def test_others_are_served_when_a_restore_is_noticed(run_python, source_file, activated):
    """Whoever calls the library past _sqlite3: as soon as any guard notices, here that of `random`."""
    script = """
    import random
    print(distinct(lambda: [random.random(), randomness(library())][1], used))
    """
    env = source_file.env if activated else {}
    output = run_python(HEAD + script, source_file.path, env=env, activated=activated)
    assert int(output) == (CLONES if activated else 1)


def test_a_library_that_is_not_in_use_stays_so(run_python, source_file, real_copy):
    """sqlite3_config() is refused once the library was initialised, so we must not be the ones who do that."""
    script = """
    SQLITE_CONFIG_SERIALIZED = 3
    name = os.path.basename(sys.argv[2])
    own = library(sys.argv[2])
    for _ in range(2):
        source.bump()
        used()
        assert row().protection == "refreshed", row().note
        assert own.sqlite3_config(SQLITE_CONFIG_SERIALIZED) == 0
        assert (states()[name].state, states()[name].resets) == ("seen", 0)
    stock = at(own.sqlite3_vfs_find(None) + RANDOMNESS)     # initialises it
    source.bump()
    used()
    assert (states()[name].state, states()[name].resets, states()[name].fenced) == ("ready", 1, True)
    seeds = _core.sqlite_seeds()
    randomness(own)
    assert _core.sqlite_seeds() == seeds + 1
    snapsafe_rt.deactivate()
    assert at(own.sqlite3_vfs_find(None) + RANDOMNESS) == stock
    """
    run_python(HEAD + script, source_file.path, real_copy("libsqlite3-1234.so.0"), env=source_file.env)


def test_one_that_others_use_is_worth_what_a_watcher_makes_it(living, source_file, real_copy):
    """No statement of theirs is seen, as of a module in the place of sqlite3: reset when a restore is noticed."""
    one = living(env=source_file.env)
    path = real_copy("libother.so")
    ask = "answer = next([r.protection, r.note] for r in snapsafe_rt.status().rows if r.name == 'sqlite3')"
    one(f"import ctypes, snapsafe_rt; other = ctypes.CDLL({str(path)!r})")
    assert one(ask)[0] == "not loaded"
    assert remote.inspect(one.pid).protected
    one("other.sqlite3_initialize(); snapsafe_rt.check()")
    seen = remote.inspect(one.pid)
    assert seen.unprotected == ["sqlite3"]
    assert str(path) in " ".join(seen.reasons)
    level, note = one(ask)
    assert level == "unprotected"
    assert str(path) in note
    one("snapsafe_rt.register_after_restore(id, 1)")
    assert one(ask)[0] == "refreshed"
    assert remote.inspect(one.pid).protected


def test_a_vfs_of_the_programs_own_keeps_giving_the_seed(run_python, source_file):
    """It may look at the epoch itself, with SQLite's mutex held: it waits neither for itself nor for another thread."""
    run_python(PROGRAMS / "sqlite_vfs.py", source_file.path, env=source_file.env)


# ---- what can be reached ----


@pytest.mark.parametrize("activated", [True, False], ids=["", "twin"])
def test_under_another_name_it_is_found_through_the_module(run_python, source_file, real_copy, activated):
    """As one that is linked into _sqlite3 and shows its symbols."""
    script = f"""
    print(distinct(*reversed(SURFACES["randomblob"])))
    if {activated}:
        assert row().protection == "refreshed", row().note
        assert list(states()) == ["libelsewhere.so"]
    """
    env = (source_file.env if activated else {}) | {"LD_PRELOAD": str(real_copy("libelsewhere.so"))}
    output = run_python(HEAD + script, source_file.path, env=env, activated=activated)
    assert int(output) == (CLONES if activated else 1)


@pytest.mark.parametrize("inside", [True, False], ids=["in another file", ""])
def test_what_cannot_be_reached_is_not_claimed(run_python, source_file, compile_native, real_copy, inside):
    script = """
    assert row().protection == "unprotected" and "lacks a function" in row().note, row().note
    assert connection.execute("SELECT 1").fetchall() == [(1,)]
    """
    preload = [compile_native("no_sqlite.c"), *([real_copy("libelsewhere.so")] if inside else [])]
    env = {"LD_PRELOAD": " ".join(map(str, preload))}
    run_python(HEAD + script, source_file.path, env=source_file.env | env)


def test_a_connect_that_is_refused_takes_nothing_away(run_python, source_file):
    """status() makes _sqlite3 draw a number to see where its seed comes from; an audit hook may forbid that."""
    script = """
    def forbid(event, arguments):
        if event == "sqlite3.connect":
            raise RuntimeError("forbidden")

    sys.addaudithook(forbid)
    assert row().protection == "refreshed", row().note
    """
    run_python(HEAD + script, source_file.path, env=source_file.env)


def test_the_methods_are_the_same_as_before(run_python, source_file):
    script = """
    def c_functions():
        '''PyMethodDef.ml_meth behind each descriptor, and what __next__ calls (its d_wrapped follows d_base).'''
        found = [at(id(vars(sqlite3.Cursor)["__next__"]) + object.__basicsize__ + 4 * SIZE)]
        for owner in (sqlite3.Cursor, sqlite3.Connection, getattr(sqlite3, "Blob", object)):
            for name, value in sorted(vars(owner).items()):
                if type(value).__name__ == "method_descriptor" and owner is not object:
                    found.append(at(at(id(value) + object.__basicsize__ + 3 * SIZE) + SIZE))
        return found

    stock = c_functions()
    for _ in range(3):
        snapsafe_rt.activate(["vmclock:" + sys.argv[1]])
        changed = sum(now != before for now, before in zip(c_functions(), stock, strict=True))
        assert changed == (17 if hasattr(sqlite3, "Blob") else 15), changed

        class Later(sqlite3.Cursor):
            pass

        assert [n for n, in connection.cursor(Later).execute("VALUES (1), (2)")] == [1, 2]
        count = resets()
        source.bump()
        list(connection.cursor(Later).execute("SELECT 1"))
        assert resets() == count + 1
        snapsafe_rt.deactivate()
        assert c_functions() == stock and not states()
        assert [n for n, in connection.cursor(Later).execute("VALUES (1), (2)")] == [1, 2]
    """
    run_python(HEAD + script, source_file.path, activated=False)
