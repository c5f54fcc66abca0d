"""The restore event and forks: before it, while it runs, in a callback; and what makes processes for the program."""

import platform

import pytest

from ..conftest import PROGRAMS
from ..helpers.builds import FREE_THREADED

pytestmark = pytest.mark.internals

STAGE = """
    import os, sys, threading, time
    import snapsafe_rt
    from restored import WATCHED, children_end, in_child, read, resident, restore, settle, threads, until
    from stage import bump
    register, calls = snapsafe_rt.register_after_restore, []
"""
# Forking with threads of the program's own is warned of since 3.12; that is not what is asked here.
THREADED = ("-W", "ignore:This process:DeprecationWarning")


@pytest.fixture(params=["1", "0"], ids=["watcher", "check"])
def run(run_python, source_file, request):
    def run(script, **options):
        environment = source_file.env | {"SNAPSAFE_WATCH": request.param}
        return run_python(STAGE + script, source_file.path, env=environment, **options)

    return run


def test_children_inherit_callbacks_and_see_their_own_restores(run):
    run(
        """
    def callback(): calls.append(os.getpid())
    register(callback)
    assert restore() == [] and calls == [os.getpid()]
    def child():
        calls.clear()
        for i in range(1, 4):
            assert restore() == [] and calls == [os.getpid()] * i, calls
        snapsafe_rt.unregister(callback)
        assert until(lambda: threads() == [read("/proc/self/comm").strip()])
    for _ in range(3):
        assert children_end([in_child(child)]) == [0]
        assert settle() == []  # the source is everybody's
    """,
        options=THREADED,
    )


def test_a_child_forked_while_the_event_runs_elsewhere_runs_all_of_it(run):
    run(
        """
    go, inside = threading.Event(), threading.Event()
    parent = os.getpid()
    def first(): calls.append("first")
    def second():
        if os.getpid() == parent:
            inside.set()
            go.wait()
        calls.append("second")
    register(first)
    register(second)
    bump()
    if not WATCHED:
        thread = threading.Thread(target=snapsafe_rt.check)
        thread.start()
    assert inside.wait(20)
    assert calls == ["first"]
    def child():
        calls.clear()
        assert settle() == [] and calls == ["first", "second"], calls
        assert snapsafe_rt.check() == 1 and len(calls) == 2
        assert restore() == [] and len(calls) == 4
    assert children_end([in_child(child)]) == [0]
    go.set()
    assert settle() == [] or True
    assert snapsafe_rt.check() >= 1
    assert calls[:2] == ["first", "second"], calls
    """,
        options=THREADED,
    )


@pytest.mark.parametrize("leaves", ["returns", "exits"])
def test_a_callback_forks(run, leaves):
    run(
        f"""
    returns = {leaves == "returns"}
    parent, pids = os.getpid(), []
    def first(): calls.append("first")
    def forks():
        calls.append("forks")
        if os.getpid() != parent:
            return
        pid = os.fork()
        if pid:
            pids.append(pid)
        elif not returns:
            os._exit(7)
        else:
            calls.clear()
    def last(): calls.append("last")
    for callback in (first, forks, last): register(callback)
    errors = restore()
    if os.getpid() != parent:
        # The child of a callback in check() comes back here; the event that its parent was at is pending.
        assert calls == [] and snapsafe_rt.restore.events.pending(), calls
        assert snapsafe_rt.check() == 1 and calls == ["first", "forks", "last"], calls
        os._exit(5)
    assert errors == [] and calls == ["first", "forks", "last"], (errors, calls)
    # The watcher's thread ends in the child, and with it the process, as with a thread of the program's own.
    assert [os.waitstatus_to_exitcode(status) for status in children_end(pids)] == [
        7 if not returns else 0 if WATCHED else 5]
    snapsafe_rt.unregister(forks)
    assert restore() == [] and len(calls) == 5
    """,
        options=THREADED,
    )


def test_a_child_of_a_thread_that_returns_ends(run):
    """As without us: the process ends with its last thread, also if that ends while an event begins."""
    run(
        """
    register(time.sleep, 0.001)
    def forks():
        pid = os.fork()
        if pid: pids.append(pid)
        else: bump()
    pids = []
    for _ in range(100):
        thread = threading.Thread(target=forks)
        thread.start()
        thread.join()
    assert children_end(pids) == [0] * 100
    """,
        options=THREADED,
    )


@pytest.mark.parametrize("hooks", [True, False], ids=["PyOS_AfterFork_Child", "bare"])
def test_a_fork_below_python(run, hooks):
    """As uWSGI does; without the interpreter's hooks only check() is left."""
    run(
        f"""
    import ctypes
    register(lambda: calls.append(os.getpid()))
    assert restore() == [] and len(calls) == 1
    api, libc = ctypes.pythonapi, ctypes.PyDLL(None)
    if {hooks}:
        api.PyOS_BeforeFork()
    pid = libc.fork()
    if pid == 0:
        status = 1
        try:
            if {hooks}:
                api.PyOS_AfterFork_Child()
                assert restore() == []
            else:
                bump()
                assert snapsafe_rt.check() == 2
            assert calls == [os.getppid(), os.getpid()], calls
            status = 0
        finally:
            os._exit(status)
    if {hooks}:
        api.PyOS_AfterFork_Parent()
    assert children_end([pid]) == [0]
    assert not WATCHED or until(lambda: len(calls) == 2)
    assert restore() == []
    """
    )


@pytest.mark.parametrize("how", ["fork", "_Fork", "clone"])
@pytest.mark.parametrize("noticed", ["random.random()", "import uuid", "snapsafe_rt.check()", "snapsafe_rt.status()"])
def test_a_fork_past_python_is_told_and_mended(run_python, source_file, how, noticed):
    """uWSGI, daemon(3) and C extensions make such children. clone(2), which _Fork(3) is, runs no fork handler either:
    there the first restore is noticed by a draw, and before that by an import or by check()."""
    script = PROGRAMS / "forked_past_python.py"
    run_python(script, source_file.path, how, noticed, env=source_file.env, options=THREADED)


@pytest.mark.parametrize("loader", ["PyDLL", "CDLL"], ids=["with the GIL", "without"])
def test_a_fork_past_python_while_an_event_begins(run_python, source_file, compile_native, loader):
    """The child has the GIL as it was: with the runner in it, or in its queue, its threads would hang. So the runner is
    let in, and stands by. The program has one thread: without us, no such child hangs. With the GIL it is not let in
    for a callback: there the event is one that calls none."""
    if loader == "PyDLL" and platform.libc_ver() < ("glibc", "2.36"):
        pytest.skip("while this C library forks, nobody is let in")
    script = f"""
    import contextlib, ctypes
    library, pids = ctypes.{loader}(sys.argv[2]), []
    def look():
        \"\"\"Has the runner look for a source that is preferred, and is none.\"\"\"
        open(sys.argv[1] + "-preferred", "w").close()
        os.unlink(sys.argv[1] + "-preferred")
    def turns():
        for _ in range(100):
            time.sleep(0)
    register(lambda: calls.append(1))
    for number in range(40):
        {"look" if loader == "PyDLL" else "bump"}()
        pids.append(library.late_fork(20_000 if number % 2 else number * 50))
        if pids[-1] == 0:
            other = threading.Thread(target=turns)
            other.start()
            turns()
            other.join()
            os._exit(0)
    try:
        assert children_end(pids) == [0] * 40
    finally:  # one that hangs holds this one's streams
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
    assert restore() == [] and calls
    """
    env = source_file.env | {"SNAPSAFE_SOURCES": f"vmclock:{source_file.path}-preferred,vmclock:{source_file.path}"}
    run_python(STAGE + script, source_file.path, compile_native("late_fork.c"), env=env, options=THREADED)


def test_a_fork_below_python_while_a_callback_runs(run_python, source_file):
    """PyOS_BeforeFork() holds a lock of CPython's from 3.13 on, and the runner wants it, with the GIL, at its end."""
    script = """
    import ctypes
    begun = threading.Event()
    def callback():
        begun.set()
        time.sleep(0.3)  # at work while main forks
    register(callback)
    bump()
    assert begun.wait(20)
    api = ctypes.pythonapi
    api.PyOS_BeforeFork()
    pid = ctypes.PyDLL(None).fork()
    if pid == 0:
        api.PyOS_AfterFork_Child()
        os._exit(0)
    api.PyOS_AfterFork_Parent()
    assert children_end([pid]) == [0]
    assert restore() == []
    """
    run_python(STAGE + script, source_file.path, env=source_file.env, options=THREADED)


def test_a_thread_that_is_cancelled_while_it_forks(run_python, source_file, compile_native):
    """fork(3) may not be cancelled, and what it waits for here may not be, either: a mutex would stay locked."""
    script = """
    import ctypes
    library, begun, forked = ctypes.CDLL(sys.argv[2]), threading.Event(), threading.Event()
    def callback():
        calls.append(1)
        begun.set()
        forked.wait(20)
    register(callback)
    bump()
    assert begun.wait(20)
    library.fork_and_be_cancelled()
    forked.set()
    assert until(lambda: native.wait_quiet(0))
    bump()
    assert until(lambda: len(calls) > 1)
    """
    script = STAGE + "    from snapsafe_rt.core import native\n" + script
    run_python(script, source_file.path, compile_native("late_fork.c"), env=source_file.env, options=THREADED)


@pytest.mark.parametrize("noticed", ["check", "status", "epoch"])
def test_a_fork_past_python_where_nothing_is_watched(run_python, noticed):
    """Such a child looks for a source, which notices the fork, which looks for a source."""
    script = f"""
    import ctypes, os, snapsafe_rt
    from restored import at_rest, children_end
    snapsafe_rt.register_after_restore(print)
    at_rest(lambda: 0)  # clone(2) asks nobody: a thread that begins may have a lock of the C library
    pid = ctypes.PyDLL(None).syscall({{"x86_64": 56, "aarch64": 220}}[os.uname().machine], 17, 0, 0, 0, 0)
    if pid == 0:
        status = 1
        try:
            snapsafe_rt.{noticed}()
            status = 0
        finally:
            os._exit(status)
    assert children_end([pid]) == [0]
    """
    run_python(script, env={"SNAPSAFE_SOURCES": "vmclock:/nonexistent"}, options=THREADED)


def test_callbacks_without_a_thread_are_told(run_python, source_file):
    """No thread may be started: the program's callbacks are called by check() alone, and that is no protection."""
    script = """
    import resource
    snapsafe_rt.status()  # what it imports may not be readable afterwards
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    register(lambda: calls.append(1))
    status = snapsafe_rt.status()
    [row] = [row for row in status.rows if row.name == "callbacks"]
    assert row.protection == "unprotected" and not status.protected and status.watching["reason"] in row.note, row.note
    assert snapsafe_rt.notify_restored() == 1 and calls == [1]
    """
    run_python(STAGE + script, source_file.path, env=source_file.env)


MODULE = """
import os, sys, time
import snapsafe_rt
from restored import settle, until
from stage import bump
seen = []
def callback():
    seen.append(os.getpid())
snapsafe_rt.register_after_restore(callback)
def work(number):
    seen.clear()
    snapsafe_rt.notify_restored()
    return seen == [os.getpid()]
def watch(path):
    from restored import WATCHED
    sys.argv[1:] = [path]
    seen.clear()
    epoch = snapsafe_rt.epoch()
    if WATCHED:
        assert until(lambda: seen), snapsafe_rt.status().watching
    else:
        assert until(lambda: snapsafe_rt.check() > epoch)
    return set(seen) == {os.getpid()}
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(run, shm_path, method):
    (shm_path / "snapsafe_program.py").write_text(MODULE)
    run(
        f"""
    sys.path.insert(0, {str(shm_path)!r})
    os.environ["PYTHONPATH"] += os.pathsep + sys.path[0]
    import multiprocessing, snapsafe_program
    if __name__ == "__main__":
        context = multiprocessing.get_context({method!r})
        with context.Pool(2) as pool:
            assert all(pool.map(snapsafe_program.work, range(20)))
        from concurrent.futures import ProcessPoolExecutor
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            assert all(pool.map(snapsafe_program.work, range(4)))
            pending = [pool.submit(snapsafe_program.watch, sys.argv[1]) for _ in range(2)]
            while not all(future.done() for future in pending):
                bump()  # each restore is every process's
                time.sleep(0.01)
            assert all(future.result() for future in pending)
    """,
        options=THREADED,
    )


def test_no_warning_and_no_leak_in_300_forks(run_python, source_file):
    """CPython 3.12 and later warn of a fork with threads; os.fork() waits until ours are gone, but not for ever."""
    run_python(
        PROGRAMS / "forks_300.py",
        source_file.path,
        env=source_file.env,
        timeout=120,
    )


@pytest.mark.skipif(FREE_THREADED, reason="CPython itself hands a child a dict's lock that is held")
def test_forks_registrations_checks_and_restores_at_the_same_time(run):
    run(
        """
    end = time.monotonic() + 4
    parent, errors = os.getpid(), []
    register(calls.append, 1)
    def storm(work):
        def body():
            try:
                while time.monotonic() < end: work()
            except BaseException as error:
                errors.append(error)
                raise
        return threading.Thread(target=body)
    def registers():
        def callback(): pass
        register(callback)
        snapsafe_rt.check(timeout=20)
        assert snapsafe_rt.unregister(callback)
    def forks():
        assert children_end([in_child(lambda: snapsafe_rt.check(timeout=20))]) == [0]
    def moves():
        bump()
        time.sleep(0.0005)
    checks = lambda: snapsafe_rt.check(timeout=20)
    storms = [storm(work) for work in (registers, registers, forks, forks, moves, checks)]
    for thread in storms: thread.start()
    for thread in storms: thread.join()
    assert not errors, errors
    assert settle() == []
    calls.clear()
    assert restore() == [] and calls == [1]
    """,
        options=THREADED,
    )


def test_a_child_of_a_running_loop_does_not_wait_for_it(run):
    """Its loop is a copy that nobody runs; the callbacks are run all the same."""
    run(
        """
    import asyncio
    register(calls.append, "elsewhere")
    async def main():
        async def coroutine(): calls.append(("coroutine", asyncio.get_running_loop() is loop))
        loop = asyncio.get_running_loop()
        register(coroutine)
        register(calls.append, "plain")
        def child():
            assert restore() == []
            assert calls == ["elsewhere", ("coroutine", False), "plain"], calls
        pid = in_child(child)
        while not os.waitpid(pid, os.WNOHANG)[0]:
            await asyncio.sleep(0.001)
        await snapsafe_rt.acheck()
        assert calls == ["elsewhere", ("coroutine", True), "plain"], calls
    asyncio.run(main())
    """,
        options=THREADED,
    )


def test_a_child_that_runs_its_parents_loop_gets_its_callbacks_there(run):
    """As servers do that prepare a loop, fork, and run it in each child."""
    run(
        """
    import asyncio
    loop = asyncio.new_event_loop()
    async def prepare():
        register(lambda: calls.append(asyncio.get_running_loop() is loop))
    loop.run_until_complete(prepare())
    async def serve():
        bump()
        if not WATCHED: await snapsafe_rt.acheck()
        for _ in range(2000):
            if calls: break
            await asyncio.sleep(0.01)
        assert calls == [True]
    def child():
        loop.run_until_complete(serve())
        os._exit(0)
    assert children_end([in_child(child)]) == [0]
    loop.close()
    """,
        options=THREADED,
    )
