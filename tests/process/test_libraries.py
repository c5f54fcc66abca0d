"""Libraries with random state of their own: renewed by the restore event, or named as unprotected; and the twins."""

import json
import textwrap

import pytest

from snapsafe_rt.guards import table
from snapsafe_rt.report import remote

from ..conftest import need
from ..helpers.looking import rows
from ..helpers.surfaces import TABLE

CLONES = 20

# Of the table: what the restore event renews, and what is only named. test_library_guards.py draws from the others.
SURFACES = {one.name: one for one in TABLE if one.library}
RENEWED = [
    name
    for name, one in SURFACES.items()
    if one.library in table.TABLE and table.load(one.library).level == "refreshed"
]
NAMED = [name for name, one in SURFACES.items() if one.library in table.NAMED]
LIBRARIES = sorted({SURFACES[name].library for name in RENEWED})

HEAD = """
import sys
sys.argv[1:2] = sys.argv[1:2] or [""]
from drawing import distinct
from snapsafe_rt.guards import table
CLONES = 20

def renewed(draw, thread=False):
    '''`draw` after what the restore event does for the libraries; in a thread of its own it must reach this one.'''
    def then():
        import threading
        failed = []
        if thread:
            one = threading.Thread(target=lambda: failed.extend(table.refresh()))
            one.start()
            one.join()
        else:
            failed += table.refresh()
        assert not failed, failed
        return draw()
    return then
"""


def drawing(name):
    """Code that sets `draw`."""
    return f"from surfaces import select\ndraw = select({name!r})[0].prepare()\n"


def first_of(library):
    return next(name for name in RENEWED if SURFACES[name].library == library)


def script(name, tail):
    return HEAD + drawing(name) + textwrap.dedent(tail)


@pytest.fixture
def unwatched(source_file):
    """For clones: their template would notice what the first of them writes, and be renewed before it makes the next;
    and who is cloned must have no thread but one."""
    return source_file.env | {"SNAPSAFE_WATCH": "0"}


@pytest.fixture(params=RENEWED)
def name(request):
    need(SURFACES[request.param].library)
    return request.param


@pytest.mark.parametrize("thread", [False, True], ids=["here", "from another thread"])
def test_renewed_by_the_restore_event(run_python, source_file, unwatched, name, thread):
    text = script(name, f"print(distinct(renewed(draw, {thread}), draw, CLONES))")
    assert int(run_python(text, source_file.path, env=unwatched, options=["-W", "ignore"])) == CLONES


def test_repeats_without_the_event(run_python, source_file, unwatched, name):
    """The twin; activated, since activation alone does not reach it."""
    if SURFACES[name].library == "cryptography" and _shares_libcrypto(run_python):
        pytest.skip("it uses the system's libcrypto, which is guarded")
    text = script(name, "print(distinct(draw, draw, CLONES))")
    assert int(run_python(text, source_file.path, env=unwatched, options=["-W", "ignore"])) == 1


def _shares_libcrypto(run_python):
    text = "import snapsafe_rt, cryptography.hazmat.bindings._rust\nfrom snapsafe_rt.guards import table\n"
    return "guarded" in run_python(text + "print(table.load('cryptography').protection())")


def test_two_threads_of_a_clone_do_not_repeat_each_other(run_python, source_file, unwatched):
    """A thread that drew before the event, and one that began after it: their generators have one parent."""
    need("cryptography")
    tail = """
    from drawing import in_thread
    def both():
        assert not table.refresh()
        drawn = {draw(), in_thread(draw), draw(), in_thread(draw)}
        assert len(drawn) == 4
        return b"".join(sorted(drawn))
    print(distinct(both, draw, CLONES))
    """
    text = script("ed25519_key", tail)
    assert int(run_python(text, source_file.path, env=unwatched, options=["-W", "ignore"])) == CLONES


@pytest.mark.parametrize("watch", ["1", "0"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_its_row_is_worth_what_a_watcher_makes_it(living, source_file, library, watch):
    """Its import starts the watcher; without one only check() renews it, and who calls that?"""
    need(library)
    one = living(env={**source_file.env, "SNAPSAFE_WATCH": watch}, options=["-W", "ignore"])
    assert rows(remote.inspect(one.pid))[library] == "not loaded"
    one(drawing(first_of(library)))
    level = one(f"""
import snapsafe_rt
answer = next(row.protection for row in snapsafe_rt.status().rows if row.name == {library!r})
""")
    if level == "guarded":
        pytest.skip("it uses the system's libcrypto")
    found = remote.inspect(one.pid)
    assert level == rows(found)[library] == ("refreshed" if watch == "1" else "unprotected")
    assert found.protected == (watch == "1")
    one("from snapsafe_rt.guards import table; snapsafe_rt.deactivate()")
    assert one("answer = table.refreshers()") == []


def test_its_restore_is_seen_by_the_watcher(run_python, source_file):
    """From the change of the source to another value, while the program does nothing at all."""
    script = """
    import os, sys, time
    from refreshed_library import drawn
    from stage import bump
    before = drawn()
    bump()
    until = time.monotonic() + 20
    while drawn() == before:
        assert time.monotonic() < until
    """
    run_python(script, source_file.path, env=source_file.env, options=["-W", "ignore"])


@pytest.mark.parametrize("library", LIBRARIES)
def test_strict_refuses_what_nobody_would_renew(run_python, source_file, library):
    need(library)
    env = {**source_file.env, "SNAPSAFE_STRICT": "1", "SNAPSAFE_WATCH": "0"}
    code = drawing(first_of(library))
    said = run_python(code, env=env, status=78, stream="stderr", options=["-W", "ignore"])
    assert f"{library} is unprotected" in said
    run_python(code, env={**env, "SNAPSAFE_WATCH": "1"}, options=["-W", "ignore"])


def test_one_that_fails_does_not_stop_the_others(run_python, source_file):
    script = """
    from refreshed_library import drawn
    from snapsafe_rt.guards import table
    guard = table.load("kombu")
    old = guard.refresh
    def refresh():
        old()
        raise ValueError("no")
    guard.refresh = refresh
    before = drawn()
    failed = table.refresh()
    assert [str(error) for error in failed] == ["no"], failed
    assert drawn() != before
    """
    run_python(script, env=source_file.env, options=["-W", "ignore"])


# ---- libraries without an adapter ----


@pytest.mark.parametrize("module", sorted(trigger for triggers in table.NAMED.values() for trigger in triggers))
def test_a_loaded_library_is_named(living, source_file, tmp_path, module):
    """By status() within and by `status --pid`, loaded before activation or after it."""
    *folders, name = module.split(".")
    folder = tmp_path
    for part in folders:
        folder = folder / part
        folder.mkdir()
        (folder / "__init__.py").write_text("")
    (folder / f"{name}.py").write_text("")
    one = living(env=source_file.env)
    one(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import snapsafe_rt")
    assert remote.inspect(one.pid).protected
    one(f"import {module}")
    title = table.TRIGGERS[module]
    for _ in range(2):
        found = remote.inspect(one.pid)
        assert found.unprotected == [title]
        assert not found.protected
        assert one("answer = snapsafe_rt.status().unprotected") == [title]
        assert one("answer = snapsafe_rt.status().protected") is False
        one("snapsafe_rt.deactivate(); snapsafe_rt.activate()")
    assert table.load(title).advice in {row.note for row in found.rows}
    one(f"del sys.modules[{module!r}]; snapsafe_rt.status()")
    assert remote.inspect(one.pid).protected


@pytest.mark.parametrize("library", NAMED)
def test_what_is_named_repeats_itself(run_python, source_file, library):
    """Else the row would be an alarm for nothing."""
    need(library)
    tail = """
    import json, snapsafe_rt
    status = snapsafe_rt.status()
    print(json.dumps([status.unprotected, distinct(draw, draw, CLONES)]))
    """
    text = script(library, tail)
    told = json.loads(run_python(text, source_file.path, env=source_file.env, options=["-W", "ignore"]))
    assert told == [[library], 1]


def test_unrelated_imports_pay_nothing(run_python, source_file):
    script = """
    import json, csv, xml.dom.minidom, sys
    assert "snapsafe_rt.guards.libraries" not in sys.modules
    assert {name for name in sys.modules if name.startswith("snapsafe_rt.guards.")} <= {
        "snapsafe_rt.guards.table"
    }, sys.modules
    """
    run_python(script, env=source_file.env, dev=False)


def test_what_is_exchanged_is_not_compiled_for_it(run_python, source_file):
    """An audit hook may refuse that. Our own files are compiled where they have no bytecode, as any module is."""
    script = """
    import sys
    compiled = []
    sys.addaudithook(lambda event, arguments: event == "compile" and compiled.append(str(arguments[1])))
    import random, uuid
    print(*sorted(name for name in compiled if "snapsafe_rt" not in name))
    """
    ours, stock = (
        run_python(script, env=source_file.env, dev=False, activated=activated) for activated in (True, False)
    )
    assert ours == stock
