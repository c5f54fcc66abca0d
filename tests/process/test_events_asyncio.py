"""The restore event in programs of asyncio, uvloop and gevent: callbacks run where they belong, nobody deadlocks."""

import sys

import pytest

STAGE = """
    import asyncio, os, sys, threading, time
    import snapsafe_rt
    from restored import WATCHED, restore, settle, threads, until
    from snapsafe_rt.errors import BaseExceptionGroup
    from stage import bump
    register, calls = snapsafe_rt.register_after_restore, []
    if os.environ["LOOP"] == "uvloop":
        try: import uvloop
        except ImportError: print("no uvloop here"); sys.exit(77)
        new_loop = uvloop.new_event_loop
    else:
        new_loop = asyncio.new_event_loop
    def go(main, loop=None):
        made = loop or new_loop()
        made.set_debug(os.environ["LOOP"] == "debug")
        made.slow_callback_duration = 60
        try: return made.run_until_complete(asyncio.wait_for(main, 30))
        finally: loop or made.close()
    async def called(count):
        for _ in range(20000):
            if len(calls) >= count: return True
            await asyncio.sleep(0.001)
        return False
    # What a program of asyncio does: nothing where it is watched, else it checks.
    async def told(count):
        if not WATCHED: await snapsafe_rt.acheck()
        assert await called(count), calls
"""


@pytest.fixture(params=["1", "0"], ids=["watcher", "check"])
def watch(request):
    return request.param


@pytest.fixture(params=["asyncio", "debug", "uvloop"])
def run(run_python, source_file, watch, request):
    def run(script, **options):
        environment = source_file.env | {"SNAPSAFE_WATCH": watch, "LOOP": request.param}
        return run_python(STAGE + script, source_file.path, env=environment, **options)

    return run


def test_callbacks_run_on_their_loop_in_order(run):
    run("""
    async def main():
        here = threading.get_ident(), asyncio.get_running_loop()
        def plain(): calls.append(("plain", threading.get_ident(), asyncio.get_running_loop()) )
        async def coroutine():
            await asyncio.sleep(0.01)
            calls.append(("coroutine", threading.get_ident(), asyncio.get_running_loop()))
        for callback in (plain, coroutine, plain): register(callback)
        for i in range(1, 4):
            bump()
            await told(3 * i)
            assert calls == [(name, *here) for name in ("plain", "coroutine", "plain")] * i, calls
        assert await snapsafe_rt.acheck() == 3 and len(calls) == 9
    go(main())
    """)


def test_check_in_the_loops_thread_never_deadlocks(run):
    run("""
    async def main():
        async def coroutine():
            calls.append("begins")
            assert snapsafe_rt.check() == snapsafe_rt.epoch()
            assert await snapsafe_rt.acheck() == snapsafe_rt.epoch()
            calls.append("ends")
        def plain():
            assert snapsafe_rt.check() == snapsafe_rt.epoch()
        register(coroutine)
        register(plain)
        for i in range(1, 11):
            bump()
            assert snapsafe_rt.check() == i
            assert await called(2 * i), calls
            assert calls == ["begins", "ends"] * i
            await snapsafe_rt.acheck()
    go(main())
    """)


def test_acheck_in_many_tasks(run):
    """Each waits until the event is complete, which runs once."""
    run("""
    async def main():
        async def first():
            calls.append("first")
            await asyncio.sleep(0.02)
        async def last(): calls.append("last")
        register(first)
        register(last)
        async def task(i):
            assert await snapsafe_rt.acheck() == i
            assert calls == ["first", "last"] * i, calls
        for i in range(1, 6):
            bump()
            await asyncio.gather(*(task(i) for _ in range(50)))
    go(main())
    """)


def test_an_acheck_that_is_cancelled_or_late_leaves_the_event_running(run):
    run("""
    async def main():
        go_on = asyncio.Event()
        async def waits():
            calls.append("begins")
            await go_on.wait()
            calls.append("ends")
        register(waits)
        bump()
        task = asyncio.create_task(snapsafe_rt.acheck())
        assert await called(1)
        task.cancel()
        try: await task
        except asyncio.CancelledError: pass
        for seconds in (0, 0.01):
            try: await snapsafe_rt.acheck(timeout=seconds)
            except TimeoutError as error: assert "waits" in str(error), error
            else: raise AssertionError("it did not wait")
        assert calls == ["begins"]
        go_on.set()
        assert await snapsafe_rt.acheck(timeout=20) == 1 and calls == ["begins", "ends"]
    go(main())
    """)


def test_errors_reach_acheck_or_are_reported(run):
    run("""
    async def main():
        async def fails(): raise ValueError("x")
        async def exits(): raise SystemExit(3)
        def plain(): raise KeyboardInterrupt
        for callback in (fails, exits, plain): register(callback)
        reported = []
        sys.unraisablehook = lambda args: reported.append(args.exc_type)
        bump()
        try:
            await snapsafe_rt.acheck()
        except BaseExceptionGroup as group:
            assert [type(error) for error in group.exceptions] == [ValueError, SystemExit, KeyboardInterrupt]
        else:
            assert WATCHED
            while len(reported) < 3: await asyncio.sleep(0.001)
            assert reported == [ValueError, SystemExit, KeyboardInterrupt]
        assert await snapsafe_rt.acheck() == 1
    go(main())
    """)


def test_a_loop_that_is_closed_ends_its_registrations(run):
    run("""
    async def main(): register(lambda: calls.append("never"))
    for _ in range(100): go(main())
    register(lambda: calls.append("once"))
    assert len(snapsafe_rt.restore.callbacks.after) <= 2
    assert restore() == [] and calls == ["once"], calls
    assert restore() == [] and calls == ["once"] * 2
    """)


def test_a_loop_that_rests_gets_its_callbacks_when_it_runs_again(run):
    run("""
    loop = new_loop()
    async def prepare():
        async def coroutine(): calls.append(asyncio.get_running_loop() is loop)
        register(coroutine)
    go(prepare(), loop)
    assert restore() == [] and calls == []  # nobody waits for a loop that does not run
    async def later(): assert await called(1)
    go(later(), loop)
    assert calls == [True]
    loop.close()
    """)


def test_two_loops_in_two_threads(run):
    run("""
    both, idents = threading.Barrier(2), {}
    def body(number):
        async def main():
            idents[number] = threading.get_ident()
            async def coroutine():
                calls.append((number, threading.get_ident()))
                await asyncio.sleep(0.001)
            register(coroutine)
            await asyncio.to_thread(both.wait)
            for i in range(1, 6):
                if number == 0: bump()
                while snapsafe_rt.epoch() < i: await asyncio.sleep(0.001)
                assert await snapsafe_rt.acheck(timeout=20) == i
                assert len(calls) == 2 * i, calls
                await asyncio.to_thread(both.wait)
        go(main())
        done.append(number)
    done = []
    loops = [threading.Thread(target=body, args=(number,)) for number in (0, 1)]
    for thread in loops: thread.start()
    for thread in loops: thread.join()
    assert len(done) == 2
    assert len(calls) == 10 and all(idents[number] == ident for number, ident in calls), calls
    """)


def test_check_in_threads_while_a_loop_runs_its_callbacks(run):
    run("""
    async def main():
        async def coroutine():
            await asyncio.sleep(0.005)
            calls.append(snapsafe_rt.epoch())
        register(coroutine)
        errors = []
        def checks():
            try:
                for _ in range(20):
                    seen = snapsafe_rt.epoch()
                    assert snapsafe_rt.check(timeout=20) >= seen
                    assert not seen or calls[-1] >= seen
            except BaseException as error:
                errors.append(error)
        def moves():
            while not end: bump(); time.sleep(0.002)
        end = False
        moving = threading.Thread(target=moves)
        moving.start()
        await asyncio.gather(*(asyncio.to_thread(checks) for _ in range(4)))
        end = True
        await asyncio.to_thread(moving.join)
        assert not errors, errors
    go(main())
    """)


def test_acheck_returns_while_the_source_is_rewritten_without_pause(run):
    run("""
    async def main():
        register(calls.append, 1)
        end = False
        def moves():
            while not end: bump()
        moving = threading.Thread(target=moves)
        moving.start()
        for _ in range(20):
            seen = snapsafe_rt.epoch()
            assert await snapsafe_rt.acheck(timeout=20) >= seen
        end = True
        moving.join()
    go(main())
    """)


def test_a_coroutine_callback_without_a_loop_gets_one(run):
    run("""
    async def coroutine():
        await asyncio.sleep(0)
        assert await snapsafe_rt.acheck() == snapsafe_rt.check() == snapsafe_rt.epoch()
        calls.append(asyncio.get_running_loop())
    register(coroutine)
    assert restore() == [] and len(calls) == 1
    async def main():
        bump()
        await told(2)
        assert WATCHED or calls[1] is asyncio.get_running_loop()
        await snapsafe_rt.acheck()
    go(main())
    """)


def test_a_loop_that_ends_with_its_event_half_done_leaves_the_turn_free(run):
    """What asyncio.run() does at its end: it cancels the tasks that are left."""
    run(
        """
    async def hangs():
        calls.append(1)
        if len(calls) == 1: await asyncio.sleep(3600)
    async def main():
        register(hangs)
        bump()
        try: await snapsafe_rt.acheck(timeout=0.2)
        except TimeoutError: pass
    sys.unraisablehook = lambda args: None
    if os.environ["LOOP"] == "uvloop": asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(main())
    assert until(lambda: not snapsafe_rt.restore.events.delivery.taken)
    snapsafe_rt.unregister(hangs)
    register(calls.append, 2)
    bump()
    assert snapsafe_rt.check(timeout=20) == 2 and calls[-1] == 2, calls
    """,
        options=("-W", "ignore::DeprecationWarning"),
    )


# gevent

GEVENT = """
    import sys
    try: from gevent import monkey
    except ImportError: print("no gevent here"); sys.exit(77)
    monkey.patch_all()
    import gevent, gevent.lock, gevent.threadpool, os, threading, time
    import snapsafe_rt
    from restored import WATCHED, restore, settle, until
    from stage import bump
    register, calls = snapsafe_rt.register_after_restore, []
    def told(count):
        if not WATCHED: snapsafe_rt.check()
        assert until(lambda: len(calls) >= count), calls
"""


@pytest.fixture
def run_gevent(run_python, source_file, watch):
    def run(script, **options):
        environment = source_file.env | {"SNAPSAFE_WATCH": watch}
        # gevent itself warns of what it patches.
        return run_python(GEVENT + script, source_file.path, env=environment, options=("-W", "default"), **options)

    return run


def test_gevent_callbacks_run_under_the_hub(run_gevent):
    run_gevent("""
    hub = gevent.get_hub()
    def callback():
        gevent.sleep(0.01)
        calls.append(gevent.get_hub() is hub)
    register(callback)
    for i in range(1, 6):
        bump()
        told(i)
        snapsafe_rt.check()
    assert calls == [True] * 5
    """)


def test_gevent_callbacks_run_without_a_descriptor(run_python, source_file):
    """Nothing is imported when one is called: another thread checks, in a program at its limit of descriptors."""
    script = """
    import _thread, resource, sys
    try: import gevent
    except ImportError: print("no gevent here"); sys.exit(77)
    import snapsafe_rt
    from stage import bump
    if "contextvars" in sys.modules:
        print("gevent has imported it")
        sys.exit(77)
    calls, failed, hub = [], [], gevent.get_hub()
    def check():
        try:
            snapsafe_rt.check()
        except BaseException as error:
            failed.append(error)
    snapsafe_rt.register_after_restore(lambda: calls.append(gevent.get_hub() is hub))
    bump()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limit[1]))
    _thread.start_new_thread(check, ())
    with gevent.Timeout(30):
        while not calls and not failed:
            gevent.sleep(0.01)
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert calls == [True] and not failed, (calls, failed)
    """
    environment = source_file.env | {"SNAPSAFE_WATCH": "0"}
    run_python(script, source_file.path, env=environment, options=("-W", "ignore"), dev=False)


def test_gevent_check_in_many_greenlets(run_gevent):
    run_gevent("""
    lock = gevent.lock.RLock()
    def first():
        with lock:
            gevent.sleep(0.01)
            calls.append("first")
    def last(): calls.append("last")
    register(first)
    register(last)
    def greenlet(i):
        with_lock = i % 2
        assert snapsafe_rt.check(timeout=20) == epoch
        assert calls == ["first", "last"] * epoch, calls
    def holds():
        with lock: gevent.sleep(0.02)
    for epoch in range(1, 6):
        holder = gevent.spawn(holds)
        gevent.sleep(0)
        bump()
        checking = [gevent.spawn(greenlet, i) for i in range(50)]
        gevent.joinall([holder, *checking], raise_error=True, timeout=20)
        assert all(one.successful() for one in checking)
    """)


def test_gevent_a_check_that_is_late(run_gevent):
    run_gevent("""
    go, inside = gevent.event.Event(), gevent.event.Event()
    def hangs():
        inside.set()
        go.wait()
        calls.append(1)
    register(hangs)
    bump()
    first = gevent.spawn(snapsafe_rt.check)
    assert inside.wait(20)
    for _ in range(3):
        try: snapsafe_rt.check(timeout=0.01)
        except TimeoutError as error: assert "hangs" in str(error)
        else: raise AssertionError("it did not wait")
    go.set()
    assert snapsafe_rt.check(timeout=20) == 1 and calls == [1]
    first.get(timeout=20)
    bump()
    told(2)
    snapsafe_rt.check()
    """)


def test_gevent_check_in_a_native_thread(run_gevent):
    run_gevent("""
    def callback():
        gevent.sleep(0.001)
        calls.append(gevent.get_hub() is hub)
    hub = gevent.get_hub()
    register(callback)
    pool = gevent.threadpool.ThreadPool(2)
    for i in range(1, 6):
        bump()
        assert pool.spawn(snapsafe_rt.check, 20).get(timeout=20) == i
        assert calls == [True] * i
    """)


def test_an_event_left_half_way_on_a_loop_at_rest_is_not_called_done(run_python, source_file):
    script = """
    import asyncio, threading
    import snapsafe_rt
    from stage import bump, error
    go = asyncio.Event()
    async def waits(): await go.wait()
    loop = asyncio.new_event_loop()
    async def main():
        snapsafe_rt.register_after_restore(waits)
        bump()
        try:
            await snapsafe_rt.acheck(timeout=0.1)
        except TimeoutError:
            return
    loop.run_until_complete(main())
    told = error(snapsafe_rt.check)
    assert "TimeoutError" in told and "waits" in told and "does not run" in told, told
    other = asyncio.new_event_loop()
    assert error(other.run_until_complete, snapsafe_rt.acheck()) == told
    other.close()
    async def rest():
        go.set()
        return await snapsafe_rt.acheck()
    assert loop.run_until_complete(rest()) == 1 == snapsafe_rt.check()
    loop.close()
    """
    run_python(script, source_file.path, env=source_file.env | {"SNAPSAFE_WATCH": "0"})


@pytest.mark.skipif(sys.version_info < (3, 14), reason="from 3.14 on a thread may have the context of who starts it")
def test_a_thread_that_a_coroutine_waits_for_may_check(run):
    """It is part of the coroutine by its context, as all threads are without a GIL: else each waited for the other."""
    run(
        """
    async def main():
        async def coroutine():
            thread = threading.Thread(target=snapsafe_rt.check)
            thread.start()
            await asyncio.to_thread(thread.join)
            calls.append(thread)
        register(coroutine)
        for count in (1, 2):
            bump()
            await told(count)
    go(main())
    """,
        options=("-X", "thread_inherit_context=1"),
    )
