"""PATH: 300 forks, and children by other ways, leave no thread, descriptor or memory behind, and warn of nothing."""

import multiprocessing
import os
import subprocess
import warnings

from restored import children_end, descriptors, resident, restore, threads, until

import snapsafe_rt

register, calls = snapsafe_rt.register_after_restore, []


register(calls.append, 1)

warned = []
warnings.showwarning = lambda *args: warned.append(args)
warnings.simplefilter("always", DeprecationWarning)


def child():
    os._exit(0)


def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return pid


for _ in range(30):
    os.waitpid(fork(), 0)
assert until(lambda: {"snapsafe-watch", "snapsafe-event"} <= set(threads()))
before = threads(), descriptors(), resident()
for _ in range(300):
    assert children_end([fork()]) == [0]
for _ in range(30):
    pid, fd = os.forkpty()
    if pid == 0:
        os._exit(0)
    assert children_end([pid]) == [0]
    os.close(fd)
    subprocess.run(["true"], check=True, preexec_fn=lambda: None)
    subprocess.run(["true"], check=True)
fork_context = multiprocessing.get_context("fork")
for _ in range(30):
    process = fork_context.Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0
    process.close()
assert until(lambda: (threads(), descriptors()) == before[:2]), (threads(), descriptors(), before)
assert resident() - before[2] < 3000, (before[2], resident())
assert len(warned) < 5, warned  # each time that a machine with much to do kept one of ours from ending
errors = restore()
assert errors == [] and calls == [1], (errors, calls)
