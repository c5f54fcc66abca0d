"""The restore event: who is called, in which order, in which thread, and what comes of errors."""

import pytest

# A bump that the watcher may hear of too; `seen` waits for it without sleeping.
STAGE = """
    import os, sys, threading
    import snapsafe_rt
    from restored import until
    from stage import bump
    calls = []
    def note(name):
        def callback(*args, **kwargs):
            calls.append((name, *args, *sorted(kwargs.items())))
        return callback
"""
ALONE = {"SNAPSAFE_WATCH": "0"}


def test_order_and_arguments(run_python, source_file):
    script = (
        STAGE
        + """
    a, b = note("a"), note("b")
    assert snapsafe_rt.register_after_restore(a, 1, key=2) is a
    snapsafe_rt.register_after_restore(b)
    snapsafe_rt.register_after_restore(a)
    assert snapsafe_rt.check() == 0 and calls == []
    for epoch in (1, 2):  # nothing is consumed
        bump()
        assert snapsafe_rt.check() == epoch, snapsafe_rt.check()
        assert calls == [("a", 1, ("key", 2)), ("b",), ("a",)], calls
        assert snapsafe_rt.check() == epoch
        calls.clear()
    assert snapsafe_rt.unregister(a) and not snapsafe_rt.unregister(a)
    bump()
    snapsafe_rt.check()
    assert calls == [("b",)], calls
    """
    )
    run_python(script, source_file.path, env=source_file.env)
    run_python(script, source_file.path, env=source_file.env | ALONE)


def test_the_watcher_calls_where_nobody_checks(run_python, source_file):
    script = (
        STAGE
        + """
    done = threading.Event()
    @snapsafe_rt.register_after_restore
    def callback():
        calls.append((threading.current_thread() is threading.main_thread(), snapsafe_rt.cause(), snapsafe_rt.check()))
        done.set()
    for epoch in (1, 2, 3):
        bump()
        assert done.wait({seconds}) == {called}
        done.clear()
    print(calls)
    """
    )
    calls = "[(False, 'generation', 1), (False, 'generation', 2), (False, 'generation', 3)]"
    assert run_python(script.format(seconds=20, called=True), source_file.path, env=source_file.env).strip() == calls
    # The twin: without the watcher the same waits in vain.
    assert (
        run_python(script.format(seconds=0.2, called=False), source_file.path, env=source_file.env | ALONE).strip()
        == "[]"
    )


def test_no_thread_and_no_descriptor_but_while_something_is_registered(run_python, source_file):
    script = (
        STAGE
        + """
    def threads(): return len(os.listdir("/proc/self/task"))
    def descriptors():
        for fd in os.listdir("/proc/self/fd"):
            try:
                yield os.readlink(f"/proc/self/fd/{fd}")
            except FileNotFoundError:
                pass
    def seen(): return threads(), sorted(descriptors())
    def wait_for(state):  # the runner reads files and imports when first woken, and a thread may be about to end
        assert until(lambda: seen() == state), (state, seen())
    before = seen()
    assert before[0] == 1
    watched = (3, before[1])
    a, b = note("a"), note("b")
    snapsafe_rt.register_after_restore(a)
    snapsafe_rt.register_after_restore(b)
    wait_for(watched)
    bump()
    snapsafe_rt.check()
    snapsafe_rt.unregister(a)
    wait_for(watched)
    snapsafe_rt.unregister(b)
    wait_for(before)
    snapsafe_rt.register_before_snapshot(a)
    wait_for(watched)
    snapsafe_rt.register_after_restore(a)
    snapsafe_rt.deactivate()
    wait_for(before)
    """
    )
    run_python(script, source_file.path, env=source_file.env)


@pytest.mark.parametrize("error", ["ValueError('x')", "SystemExit(3)", "KeyboardInterrupt()"])
def test_an_error_stops_no_other_callback_and_reaches_check(run_python, source_file, error):
    script = (
        STAGE
        + f"""
    from snapsafe_rt.errors import BaseExceptionGroup
    error = {error}
    def fails(): raise error
    for callback in (note("a"), fails, note("b"), fails):
        snapsafe_rt.register_after_restore(callback)
    for epoch in (1, 2):
        bump()
        try:
            snapsafe_rt.check()
        except BaseExceptionGroup as group:
            assert group.exceptions == (error, error), group
            assert isinstance(group, Exception) == isinstance(error, Exception)
        else:
            raise AssertionError("nothing was raised")
        assert calls == [("a",), ("b",)]
        calls.clear()
        assert snapsafe_rt.check() == epoch
    event = snapsafe_rt.status().last_event
    assert event["callbacks"] == 4 and len(event["errors"]) == 2 and "fails" in event["errors"][0], event
    """
    )
    run_python(script, source_file.path, env=source_file.env | ALONE)


def test_an_error_in_the_watchers_thread_is_reported(run_python, source_file):
    script = (
        STAGE
        + """
    reported, done = [], threading.Event()
    sys.unraisablehook = lambda args: reported.append((args.exc_type, args.object))
    def fails(): raise ValueError
    snapsafe_rt.register_after_restore(fails)
    snapsafe_rt.register_after_restore(done.set)
    bump()
    assert done.wait(20)
    try:
        snapsafe_rt.check()
    except BaseException:
        pass
    while len(reported) < 1:
        os.sched_yield()
    assert reported == [(ValueError, fails)], reported
    """
    )
    run_python(script, source_file.path, env=source_file.env)


def test_before_a_snapshot_the_last_registered_is_first(run_python, source_file):
    script = (
        STAGE
        + """
    from snapsafe_rt.snapshot.snapstart import run_before
    from snapsafe_rt.errors import ExceptionGroup
    def fails(): raise ValueError("no")
    a, b, after = note("a"), note("b"), note("after")
    snapsafe_rt.register_before_snapshot(a, 1)
    snapsafe_rt.register_at_snapshot(before=b, after_in_clone=after)
    snapsafe_rt.register_before_snapshot(fails)
    for _ in range(2):  # nothing is consumed
        try:
            run_before()
        except ExceptionGroup as group:
            assert [str(error) for error in group.exceptions] == ["no"]
        assert calls == [("b",), ("a", 1)], calls
        calls.clear()
    assert snapsafe_rt.check() == 0 and calls == []
    bump()
    assert snapsafe_rt.check() == 1 and calls == [("after",)], calls
    assert snapsafe_rt.unregister(b) and snapsafe_rt.unregister(after) and not snapsafe_rt.unregister(b)
    bump()
    snapsafe_rt.check()
    assert calls == [("after",)], calls
    for wrong in (lambda: snapsafe_rt.register_at_snapshot(), lambda: snapsafe_rt.register_at_snapshot(before=1),
                  lambda: snapsafe_rt.register_after_restore(None)):
        try:
            wrong()
        except TypeError:
            continue
        raise AssertionError("no TypeError")
    """
    )
    run_python(script, source_file.path, env=source_file.env)
