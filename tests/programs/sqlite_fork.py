"""PATH DRAWING: what the row says in a child that was forked while another thread had the mutex of the generator."""

import ctypes
import os
import signal
import sys
import threading
import warnings

from sqlite_stage import connection, source

import snapsafe_rt
from snapsafe_rt.core import native

connection.execute("SELECT random()").fetchone()
(path,) = [library.path for library in native.libsqlites() if library.state == "ready"]
library = ctypes.CDLL(path)
library.sqlite3_mutex_alloc.restype = ctypes.c_void_p
mutex = ctypes.c_void_p(library.sqlite3_mutex_alloc(5))  # SQLITE_MUTEX_STATIC_PRNG
holds, done = threading.Event(), threading.Event()


def draw():
    if sys.argv[2] == "True":
        library.sqlite3_mutex_enter(mutex)
    holds.set()
    done.wait()
    if sys.argv[2] == "True":
        library.sqlite3_mutex_leave(mutex)


thread = threading.Thread(target=draw)
thread.start()
holds.wait()
warnings.simplefilter("ignore", DeprecationWarning)  # of the other thread, from 3.12 on
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    source.bump(1000)
    os.urandom(4)
    assert snapsafe_rt.epoch() == 1
    row = next(row for row in snapsafe_rt.status().rows if row.name == "sqlite3")
    print(row.protection, "for ever" in row.note, flush=True)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
done.set()
thread.join()
