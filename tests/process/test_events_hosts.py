"""The restore event where neither asyncio nor gevent runs the program, or where a coroutine function was registered
before any loop ran: each callback runs where what it awaits, or the lock that it takes, belongs."""

import pytest

STAGE = """
    import asyncio, functools, os, sys, threading, time
    import snapsafe_rt
    from restored import WATCHED, settle, until
    from stage import bump
    register, calls = snapsafe_rt.register_after_restore, []
"""


@pytest.fixture(params=["1", "0"], ids=["watcher", "check"])
def run(run_python, source_file, request):
    def run(script, first="", **options):
        environment = source_file.env | {"SNAPSAFE_WATCH": request.param}
        options["options"] = ("-W", "default")  # eventlet warns of itself
        return run_python(first + STAGE + script, source_file.path, env=environment, **options)

    return run


# ---- a coroutine function that was registered at import ----

POOL = """
    class Pool:  # its lock belongs to the loop that first waits for it
        def __init__(self): self.loops = []
        async def disconnect(self):
            await asyncio.sleep(0)
            self.loops.append(asyncio.get_running_loop())
    pool = Pool()
    async def told(count):
        for _ in range(20000):
            if not WATCHED: await snapsafe_rt.acheck()
            if len(pool.loops) >= count: return
            await asyncio.sleep(0.001)
        raise AssertionError(pool.loops)
"""


@pytest.mark.parametrize("what", ["pool.disconnect", "functools.partial(pool.disconnect)", "Called()"])
@pytest.mark.parametrize("go", ["asyncio.run(main())", "loop.run_until_complete(main())"])
def test_registered_at_import_it_runs_on_the_main_threads_loop(run, what, go):
    run(f"""{POOL}
    class Called:
        async def __call__(self): await pool.disconnect()
    register({what})
    async def main():
        for count in range(1, 4):
            bump()
            await told(count)
        assert set(pool.loops) == {{asyncio.get_running_loop()}}, pool.loops
        assert not snapsafe_rt.status().last_event["errors"]
    loop = asyncio.new_event_loop()
    {go}
    loop.close()
    """)


def test_its_registration_outlives_the_loop(run):
    run(f"""{POOL}
    register(pool.disconnect)
    async def main(count):
        bump()
        await told(count)
        assert pool.loops[-1] is asyncio.get_running_loop()
    for count in (1, 2): asyncio.run(main(count))
    bump()
    settle()  # no loop runs: one of its own
    assert len(set(pool.loops)) == len(pool.loops) == 3, pool.loops
    """)


def test_check_in_the_main_threads_loop_does_not_wait_for_itself(run):
    run(f"""{POOL}
    register(pool.disconnect)
    async def main():
        bump()
        snapsafe_rt.check()
        await told(1)
    asyncio.run(asyncio.wait_for(main(), 30))
    """)


def test_in_another_threads_loop(run):
    """The main thread runs none, so it is as without a loop."""
    run(f"""{POOL}
    register(pool.disconnect)
    async def main():
        bump()
        await told(1)
    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join()
    assert len(pool.loops) == 1
    """)


# ---- trio ----

TRIO = """
    import sys
    try: import trio
    except ImportError: print("no trio here"); sys.exit(77)
"""
TOLD = """
    async def told(count):
        if not WATCHED: await snapsafe_rt.acheck()
        with trio.fail_after(30):
            while len(calls) < count: await trio.sleep(0.001)
"""


def test_trio_callbacks_run_in_its_run(run):
    run(
        f"""{TOLD}
    async def main():
        token, thread = trio.lowlevel.current_trio_token(), threading.get_ident()
        async def coroutine():
            await trio.sleep(0.001)
            calls.append((trio.lowlevel.current_trio_token(), threading.get_ident()))
        def plain(): calls.append((trio.lowlevel.current_trio_token(), threading.get_ident()))
        register(coroutine); register(plain)
        for count in range(1, 4):
            bump()
            await told(2 * count)
            assert await snapsafe_rt.acheck() == count
            assert set(calls) == {{(token, thread)}} and len(calls) == 2 * count, calls
        assert not snapsafe_rt.status().last_event["errors"]
    trio.run(main)
    """,
        first=TRIO,
    )


def test_trio_acheck_raises_what_callbacks_did(run):
    run(
        """
    async def main():
        async def broken(): await trio.sleep(0); raise ValueError("mine")
        register(broken)
        bump()
        if not WATCHED:
            try: await snapsafe_rt.acheck()
            except BaseException as error: assert "mine" in repr(error.exceptions), error
            else: raise AssertionError("nothing was raised")
        with trio.fail_after(30):
            while snapsafe_rt.status().last_event is None: await trio.sleep(0.001)
        assert "mine" in snapsafe_rt.status().last_event["errors"][0]
    trio.run(main)
    """,
        first=TRIO,
    )


def test_trio_registration_ends_with_its_run(run):
    run(
        """
    async def main():
        async def coroutine(): calls.append(1)
        register(coroutine)
    trio.run(main)
    bump()
    settle()
    assert not calls
    """,
        first=TRIO,
    )


# ---- eventlet ----

EVENTLET = """
    import sys, warnings
    warnings.simplefilter("ignore")
    try: import eventlet
    except ImportError: print("no eventlet here"); sys.exit(77)
    eventlet.monkey_patch()
"""


@pytest.mark.parametrize("within", ["", "with lock: pass"], ids=["nothing", "lock"])
def test_eventlet_callback_takes_a_lock_of_a_green_thread(run, within):
    run(
        f"""
    lock, hub = threading.Lock(), eventlet.hubs.get_hub()
    def again():
        {within or "pass"}
        eventlet.sleep(0.001)
        calls.append(eventlet.hubs.get_hub() is hub)
    register(again)
    def worker():
        for _ in range(50):
            with lock: eventlet.sleep(0.002)
    working = eventlet.spawn(worker)
    eventlet.sleep(0.001)
    for count in range(1, 6):
        bump()
        with eventlet.Timeout(30):
            if WATCHED:
                while len(calls) < count: eventlet.sleep(0.001)
            checking = [eventlet.spawn(snapsafe_rt.check, 20) for _ in range(20)]
            assert [one.wait() for one in checking] == [count] * 20
    assert calls == [True] * 5, calls
    assert not snapsafe_rt.status().last_event["errors"]
    working.wait()
    """,
        first=EVENTLET,
    )
