"""PATH ARGUMENTS...: numpy.random's own tests; the generation moves while each of them runs."""

import sys
import threading

import pytest

from snapsafe_rt.source.vmclock_file import FileSource

source = FileSource(sys.argv[1])
begun = threading.Semaphore(0)
ended = threading.Event()


class Moves:
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item):
        begun.release()


def move():
    while True:
        begun.acquire()
        if ended.wait(0.001):  # the test is at work by then
            return
        source.bump()


mover = threading.Thread(target=move)
mover.start()
status = pytest.main(["--pyargs", "numpy.random", "-q", "-p", "no:cacheprovider", *sys.argv[2:]], plugins=[Moves()])
ended.set()
begun.release()
mover.join()
sys.exit(status)
