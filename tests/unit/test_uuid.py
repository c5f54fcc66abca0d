"""uuid while it is patched and nothing was restored: as the standard library's, and exactly so once it is not."""

import sys

import pytest

from ..conftest import PROGRAMS

pytestmark = pytest.mark.internals

HEAD = """
    import sys
    from builds import FREE_THREADED
    import snapsafe_rt
    from snapsafe_rt.core import native
    from snapsafe_rt.guards import table
    path = sys.argv[1] if len(sys.argv) > 1 else ""
    FUNCTIONS = ("uuid1", "uuid3", "uuid4", "uuid5", "uuid6", "uuid7", "uuid8", "getnode", "main")

    def bump():
        import os, struct
        fd = os.open(path, os.O_RDWR)
        os.pwrite(fd, struct.pack("<Q", struct.unpack("<Q", os.pread(fd, 8, 0x68))[0] + 1), 0x68)
        os.close(fd)

    def protection():
        return {name: (level, note) for name, level, note in table.report()}["uuid"]

    def exchanged():
        installed = table.load("uuid")._installed
        return {name for _, functions, _ in installed for name, one in functions.items() if one.in_place()}
"""

SEEN = """
    import inspect, pickle, uuid
    functions = [getattr(uuid, name) for name in FUNCTIONS if hasattr(uuid, name)]
    for function in functions:
        assert pickle.loads(pickle.dumps(function)) is function
        print(repr(function).split(" at ")[0], function.__module__, function.__qualname__, function.__doc__,
              function.__defaults__, function.__kwdefaults__, function.__annotations__, vars(function))
        print(inspect.signature(function), inspect.getsourcelines(function), inspect.getsourcefile(function))
        print(function.__code__.co_name, function.__code__.co_filename, function.__code__.co_firstlineno)
    for name in ("uuid1", "uuid4", "uuid6", "uuid7", "uuid8"):
        if hasattr(uuid, name):
            value = getattr(uuid, name)()
            copy = pickle.loads(pickle.dumps(value))
            assert copy == value == uuid.UUID(str(value)) and hash(copy) == hash(value)
            assert copy.is_safe is value.is_safe
            assert value.version == int(name[4:]) and value.variant == uuid.RFC_4122 and type(value) is uuid.UUID
            assert type(value.int) is int and value.int.bit_length() <= 128 and not hasattr(value, "__dict__")
            print(type(value), value.is_safe, sys.getsizeof(value), len(repr(value)))
"""


def test_looks_the_same(run_python, synchronous_source):
    activated = run_python(HEAD + SEEN, env=synchronous_source.env)
    assert activated == run_python(HEAD + SEEN, activated=False)


def test_undo_is_exact(run_python, synchronous_source):
    script = """
    import uuid
    codes = lambda: {name: getattr(uuid, name).__code__ for name in FUNCTIONS if hasattr(uuid, name)}
    plain, names, cls, bound = codes(), dict(vars(uuid)), dict(vars(uuid.UUID)), uuid.uuid4
    for _ in range(3):
        snapsafe_rt.activate("vmclock:" + path)
        snapsafe_rt.activate("vmclock:" + path)
        assert exchanged() == {name for name in table.load("uuid").covers if hasattr(uuid, name)}
        assert all(code is plain[name] for name, code in codes().items())
        assert bound is uuid.uuid4 and bound() != bound()
        assert (native.pool_left() > 0) is not FREE_THREADED and protection()[0] == "guarded"
        snapsafe_rt.deactivate()
        assert native.pool_left() == 0
        assert not exchanged() and all(code is plain[name] for name, code in codes().items())
        assert list(vars(uuid)) == list(names) and all(vars(uuid)[name] is names[name] for name in names)
        assert dict(vars(uuid.UUID)) == cls
    """
    run_python(HEAD + script, synchronous_source.path, activated=False)


def test_a_gap_without_us_leaves_no_bytes_behind(run_python, synchronous_source):
    """What was drawn ahead before deactivate() must not come after the next activate()."""
    script = """
    import uuid
    for _ in range(2):
        snapsafe_rt.activate("vmclock:" + path)
        assert native.pool_left() == 0
        uuid.uuid4()
        assert (native.pool_left() > 0) is not FREE_THREADED
        snapsafe_rt.deactivate()
    """
    run_python(HEAD + script, synchronous_source.path, activated=False)


def test_pool_only_while_synchronous(run_python, synchronous_source):
    script = """
    import os, uuid
    fd = os.open(path, os.O_RDWR)
    for synchronous in (1, 0, 1, 0):
        os.pwrite(fd, bytes([synchronous]), 0x808)
        drawn = [uuid.uuid4() for _ in range(600)]
        ahead = bool(synchronous) and not FREE_THREADED
        assert len(set(drawn)) == 600 and (native.pool_left() > 0) == ahead
        assert protection()[0] == "guarded" and ("ahead" in protection()[1].split(";")[0]) == ahead
    """
    run_python(HEAD + script, synchronous_source.path, env=synchronous_source.env)


def test_without_a_source(run_python):
    script = """
    import uuid
    assert len({uuid.uuid4() for _ in range(1000)}) == 1000 and native.pool_left() == 0
    """
    run_python(HEAD + script, env={"SNAPSAFE_SOURCES": "vmclock:/nonexistent"})


@pytest.mark.parametrize("activated", [True, False])
def test_mocks(run_python, synchronous_source, activated):
    run_python(PROGRAMS / "uuid_mocks.py", env=synchronous_source.env, activated=activated)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="uuid7 came with 3.14")
@pytest.mark.parametrize("activated", [True, False])
def test_uuid7_and_its_globals(run_python, synchronous_source, activated):
    """They can be read and written as the standard library's own, the native path and mocks alternating."""
    script = """
    import os, time, uuid
    from unittest import mock
    counter = lambda value: value.int >> 32 & 0x3fffffff | (value.int >> 64 & 0xfff) << 30
    now = time.time_ns() // 1_000_000
    drawn = [uuid.uuid7() for _ in range(20_000)]
    assert drawn == sorted(drawn) and now <= drawn[0].time <= drawn[-1].time <= time.time_ns() // 1_000_000 + 1
    assert (uuid._last_timestamp_v7, uuid._last_counter_v7) == (drawn[-1].time, counter(drawn[-1]))
    ahead = now + 10**9
    with mock.patch.multiple(uuid, _last_timestamp_v7=ahead, _last_counter_v7=41):
        value = uuid.uuid7()
        assert (value.time, counter(value)) == (ahead + 1, 42) == (uuid._last_timestamp_v7, uuid._last_counter_v7)
        with mock.patch("time.time_ns", return_value=(ahead + 1) * 1_000_000):
            value = uuid.uuid7()
            assert (value.time, counter(value)) == (ahead + 1, 43)
        value = uuid.uuid7()
        assert (value.time, counter(value)) == (ahead + 2, 44)
        uuid._last_counter_v7 = 0x3ff_ffff_ffff
        value = uuid.uuid7()
        assert value.time == ahead + 4 and counter(value) <= 0x1ff_ffff_ffff
    value = uuid.uuid7()
    assert drawn[-1] < value and value.time <= time.time_ns() // 1_000_000
    with mock.patch("os.urandom", return_value=bytes(10)), mock.patch.object(uuid, "_last_timestamp_v7", None):
        assert counter(uuid.uuid7()) == 0
    """
    run_python(HEAD + script, env=synchronous_source.env, activated=activated, dev=False)


def test_fresh_copies_and_reload(run_python, synchronous_source):
    """Another module object has a UUID class of its own; a reload makes new functions in the same one."""
    script = """
    import importlib, uuid
    old, bound = uuid, uuid.uuid4
    del sys.modules["uuid"]
    import uuid
    assert uuid is not old and type(uuid.uuid4()) is uuid.UUID is not old.UUID is type(old.uuid4())
    assert bound is old.uuid4 and protection()[0] == "guarded"
    importlib.reload(uuid)
    assert type(uuid.uuid4()) is uuid.UUID and protection()[0] == "guarded"
    bump()
    assert len({node() for node in (uuid.getnode, old.getnode)}) == 1
    assert uuid.uuid1().node == old.uuid1().node == old.getnode()
    known = [one for _, functions, _ in table.load("uuid")._installed for one in functions.values()]
    assert all(one.in_place() for one in known) and bound in [one.function for one in known]
    snapsafe_rt.deactivate()
    assert not any(one.in_place() for one in known)
    """
    run_python(HEAD + script, synchronous_source.path, env=synchronous_source.env)


def test_replaced_by_another_library(run_python, synchronous_source):
    script = """
    import uuid
    uuid.uuid4 = lambda: uuid.UUID(int=4)
    snapsafe_rt.activate("vmclock:" + path)
    assert uuid.uuid4().int == 4 and "uuid1" in exchanged()
    level, note = protection()
    assert level == "unprotected" and note == "uuid.uuid4 was replaced by __main__.<lambda>", note
    """
    run_python(HEAD + script, synchronous_source.path, activated=False)


def test_nothing_is_imported(run_python, synchronous_source):
    """The program that does not use uuid does not pay for it."""
    script = """
    assert "uuid" not in sys.modules and "snapsafe_rt.guards.uuid" not in sys.modules
    before = set(sys.modules)
    import uuid
    if sys.argv[1:] == ["without"]:
        print(*sorted(sys.modules.keys() - before))
    else:
        print(*sorted(name for name in sys.modules.keys() - before if not name.startswith("snapsafe_rt.")))
    """
    ours = run_python(HEAD + script, env=synchronous_source.env, dev=False)
    assert ours == run_python(HEAD + script, "without", activated=False, dev=False)


def test_after_a_restore(run_python, synchronous_source):
    run_python(PROGRAMS / "uuid_after_a_restore.py", synchronous_source.path, env=synchronous_source.env)


def test_cpythons_own(run_python, synchronous_source):
    """CPython's test_uuid, activated."""
    pytest.importorskip("test.test_uuid", reason="this Python came without its tests")
    script = """
    import io, unittest
    import test.test_uuid as tests
    known = [one.function for _, functions, _ in table.load("uuid")._installed for one in functions.values()]
    assert tests.py_uuid.uuid4 in known and tests.c_uuid.uuid1 in known
    out = io.StringIO()
    result = unittest.TextTestRunner(out).run(unittest.defaultTestLoader.loadTestsFromModule(tests))
    assert result.wasSuccessful() and result.testsRun > 50, out.getvalue()
    """
    run_python(HEAD + script, env=synchronous_source.env, dev=False)
