"""A record of `logging` for each restore event and each callback that failed; nothing for who has not loaded it."""

import pytest

pytestmark = pytest.mark.any_python

HEARD = """
import logging, sys
import snapsafe_rt

heard = []

class Handler(logging.Handler):
    def emit(self, record):
        heard.append((record.levelname, record.getMessage(), {k: v for k, v in vars(record).items() if k.isupper()}))
        if record.exc_info:
            heard.append(repr(record.exc_info[1]))

logger = logging.getLogger("snapsafe_rt")
logger.setLevel(logging.INFO)
logger.addHandler(Handler())

def fails():
    raise ValueError("no way to the database")
"""
ALONE = {"SNAPSAFE_WATCH": "0"}


def test_a_restore_and_an_error(run_python, source_file):
    run_python(
        HEARD
        + """
import os, struct
file = os.open(sys.argv[1], os.O_RDWR)
snapsafe_rt.register_after_restore(fails)
snapsafe_rt.register_after_restore(id, 1)
os.pwrite(file, struct.pack("<Q", 2), 0x68)
try:
    snapsafe_rt.check()
except Exception as group:
    assert len(group.exceptions) == 1
error, raised, restore = heard
assert error[0] == "ERROR" and error[1] == "__main__.fails failed after a restore", error
assert error[2]["SNAPSAFE_CALLBACK"] == "__main__.fails" and error[2]["SNAPSAFE_WHEN"] == "restore"
assert raised == "ValueError('no way to the database')"
assert restore[0] == "INFO" and restore[1].startswith("restored (generation): epoch 1, 2 callbacks in "), restore
told = restore[2]
assert (told["SNAPSAFE_EPOCH"], told["SNAPSAFE_CAUSE"], told["SNAPSAFE_CALLBACKS"]) == (1, "generation", 2)
assert told["SNAPSAFE_ERRORS"] == 1 and told["SNAPSAFE_SECONDS"] >= 0
assert len(told["MESSAGE_ID"]) == len(error[2]["MESSAGE_ID"]) == 32 and told["MESSAGE_ID"] != error[2]["MESSAGE_ID"]
heard.clear()
snapsafe_rt.check()
assert heard == [], "nothing happened"
""",
        source_file.path,
        env={**source_file.env, **ALONE},
        dev=False,
    )


def test_by_the_watchers_thread_and_by_acheck(run_python):
    run_python(
        HEARD
        + """
import asyncio, threading
told = threading.Event()
class Last(logging.Handler):
    def emit(self, record):
        told.set()
logger.addHandler(Last())
async def main():
    done = asyncio.Event()
    @snapsafe_rt.register_after_restore
    async def after():
        done.set()
    from snapsafe_rt.core import native
    native.advance()
    await snapsafe_rt.acheck()
    await done.wait()
asyncio.run(main())
assert told.wait(30)  # by the watcher's thread it comes after the event, and so perhaps after acheck()
assert [one[0] for one in heard] == ["INFO"], heard
""",
        env={"SNAPSAFE_SOURCES": "vmclock:/none"},
    )


def test_silent_unless_the_program_listens(run_python):
    script = """
    import sys
    {loaded}
    import snapsafe_rt
    def fails():
        raise ValueError("x")
    snapsafe_rt.register_after_restore(fails)
    try:
        snapsafe_rt.notify_restored()
    except Exception:
        pass
    print("logging" in sys.modules)
    {more}
    """
    env = {"SNAPSAFE_SOURCES": "vmclock:/none", **ALONE}
    plain = {"env": env, "dev": False, "options": ("-S",), "activated": False}
    assert run_python(script.format(loaded="", more=""), **plain) == "False\n", "nothing of ours imports it"
    more = "assert logging.lastResort.level == 30 and logging.getLogger('snapsafe_rt').handlers"
    assert run_python(script.format(loaded="import logging", more=more), **plain) == "True\n"  # stderr is empty


def test_twin_a_logger_without_a_handler_is_not_silent(run_python):
    script = "import logging; logging.getLogger('another').error('said'); raise SystemExit(3)"
    assert run_python(script, activated=False, status=3, stream="stderr") == "said\n"


def test_a_handler_that_raises_or_checks_harms_nobody(run_python):
    run_python(
        """
        import logging, sys, threading
        import snapsafe_rt

        seen = []
        sys.unraisablehook = lambda told: seen.append(told.exc_value)

        class Checks(logging.Handler):
            def emit(self, record):  # waits for the delivery lock, in a thread of its own
                thread = threading.Thread(target=snapsafe_rt.check)
                thread.start()
                thread.join(30)
                assert not thread.is_alive()
                seen.append(record.levelname)
                raise OSError("the disk is full")

        logger = logging.getLogger("snapsafe_rt")
        logger.setLevel("INFO")
        logger.addHandler(Checks())
        snapsafe_rt.register_after_restore(id, 1)
        assert snapsafe_rt.notify_restored() == 1
        assert seen[0] == "INFO" and isinstance(seen[1], OSError), seen
        """,
        env={"SNAPSAFE_SOURCES": "vmclock:/none", **ALONE},
    )


def test_a_child_does_not_tell_what_its_parent_noticed(run_python):
    said = run_python(
        """
        import logging, os, sys
        import snapsafe_rt

        logging.basicConfig(stream=sys.stdout, level="INFO", format="%(process)d %(message)s")
        parent = os.getpid()

        @snapsafe_rt.register_after_restore
        def forks():
            if os.getpid() == parent and not os.fork():
                os._exit(0)

        snapsafe_rt.notify_restored()
        child = os.fork()
        if not child:
            from snapsafe_rt import log
            log.flush()
            os._exit(0)
        os.waitpid(child, 0)
        print(parent)
        """,
        env={"SNAPSAFE_SOURCES": "vmclock:/none", **ALONE},
        dev=False,
    )
    told, parent = said.splitlines()
    assert told.startswith(f"{parent} restored (notified): epoch 1"), said


def test_many_errors_do_not_push_the_event_out(run_python):
    run_python(
        HEARD
        + """
for number in range(70):
    snapsafe_rt.register_after_restore(fails)
try:
    snapsafe_rt.notify_restored()
except Exception as group:
    assert len(group.exceptions) == 70
assert heard[-1][1].startswith("restored (notified): epoch 1, 70 callbacks in "), heard[-1]
assert heard[-1][2]["SNAPSAFE_ERRORS"] == 70
assert sum(one[0] == "ERROR" for one in heard) == 64, "the twin: errors are bounded"
""",
        env=ALONE,
        dev=False,
    )
