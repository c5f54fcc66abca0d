"""PATH HOW NOTICED: a child forked past os.fork has no watcher; that is told from outside, until NOTICED runs there."""

import ctypes
import os
import platform
import random
import sys

from restored import at_rest, children_end, restore, until
from stage import bump

import snapsafe_rt
from snapsafe_rt.report import remote

how, noticed = sys.argv[2:4]
calls = []
snapsafe_rt.register_after_restore(lambda: calls.append(os.getpid()))
assert restore() == []
assert len(calls) == 1
random.random()
libc = ctypes.PyDLL(None)
if how == "_Fork" and not hasattr(libc, "_Fork"):
    print("this C library has no _Fork()")
    sys.exit(77)
here, there = os.pipe(), os.pipe()
SIGCHLD = 17
CLONE = {"x86_64": 56, "aarch64": 220}[platform.machine()]


def child():
    os.read(there[0], 1)
    if how != "fork" and noticed == "random.random()":
        bump()
    exec(noticed, globals())  # noqa: S102 - the test's own
    for _ in range(1000):  # steps in Python: there is done what was noticed in a draw
        pass
    assert until(lambda: snapsafe_rt.core.native.inspect_watcher().running)
    os.write(here[1], b"x")
    os.read(there[0], 1)
    bump()
    assert until(lambda: calls[1:] and set(calls[1:]) == {os.getpid()}), calls


def callbacks_row(status):
    return [row for row in status.rows if row.name == "callbacks"]


at_rest(lambda: 0)  # clone(2) and _Fork() ask nobody: the event's thread may be about to let the GIL go
pid = libc.syscall(CLONE, SIGCHLD, 0, 0, 0, 0) if how == "clone" else getattr(libc, how)()
if pid == 0:
    status = 1
    try:
        child()
        status = 0
    finally:
        os._exit(status)
told = remote.inspect(pid)
[row] = callbacks_row(told)
assert row.protection == "unprotected", row.note
assert "fork" in row.note
assert not told.protected
os.write(there[1], b"x")
assert os.read(here[0], 1) == b"x"
told = remote.inspect(pid)
assert told.watching["how"] != "off", told.as_dict()
assert callbacks_row(told) == []
assert told.protected or "uuid" in noticed, told.as_dict()
os.write(there[1], b"x")
assert children_end([pid]) == [0]
assert until(lambda: len(calls) > 1 and set(calls) == {os.getpid()})
