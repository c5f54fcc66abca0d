"""PATH: per_generation() alone, with threads that wait for one factory, and in a child that is forked meanwhile."""

import contextlib
import os
import threading
import warnings

from stage import bump

import snapsafe_rt


def fence():
    return snapsafe_rt.status().fence["state"]


calls = []


@snapsafe_rt.per_generation
def node():
    calls.append(1)
    return snapsafe_rt.entropy(8)


first = node()
assert node() is first and len(calls) == 1
bump()
assert node() != first and len(calls) == 2 and node.__wrapped__.__name__ == "node"


def fails():
    raise KeyError("x")


failing = snapsafe_rt.per_generation(fails)
for _ in range(2):
    with contextlib.suppress(KeyError):
        failing()
try:
    snapsafe_rt.per_generation(3)
except TypeError as error:
    assert "takes a callable, not int" in str(error)

# Made anew where a restore came in between; threads wait for one factory.
made = []


@snapsafe_rt.per_generation
def restored_meanwhile():
    if not made:
        bump()
    made.append(1)
    return len(made)


assert restored_meanwhile() == 2 == restored_meanwhile()
begun, go = threading.Event(), threading.Event()


@snapsafe_rt.per_generation
def slow():
    begun.set()
    go.wait(30)
    return object()


results = []
threads = [threading.Thread(target=lambda: results.append(slow())) for _ in range(4)]
for thread in threads:
    thread.start()
begun.wait(30)
go.set()
for thread in threads:
    thread.join()
assert len({id(result) for result in results}) == 1

# A child forked while another thread is in the factory does not wait for that thread.
bump()
begun.clear(), go.clear()
thread = threading.Thread(target=slow)
thread.start()
begun.wait(30)

warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is the point
if (child := os.fork()) == 0:
    go = threading.Event()  # the other thread may have held its lock
    go.set()
    slow()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
go.set()
thread.join()
