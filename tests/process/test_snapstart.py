"""AWS Lambda SnapStart: our hooks among those of the real snapshot_restore_py, run by the real awslambdaric.

Both come from PyPI and are no dependencies: without them this is skipped; `.ci/companions` has them."""

import importlib.util
import os
import random
import textwrap

import pytest

from ..conftest import FOLDER, PACKAGE, PROGRAMS
from ..helpers.lambda_runtime import run_function

MISSING = [name for name in ("snapshot_restore_py", "awslambdaric") if importlib.util.find_spec(name) is None]
pytestmark = [pytest.mark.any_python, pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")]

APP = (PROGRAMS / "snapstart_app.py").read_text()
BEFORE = ["handler's before", "program's before"]
ACTIVATED = {"PYTHONPATH": os.pathsep.join(map(str, [FOLDER, PACKAGE.parent])), "SNAPSAFE_SOURCES": "vmclock:/none"}


@pytest.fixture
def function(tmp_path):
    def run(*, app=APP, env=ACTIVATED, restored=lambda: None, more=""):
        (tmp_path / "app.py").write_text(app + textwrap.dedent(more))
        return run_function(tmp_path, env, restored)

    return run


def of_template(answer):
    """What each clone would draw that went on from the snapshot's state."""
    version, internal, gauss = answer["state"]
    twin = random.Random()
    twin.setstate((version, tuple(internal), gauss))
    return twin.random()


def test_told_before_the_handler_is(function):
    answer, errors, _, said = function()
    assert answer, (errors, said)
    assert answer["order"] == [*BEFORE, "program's after, notified", "handler's after, 1"]
    assert answer["epoch"] == 1
    assert answer["drawn"] != of_template(answer)


def test_twin_without_activation_repeats_the_template(function):
    answer, errors, _, said = function(env={"PYTHONPATH": ""})
    assert answer, (errors, said)
    assert answer["order"] == ["handler's before", "handler's after, None"]
    assert answer["drawn"] == of_template(answer)


@pytest.mark.parametrize("seen_earlier", [False, True])
def test_one_restore_is_one_epoch_with_a_counter_too(function, synchronous_source, seen_earlier):
    more = """
        hooks.get_after_restore().insert(0, (snapsafe_rt.check, (), {}))  # somebody looks before our hook does
    """
    answer, errors, _, said = function(
        env=ACTIVATED | synchronous_source.env,
        restored=synchronous_source.bump,
        more=more if seen_earlier else "",
    )
    assert answer, (errors, said)
    assert answer["order"] == [*BEFORE, "program's after, generation", "handler's after, 1"]
    assert answer["epoch"] == 1


def test_a_counter_that_stands_still_does_not_hide_the_restore(function, synchronous_source):
    answer, _, _, said = function(env=ACTIVATED | synchronous_source.env)
    assert answer["epoch"] == 1, said


def test_an_asynchronous_file_that_has_moved_is_the_same_restore(function, source_file):
    more = """
        for callback in ours_before, ours_after:  # no watcher that could be first
            snapsafe_rt.unregister(callback)
    """
    answer, _, _, said = function(env=ACTIVATED | source_file.env, restored=source_file.bump, more=more)
    assert answer["epoch"] == 1, said


@pytest.mark.parametrize(
    ("kind", "status", "path", "name"),
    [
        ("before_snapshot", 64, "/init/error", "Runtime.BeforeSnapshotError"),
        ("after_restore", 65, "/restore/error", "Runtime.AfterRestoreError"),
    ],
)
def test_what_a_callback_raises_ends_the_environment_as_a_hook_would(function, kind, status, path, name):
    more = f"""
        @snapsafe_rt.register_{kind}
        def fails(): raise RuntimeError("no way to the database")
    """
    answer, errors, code, said = function(more=more)
    assert answer is None
    assert code == status
    (told,) = errors
    assert told[:2] == (path, name)
    assert "Group" in told[2]["errorType"], told
    assert "RuntimeError: no way to the database" in said
    assert "in fails" in said, "with its traceback"


SCRIPT = """
import sys
from awslambdaric import lambda_runtime_hooks_runner as runner
import snapshot_restore_py as hooks
import snapsafe_rt
BEFORE, AFTER = hooks.get_before_snapshot(), hooks.get_after_restore()
said = []
"""


def test_a_second_snapshot_is_told_too(run_python):
    run_python(
        SCRIPT
        + """
snapsafe_rt.register_before_snapshot(said.append, "before")
snapsafe_rt.register_after_restore(said.append, "after")
for number in (1, 2, 3):
    runner.run_before_snapshot()
    assert BEFORE == []
    runner.run_after_restore()
    assert snapsafe_rt.epoch() == number
    assert len(BEFORE) == len(AFTER) == 1
assert said == ["before", "after"] * 3, said
"""
    )


def test_undone_exactly(run_python):
    run_python(
        """
        import snapshot_restore_py as hooks
        first = hooks.register_before_snapshot(print, 1)
        hooks.register_after_restore(print, 2)
        hooks.register_after_restore(print, 2)
        import snapsafe_rt
        lists = hooks.get_before_snapshot(), hooks.get_after_restore()
        stock = [list(entries) for entries in lists]
        for _ in range(2):
            snapsafe_rt.activate(sources="vmclock:/none")
            snapsafe_rt.activate()
            assert [entries[1:] for entries in lists] == stock, "in front of the program's"
            assert lists == (hooks.get_before_snapshot(), hooks.get_after_restore())
            snapsafe_rt.deactivate()
            assert list(lists) == stock
            assert all(a is b for entries, old in zip(lists, stock) for a, b in zip(entries, old))
        """,
        activated=False,
    )


def test_imported_again_or_emptied(run_python):
    run_python(
        SCRIPT
        + """
import importlib
level = lambda: next((row.protection, row.note) for row in snapsafe_rt.status().rows if row.name == "snapstart")
assert level() == ("refreshed", "notify_restored() is called before the handler's own hooks")
importlib.reload(hooks)
assert hooks.get_after_restore() is not AFTER
assert [len(hooks.get_before_snapshot()), len(hooks.get_after_restore())] == [1, 1]
del sys.modules["snapshot_restore_py"]
import snapshot_restore_py as again
assert again is not hooks
assert [len(again.get_before_snapshot()), len(again.get_after_restore())] == [1, 1]
again.get_after_restore().clear()
assert level()[0] == "unprotected" and "emptied" in level()[1]
snapsafe_rt.deactivate()
for module in (hooks, again):
    assert module.get_before_snapshot() == module.get_after_restore() == []
"""
    )


def test_the_main_interpreter_alone_registers(run_python):
    run_python(
        """
        try:
            import _interpreters as interpreters
            one = interpreters.create("legacy")
        except ImportError:
            import _xxsubinterpreters as interpreters
            one = interpreters.create(isolated=False)
        import snapshot_restore_py as hooks
        assert len(hooks.get_after_restore()) == 1
        failed = interpreters.run_string(one, '''if True:
            import snapsafe_rt
            snapsafe_rt.activate()
            import snapshot_restore_py as hooks
            assert hooks.get_before_snapshot() == hooks.get_after_restore() == [], hooks.get_after_restore()
            assert "main interpreter" in next(row.note for row in snapsafe_rt.status().rows if row.name == "snapstart")
        ''')
        assert not failed, failed
        """,
        dev=False,
    )


def test_nothing_is_registered_where_it_is_switched_off(run_python):
    script = "import snapshot_restore_py as hooks; print(hooks.get_before_snapshot(), hooks.get_after_restore())"
    assert run_python(script, env={"SNAPSAFE": "0"}).strip() == "[] []"
    assert "before_snapshot" in run_python(script)


def test_our_part_of_the_ten_seconds(run_python):
    """Lambda gives all hooks together 10 s after the restore. Without callbacks ours takes about a millisecond."""
    printed = run_python(
        SCRIPT
        + """
import bisect, random, ssl, sqlite3, time, uuid
many = [random.Random() for _ in range(100_000)]
runner.run_before_snapshot()
imported = set(sys.modules)
begin = time.perf_counter()
runner.run_after_restore()
print(time.perf_counter() - begin)
assert snapsafe_rt.epoch() == 1
assert not set(sys.modules) - imported, set(sys.modules) - imported
""",
        dev=False,
    )
    assert float(printed) < 1, printed
