"""Threads that use at once what the rooms of libraries and the Python side share. On builds without a GIL they come
between any two steps; on others these tests pass as well."""

import pytest

from snapsafe_rt.core import has_gil

from ..conftest import PROGRAMS

pytestmark = pytest.mark.internals

# Where there is a GIL, a draw does not look at the tag a second time: who waited for the generator's lock, without the
# GIL, draws from the state of before that another thread has set meanwhile. The look costs some ten instructions.
NOBODY_WAITS = pytest.mark.skipif(has_gil(), reason="a draw looks at the tag once, and for nobody")
LOOKS_ONCE = pytest.mark.xfail(has_gil(), reason="a thread that waits for the lock has looked at the tag", strict=False)
PARTS = [
    pytest.param("old_states", marks=LOOKS_ONCE),
    pytest.param("setters_are_waited_for", marks=NOBODY_WAITS),
    "setters_that_wait_for_who_draws",
    "setters_that_draw",
    "states_that_are_refused",
    "chosen",
    "pointers",
    "sequences",
    "counts",
    "subclasses",
]


@pytest.mark.parametrize("part", PARTS)
def test_threads_share_what_numpy_has(run_python, source_file, part):
    """old_states fails each time without the second look at the tag, after a draw."""
    pytest.importorskip("numpy")
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    assert run_python(PROGRAMS / "threads_numpy.py", source_file.path, part, env=env, dev=False) == "done\n"


def test_old_states_get_out_without_us(run_python, source_file):
    pytest.importorskip("numpy")
    program = PROGRAMS / "threads_numpy.py"
    run_python(program, source_file.path, "old_states", env=source_file.env, activated=False, dev=False, status=1)


def test_threads_import_copies_of_one_module(run_python, source_file):
    """Each is guarded once, whoever finds it first: another thread, or who asks for a report."""
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    assert run_python(PROGRAMS / "threads_copies.py", env=env, dev=False) == "done\n"


VARIABLE = """
    import sys, threading
    from snapsafe_rt.restore import dispatch

    for _ in range(50):
        dispatch._event_around.clear()
        start, found = threading.Barrier(8), []
        def run():
            start.wait()
            found.append(dispatch.event_around())
        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(map(id, found))) == 1
    print("done")
"""


def test_all_threads_have_one_context_variable(run_python):
    """Else a callback that calls check() would not know that it is one, and wait for itself."""
    assert run_python(VARIABLE, dev=False) == "done\n"


MAIN_LOOP = """
    import asyncio, sys, threading
    import snapsafe_rt
    from snapsafe_rt.source.vmclock_file import FileSource

    source = FileSource(sys.argv[1])
    threads = set()

    async def renew():
        threads.add(threading.current_thread() is threading.main_thread())

    snapsafe_rt.register_after_restore(renew)

    def deep(depth):
        return deep(depth - 1) if depth else 0

    async def main():
        def restore():
            for _ in range(10):
                source.bump()
                snapsafe_rt.check()
        thread = threading.Thread(target=restore)
        thread.start()
        while thread.is_alive():
            deep(50)                    # frames come and go while the other thread looks for the loop
            await asyncio.sleep(0)
        thread.join()

    asyncio.run(main())
    print(threads)
"""


def test_the_loop_of_the_main_thread_is_found_while_it_runs(run_python, source_file):
    """By another thread, which without a GIL must not look at its frames."""
    assert run_python(MAIN_LOOP, source_file.path, env=source_file.env, dev=False) == "{True}\n"


STATUS = """
    import sys, threading
    import snapsafe_rt

    failed, seen = [], set()

    def ask():
        try:
            for _ in range(10):
                status = snapsafe_rt.status()
                assert status.source is not None and all(one["usable"] for one in status.candidates), status.as_dict()
                seen.add(next(row.protection for row in status.rows if row.name == "random"))
                snapsafe_rt.check()
        except BaseException as error:
            failed.append(error)

    import random
    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed
    print(seen)
"""


def test_threads_ask_for_the_status_at_once(run_python, source_file):
    """Each finds the source that another one examines anew at that moment."""
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    assert run_python(STATUS, env=env, dev=False, timeout=240) == "{'guarded'}\n"


def test_sqlite_is_given_entropy_by_threads_at_once(run_python, source_file):
    """Statements of many threads, while the generation moves: each reset is made, nothing waits, nobody repeats."""
    script = """
    import sqlite3, sys, threading
    from snapsafe_rt.source.vmclock_file import FileSource

    source, seen, lock = FileSource(sys.argv[1]), [], threading.Lock()

    def run():
        connection = sqlite3.connect(":memory:")
        mine = [connection.execute("SELECT hex(randomblob(16))").fetchone()[0] for _ in range(200)]
        with lock:
            seen.extend(mine)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        source.bump()
    for thread in threads:
        thread.join()
    print(len(seen), len(set(seen)))
    """
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    assert run_python(script, source_file.path, env=env, dev=False).split() == ["1200", "1200"]
