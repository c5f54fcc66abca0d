"""The restore event against callbacks, threads and signals that get in its way; by the watcher and by check()."""

from pathlib import Path

import pytest

from ..conftest import PROGRAMS

pytestmark = pytest.mark.internals

STAGE = """
    import os, signal, sys, threading, time
    import snapsafe_rt
    from restored import WATCHED, restore, settle, until
    from stage import bump
    register, calls = snapsafe_rt.register_after_restore, []
"""


def staged(script):
    return script if isinstance(script, Path) else STAGE + script


@pytest.fixture(params=["1", "0"], ids=["watcher", "check"])
def run(run_python, source_file, request):
    def run(script, **options):
        return run_python(
            staged(script), source_file.path, env=source_file.env | {"SNAPSAFE_WATCH": request.param}, **options
        )

    return run


@pytest.fixture
def run_alone(run_python, source_file):
    def run(script, **options):
        return run_python(staged(script), source_file.path, env=source_file.env | {"SNAPSAFE_WATCH": "0"}, **options)

    return run


def test_a_callback_draws(run):
    run("""
    import random, secrets, ssl, uuid
    @register
    def callback():
        calls.append((random.random(), os.urandom(16), secrets.token_hex(8), ssl.RAND_bytes(16), uuid.uuid4(),
                      random.Random().random(), snapsafe_rt.entropy(16)))
    for i in range(1, 21):
        assert restore() == [] and len(calls) == i, (i, calls)
    assert all(len(set(drawn)) == 20 for drawn in zip(*calls))
    """)


def test_check_waits_for_another_thread_without_a_descriptor(run_alone):
    """It imports nothing: a program at its limit of descriptors, or in a chroot, can import nothing any more."""
    run_alone("""
    import resource
    begun, go = threading.Event(), threading.Event()
    @register
    def callback():
        begun.set()
        go.wait(30)
        calls.append(1)
    bump()
    other = threading.Thread(target=snapsafe_rt.check)
    other.start()
    assert begun.wait(30)
    if "contextvars" in sys.modules:
        print("somebody else has imported it")
        sys.exit(77)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limit[1]))
    try:
        snapsafe_rt.check(timeout=0.01)
    except TimeoutError:
        go.set()
    snapsafe_rt.check()
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    other.join(30)
    assert calls == [1], calls
    """)


def test_a_callback_takes_a_lock_that_another_thread_holds_while_it_draws(run):
    run("""
    import random, ssl
    lock, go, end = threading.Lock(), threading.Event(), False
    def draw():
        while not end:
            with lock:
                go.set()
                for _ in range(200):
                    random.random(), os.urandom(8), ssl.RAND_bytes(8)
    def callback():
        with lock:
            calls.append(1)
    register(callback)
    drawing = [threading.Thread(target=draw) for _ in range(3)]
    for thread in drawing: thread.start()
    go.wait()
    for i in range(1, 31):
        assert restore() == [] and len(calls) == i
    end = True
    for thread in drawing: thread.join()
    """)


@pytest.mark.parametrize("error", ["ValueError('x')", "SystemExit(3)", "KeyboardInterrupt()", "Wordless()"])
def test_a_callback_raises_and_the_program_lives(run, error):
    run(f"""
    class Wordless(Exception):
        def __str__(self): raise ValueError
    Wordless.__repr__ = Wordless.__str__
    error = {error}
    def fails(): raise error
    register(fails)
    register(calls.append, 1)
    for i in range(1, 4):
        assert restore() == [error] and len(calls) == i
        event = snapsafe_rt.status().last_event
        assert event["epoch"] == i and event["callbacks"] == 2 and "fails" in event["errors"][0], event
    snapsafe_rt.unregister(fails)
    assert restore() == [] and len(calls) == 4
    """)


def test_one_that_hangs_is_named_and_its_outcome_is_got_later(run):
    run(PROGRAMS / "callback_that_hangs.py")


def test_callbacks_that_call_back(run):
    run("""
    @register
    def callback():
        epoch = snapsafe_rt.epoch()
        assert snapsafe_rt.check() == snapsafe_rt.check(timeout=0) == epoch
        assert snapsafe_rt.status().epoch == epoch
        assert snapsafe_rt.cause() == "generation"
        calls.append(epoch)
    for i in range(1, 4):
        assert restore() == [] and calls[-1] == i, calls
    """)


def test_a_callback_that_tells_of_a_restore_gets_another_event(run):
    run("""
    @register
    def callback():
        calls.append(snapsafe_rt.cause())
        if len(calls) < 3:
            assert snapsafe_rt.notify_restored() == len(calls) + 1
    assert restore() == [] and calls == ["generation", "notified", "notified"], calls
    assert snapsafe_rt.check() == 3
    """)


def test_one_that_always_tells_of_a_restore_does_not_keep_check(run_alone):
    run_alone("""
    register(snapsafe_rt.notify_restored)
    bump()
    begin = snapsafe_rt.check()
    # What check() returns was told of: later restores are never taken for seen.
    assert begin == snapsafe_rt.status().last_event["epoch"] < snapsafe_rt.epoch(), begin
    """)


def test_registration_in_a_callback_counts_from_the_next(run):
    run("""
    def added(): calls.append("added")
    @register
    def callback():
        calls.append("callback")
        register(added)
    assert restore() == [] and calls == ["callback"]
    snapsafe_rt.unregister(callback)
    assert restore() == [] and calls == ["callback", "added"]
    """)


def test_unregister_in_a_callback(run):
    run("""
    def one():
        calls.append(1)
        assert snapsafe_rt.unregister(one) and snapsafe_rt.unregister(three)
    def two(): calls.append(2)
    def three(): calls.append(3)
    def four(): calls.append(4)
    for callback in (one, two, three, four, two): register(callback)
    assert restore() == [] and calls == [1, 2, 4, 2], calls
    assert restore() == [] and calls == [1, 2, 4, 2, 2, 4, 2]
    def last():
        for callback in (two, four, last): snapsafe_rt.unregister(callback)
    snapsafe_rt.unregister(four), snapsafe_rt.unregister(two)
    register(last)
    assert restore() == []
    from restored import threads
    assert until(lambda: len(threads()) == 1), threads()
    """)


def test_deactivate_and_activate_in_a_callback(run):
    run("""
    @register
    def off():
        calls.append("off")
        snapsafe_rt.deactivate()
    register(calls.append, "after")
    assert restore() == [] and calls == ["off", "after"]
    bump()
    assert snapsafe_rt.check() == 1 and len(calls) == 2  # nobody looks
    snapsafe_rt.unregister(off)
    @register
    def again():
        snapsafe_rt.deactivate()
        snapsafe_rt.activate()
    snapsafe_rt.activate()  # what was between counts as a restore
    assert settle() == []
    assert calls == ["off", "after", "after"], calls
    assert restore() == [] and calls == ["off", "after", "after", "after"]
    """)


@pytest.mark.parametrize("by_watcher", [True, False])
def test_sqlite_connections_are_closed_in_checks_thread(run_python, source_file, by_watcher):
    """A connection belongs to a thread. The twin: on the watcher's thread the error is reported, not lost."""
    script = (
        STAGE
        + """
    import sqlite3
    connection = sqlite3.connect(":memory:")
    register(connection.close)
    errors = restore()
    print([type(error).__name__ for error in errors])
    connection.close()
    """
    )
    said = run_python(script, source_file.path, env=source_file.env | {"SNAPSAFE_WATCH": str(int(by_watcher))})
    assert said.strip() == ("['ProgrammingError']" if by_watcher else "[]")


@pytest.mark.parametrize("restores", [1, 100])
def test_restores_while_the_event_runs(run, restores):
    run(f"""
    left = {restores}
    @register
    def first():
        global left
        calls.append(("first", snapsafe_rt.epoch()))
        if left:
            left -= 1
            bump()
    @register
    def second():
        calls.append(("second", snapsafe_rt.epoch()))
    assert restore() == []
    while snapsafe_rt.check() != {restores} + 1:
        pass
    # Each event was run wholly, in order; the last began after the last restore.
    assert [name for name, _ in calls] == ["first", "second"] * (len(calls) // 2)
    assert calls[-2][1] == {restores} + 1, calls[-4:]
    calls.clear()
    assert restore() == [] and len(calls) == 2
    """)


def test_a_source_that_is_rewritten_without_pause(run):
    run("""
    register(calls.append, 1)
    end = False
    bump()  # the threads below may be done before this one's turn comes
    def rewrite():
        while not end: bump()
    def check():
        for _ in range(50):
            seen = snapsafe_rt.epoch()
            assert snapsafe_rt.check() >= seen
        done.append(1)
    done = []
    writing, checking = threading.Thread(target=rewrite), [threading.Thread(target=check) for _ in range(3)]
    for thread in (writing, *checking): thread.start()
    for thread in checking: thread.join()
    end = True
    writing.join()
    assert len(done) == 3 and calls
    assert settle() == []
    """)


def test_eight_threads_check_while_the_source_moves(run):
    """Each event runs once, and nobody is let through before the event of the epoch that it saw is complete."""
    run(PROGRAMS / "eight_threads_check.py")


def test_a_signals_handler_that_raises_never_leaves_the_turn_taken(run_alone):
    run_alone("""
    import random
    class Boom(Exception): pass
    def handler(*_): raise Boom
    signal.signal(signal.SIGALRM, handler)
    register(calls.append, 1)
    booms, end = 0, time.monotonic() + 3
    while time.monotonic() < end:
        bump()
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 6e-5))
                snapsafe_rt.check()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except BaseException:
            booms += 1
        assert not snapsafe_rt.restore.events.delivery.taken
    assert booms > 100 and calls, (booms, len(calls))
    """)


def test_auditors_are_told_once_a_restore_also_if_one_raises(run):
    run("""
    def hook(name, args):
        if name == "snapsafe.restore":
            calls.append(args)
            if len(calls) == 2: raise RuntimeError("no")
    sys.addaudithook(hook)
    register(calls.append, "called")
    assert restore() == [] and calls == [(1,), "called"]
    calls.clear(), calls.append("one so far")
    errors = restore()
    assert [str(error) for error in errors] == ["no"] and calls[1:] == [(2,), "called"], (errors, calls)
    """)


def test_notify_restored_without_a_source_runs_callbacks_in_the_callers_thread(run_python):
    for watch in "10":
        run_python(
            STAGE.replace("from stage import bump", "").replace(
                "from restored import WATCHED, restore, settle, until", ""
            )
            + """
    register(lambda: calls.append((threading.get_ident(), snapsafe_rt.cause())))
    def told():
        snapsafe_rt.notify_restored()
        assert calls[-1] == (threading.get_ident(), "notified"), calls
    told()
    thread = threading.Thread(target=told)
    thread.start(), thread.join()
    assert len(calls) == 2, calls
    """,
            env={"SNAPSAFE_SOURCES": "vmclock:/dev/shm/snapsafe-none/x", "SNAPSAFE_WATCH": watch},
        )


def test_a_draw_that_notices_first_does_not_eat_the_event(run):
    run("""
    import random
    register(calls.append, 1)
    bump()
    random.random()
    assert settle() == [] and calls == [1]
    """)


def test_events_and_registrations_leave_nothing_behind(run):
    run("""
    import gc, resource
    from restored import at_rest, descriptors, resident, threads
    register(lambda: None)
    def many(events, registrations):
        for _ in range(events): snapsafe_rt.notify_restored()
        for _ in range(registrations):
            def callback(): pass
            register(callback)
            snapsafe_rt.unregister(callback)
    many(4000, 400)
    gc.collect()
    before = *at_rest(lambda: (len(threads()), descriptors())), resident()
    many(20000, 2000)
    gc.collect()
    assert until(lambda: (len(threads()), descriptors()) == before[:2]), (threads(), descriptors(), before)
    assert resident() - before[2] < 2000, (before[2], resident())
    """)


def test_the_watcher_started_and_stopped_300_times_leaves_nothing_behind(run_python, source_file):
    run_python(
        STAGE
        + """
    from restored import at_rest, descriptors, resident, threads
    def callback(): pass
    def many(count):
        for _ in range(count):
            register(callback)
            snapsafe_rt.unregister(callback)
    many(50)
    assert until(lambda: len(threads()) == 1), threads()
    before = *at_rest(lambda: (threads(), descriptors())), resident()
    many(300)
    assert until(lambda: (threads(), descriptors()) == before[:2]), (threads(), descriptors(), before)
    assert resident() - before[2] < 2000, (before[2], resident())
    """,
        source_file.path,
        env=source_file.env,
    )
