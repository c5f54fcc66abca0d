"""PATH: eight threads call check() while the source moves."""

import threading
import time

from restored import settle
from stage import bump

import snapsafe_rt

register, calls = snapsafe_rt.register_after_restore, []
begun, complete, running = [], set(), []


def first():
    running.append(threading.get_ident())
    assert len(running) == 1, running
    begun.append(snapsafe_rt.restore.events.delivery.event.epoch)
    time.sleep(0.0005)


def last():
    complete.add(begun[-1])
    running.clear()


register(first)
register(last)
errors = []


def check():
    try:
        while len(begun) < 50:
            seen = snapsafe_rt.epoch()
            got = snapsafe_rt.check()
            assert got >= seen, (got, seen)
            assert got == 0 or got in complete, (got, max(list(complete)))
            assert seen == 0 or max(list(complete)) >= seen
    except BaseException as error:
        errors.append(error)


threads = [threading.Thread(target=check) for _ in range(8)]
for thread in threads:
    thread.start()
while any(thread.is_alive() for thread in threads):
    bump()
    time.sleep(0.001)
assert settle() == []
assert errors == [], errors
assert len(begun) == len(set(begun)) > 20 and sorted(begun) == begun
