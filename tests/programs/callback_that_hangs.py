"""PATH: check() names the callback that hangs, and whoever waits gets its outcome later."""

import sys
import threading
import time

from restored import WATCHED, at_rest, until
from stage import bump

import snapsafe_rt
from snapsafe_rt.errors import ExceptionGroup

register, calls = snapsafe_rt.register_after_restore, []

go, inside = threading.Event(), threading.Event()


@register
def sleepyhead():
    inside.set()
    go.wait()
    raise ValueError("late")


sys.unraisablehook = lambda args: calls.append(args.exc_value)


def elsewhere():
    try:
        snapsafe_rt.check()
    except ExceptionGroup as group:
        calls.extend(group.exceptions)


bump()
if not WATCHED:
    other = threading.Thread(target=elsewhere)
    other.start()
assert inside.wait(20)
for seconds in (0, 0.05):
    begin = time.monotonic()
    try:
        snapsafe_rt.check(timeout=seconds)
    except TimeoutError as error:
        assert "sleepyhead" in str(error), error
    else:
        raise AssertionError("it did not wait")
    assert time.monotonic() - begin < 5
waiting, got = threading.Event(), []


def later():
    waiting.set()
    try:
        got.append(snapsafe_rt.check(timeout=20))
    except ExceptionGroup as group:
        got.extend(group.exceptions)


thread = threading.Thread(target=later)
thread.start()
waiting.wait()
assert at_rest(lambda: list(got)) == []  # it waits
go.set()
thread.join()
if not WATCHED:
    other.join()
assert until(lambda: calls)
assert snapsafe_rt.check(timeout=float("inf")) == 1
assert [str(error) for error in calls + got] in (["late", "late"], ["late", "1"]), (calls, got)
