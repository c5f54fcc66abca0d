"""Libraries with random state of their own: renewed by the restore event, or named as unprotected; and the twins."""

import importlib.util
import json
import textwrap

import pytest

from snapsafe_rt.guards import libraries, table
from snapsafe_rt.report import remote

from .test_record import rows

CLONES = 20

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

DRAWS = {
    "cryptography": {
        "Ed25519 key": """
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
            draw = lambda: Ed25519PrivateKey.generate().private_bytes_raw()
        """,
        "EC key": """
            from cryptography.hazmat.primitives.asymmetric import ec
            draw = lambda: ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(32, "big")
        """,
        "ECDSA signature": """
            from cryptography.hazmat.primitives import hashes
            from cryptography.hazmat.primitives.asymmetric import ec
            key = ec.derive_private_key(12345, ec.SECP256R1())
            draw = lambda: key.sign(b"one", ec.ECDSA(hashes.SHA256()))
        """,
        "RSA key": """
            from cryptography.hazmat.primitives.asymmetric import rsa
            draw = lambda: rsa.generate_private_key(65537, 1024).private_numbers().p.to_bytes(64, "big")
        """,
    },
    "bson": {
        "ObjectId": """
            from bson import ObjectId
            draw = lambda: ObjectId().binary[4:]
        """,
    },
}
CASES = [(library, name) for library, draws in DRAWS.items() for name in draws]


def script(library, name, tail):
    return HEAD + textwrap.dedent(DRAWS[library][name]) + textwrap.dedent(tail)


@pytest.fixture(params=CASES, ids=lambda case: "-".join(case))
def case(request):
    if importlib.util.find_spec(request.param[0]) is None:
        pytest.skip(f"{request.param[0]} is not installed")
    return request.param


@pytest.mark.parametrize("thread", [False, True], ids=["here", "from another thread"])
def test_renewed_by_the_restore_event(run_python, source_file, case, thread):
    text = script(*case, f"print(distinct(renewed(draw, {thread}), draw, CLONES))")
    assert int(run_python(text, source_file.path, env=source_file.env, options=["-W", "ignore"])) == CLONES


def test_repeats_without_the_event(run_python, source_file, case):
    """The twin; activated, since activation alone does not reach it."""
    if case[0] == "cryptography" and _shares_libcrypto(run_python):
        pytest.skip("it uses the system's libcrypto, which is guarded")
    text = script(*case, "print(distinct(draw, draw, CLONES))")
    assert int(run_python(text, source_file.path, env=source_file.env, options=["-W", "ignore"])) == 1


def _shares_libcrypto(run_python):
    text = "import snapsafe_rt, cryptography.hazmat.bindings._rust\nfrom snapsafe_rt.guards import table\n"
    return "guarded" in run_python(text + "print(table.room('cryptography').protection())")


def test_two_threads_of_a_clone_do_not_repeat_each_other(run_python, source_file):
    """A thread that drew before the event, and one that began after it: their generators have one parent."""
    if importlib.util.find_spec("cryptography") is None:
        pytest.skip("cryptography is not installed")
    tail = """
    from drawing import in_thread
    def both():
        assert not table.refresh()
        drawn = {draw(), in_thread(draw), draw(), in_thread(draw)}
        assert len(drawn) == 4
        return b"".join(sorted(drawn))
    print(distinct(both, draw, CLONES))
    """
    text = script("cryptography", "Ed25519 key", tail)
    assert int(run_python(text, source_file.path, env=source_file.env, options=["-W", "ignore"])) == CLONES


@pytest.mark.parametrize("watch", ["1", "0"])
@pytest.mark.parametrize("library", sorted(DRAWS))
def test_its_row_is_worth_what_a_watcher_makes_it(living, source_file, library, watch):
    """Its import starts the watcher; without one only check() renews it, and who calls that?"""
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    one = living(env={**source_file.env, "SNAPSAFE_WATCH": watch}, options=["-W", "ignore"])
    assert rows(remote.inspect(one.pid))[library] == "not loaded"
    one(textwrap.dedent(DRAWS[library][next(iter(DRAWS[library]))]))
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
    if importlib.util.find_spec("bson") is None:
        pytest.skip("bson is not installed")
    script = """
    import os, sys, time
    from bson import ObjectId
    from stage import bump
    before = ObjectId().binary[4:9]
    bump()
    until = time.monotonic() + 20
    while ObjectId().binary[4:9] == before:
        assert time.monotonic() < until
    """
    run_python(script, source_file.path, env=source_file.env, options=["-W", "ignore"])


@pytest.mark.parametrize("library", sorted(DRAWS))
def test_strict_refuses_what_nobody_would_renew(run_python, source_file, library):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    env = {**source_file.env, "SNAPSAFE_STRICT": "1", "SNAPSAFE_WATCH": "0"}
    code = textwrap.dedent(DRAWS[library][next(iter(DRAWS[library]))])
    said = run_python(code, env=env, status=78, stream="stderr", options=["-W", "ignore"])
    assert f"{library} is unprotected" in said
    run_python(code, env={**env, "SNAPSAFE_WATCH": "1"}, options=["-W", "ignore"])


def test_one_that_fails_does_not_stop_the_others(run_python, source_file):
    if importlib.util.find_spec("bson") is None:
        pytest.skip("bson is not installed")
    script = """
    import bson.objectid
    from snapsafe_rt.guards import table
    room = table.room("bson")
    old = room.refresh
    def refresh():
        old()
        raise ValueError("no")
    room.refresh = refresh
    before = bson.objectid.ObjectId().binary[4:9]
    failed = table.refresh()
    assert [str(error) for error in failed] == ["no"], failed
    assert bson.objectid.ObjectId().binary[4:9] != before
    """
    run_python(script, env=source_file.env, options=["-W", "ignore"])


# ---- libraries without an adapter ----


def test_the_two_tables_agree():
    assert set(libraries.TABLE) == table.LIBRARIES
    assert not table.LIBRARIES & set(table.TRIGGERS)
    names = [library.name for library in libraries.TABLE.values()]
    assert len(set(names)) == len(names)
    assert not set(names) & set(table.TABLE)


@pytest.mark.parametrize("module", sorted(table.LIBRARIES))
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
    title = libraries.TABLE[module].name
    for _ in range(2):
        found = remote.inspect(one.pid)
        assert found.unprotected == [title]
        assert not found.protected
        assert one("answer = snapsafe_rt.status().unprotected") == [title]
        assert one("answer = snapsafe_rt.status().protected") is False
        one("snapsafe_rt.deactivate(); snapsafe_rt.activate()")
    assert libraries.TABLE[module].note in {row.note for row in found.rows}
    one(f"del sys.modules[{module!r}]; snapsafe_rt.status()")
    assert remote.inspect(one.pid).protected


REAL = {
    "numpy": """
        import numpy.random
        draw = lambda: numpy.random.bytes(8)
    """,
    "uuid_utils": """
        import uuid_utils
        draw = lambda: uuid_utils.uuid4().bytes
    """,
    "apsw": """
        import apsw
        connection = apsw.Connection(":memory:")
        draw = lambda: next(connection.execute("select randomblob(8)"))[0]
    """,
}


@pytest.mark.parametrize("library", sorted(REAL))
def test_what_is_named_repeats_itself(run_python, source_file, library):
    """Else the row would be an alarm for nothing."""
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    tail = """
    import json, snapsafe_rt
    status = snapsafe_rt.status()
    print(json.dumps([status.unprotected, distinct(draw, draw, CLONES)]))
    """
    text = HEAD + textwrap.dedent(REAL[library]) + textwrap.dedent(tail)
    told = json.loads(run_python(text, source_file.path, env=source_file.env, options=["-W", "ignore"]))
    assert told == [[library], 1]


WAY_OUT = {
    "numpy": "numpy.random.seed()",
    "apsw": "apsw.randomness(0)",
}


@pytest.mark.parametrize("library", sorted(WAY_OUT))
def test_the_way_out_that_the_row_names(run_python, source_file, library):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    tail = f"print(distinct(lambda: ({WAY_OUT[library]}, draw())[1], draw, CLONES))"
    text = HEAD + textwrap.dedent(REAL[library]) + tail
    assert int(run_python(text, source_file.path, env=source_file.env, options=["-W", "ignore"])) == CLONES


def test_unrelated_imports_pay_nothing(run_python, source_file):
    script = """
    import json, csv, xml.dom.minidom, sys
    assert "snapsafe_rt.guards.libraries" not in sys.modules
    assert {name for name in sys.modules if name.startswith("snapsafe_rt.guards.")} <= {
        "snapsafe_rt.guards.table", "snapsafe_rt.guards.imports"
    }, sys.modules
    """
    run_python(script, env=source_file.env, dev=False)
