"""PATH: a VFS of the program's own keeps giving the seed."""

import ctypes
import os
import threading

from sqlite_library import NAME, RANDOMNESS, VFS_SIZE, _core, connect, library, row, source, used

asked, restored_meanwhile = [], []


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
def own_randomness(vfs, size, out):
    if restored_meanwhile:
        restored_meanwhile.clear()
        source.bump()
    asked.append(os.getrandom(size))
    ctypes.memmove(out, asked[-1], size)
    return size


sqlite = library()
made = ctypes.create_string_buffer(ctypes.string_at(sqlite.sqlite3_vfs_find(None), VFS_SIZE), VFS_SIZE)
ctypes.c_char_p.from_buffer(made, NAME).value = b"own"
ctypes.c_void_p.from_buffer(made, RANDOMNESS).value = ctypes.cast(own_randomness, ctypes.c_void_p).value
assert sqlite.sqlite3_vfs_register(made, 1) == 0
used()
for _ in range(3):
    count = len(asked)
    source.bump()
    used()
    assert len(asked) == count + 1, asked
assert row().protection == "refreshed", row().note
assert not any(found.fenced for found in _core.libsqlites())

restored_meanwhile.append(True)
source.bump()
used()
assert not restored_meanwhile


def hammer():
    own = connect()
    for _ in range(200):
        sqlite.sqlite3_randomness(0, None)
        own.execute("SELECT randomblob(8)").fetchone()
    own.close()


threads = [threading.Thread(target=hammer) for _ in range(3)]
for thread in threads:
    thread.start()
while any(thread.is_alive() for thread in threads):
    source.bump()
    used()
count = len(asked)
source.bump()
used()
assert len(asked) == count + 1
sqlite.sqlite3_vfs_unregister(made)
