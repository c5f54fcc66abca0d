"""PATH OPERATION SPAN: restores in a process with a callback while allocations fail, one after the other."""

import _testcapi
import contextlib
import os
import random
import ssl
import sys
import uuid

from stage import bump

import snapsafe_rt

OPERATIONS = {
    "random": random.random,
    "gauss": lambda: random.gauss(0, 1),
    "urandom": lambda: os.urandom(16),
    "uuid4": uuid.uuid4,
    "uuid1": uuid.uuid1,
    "RAND_bytes": lambda: ssl.RAND_bytes(8),
    "seed": random.seed,
    "check": snapsafe_rt.check,
}
# CPython 3.12 and 3.13 end the process themselves where Python code has no memory for a function or a frame, and an
# event is Python code, which runs whenever its thread comes to it. There the draws are tried alone.
EVENTS = not (3, 12) <= sys.version_info < (3, 14)
called = []
sys.unraisablehook = lambda *_: None  # what the runner had no memory for
stderr = os.dup(2)  # CPython tells there of what it had no memory for
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
if EVENTS:
    snapsafe_rt.register_after_restore(called.append, 1)
snapsafe_rt.check()
operation = OPERATIONS[sys.argv[2]]
for start in [*range(60)] * 2:
    bump()
    _testcapi.set_nomemory(start, start + int(sys.argv[3]))
    try:
        operation()
    except BaseException:  # MemoryError, or what somebody made of it
        _testcapi.remove_mem_hooks()
    finally:
        _testcapi.remove_mem_hooks()
os.dup2(stderr, 2)
random.random()
with contextlib.suppress(BaseException):  # what callbacks raised while there was none
    snapsafe_rt.check()
if not EVENTS:
    snapsafe_rt.register_after_restore(called.append, 1)
called.clear()
bump()
snapsafe_rt.check()
assert called == [1], called
