"""PATH TOLD: how many different values ten clones draw, in each of which another asks while a restore is noted."""

import contextlib
import ctypes
import os
import sqlite3
import sys

from drawing import distinct, source

import snapsafe_rt
from snapsafe_rt.core import native


def fence():
    return snapsafe_rt.status().fence["state"]


# The kernel was reseeded for what is shown before the snapshot.
with open(sys.argv[1], "r+b", buffering=0) as file:
    os.pwrite(file.fileno(), source.generation.to_bytes(8, "little"), 0x800)
seams = ctypes.CDLL(None)
asked = ctypes.c_ulong.in_dll(seams, "fence_asked")
with contextlib.closing(sqlite3.connect(":memory:")) as connection:
    connection.execute("SELECT random()").fetchone()
(path,) = [library.path for library in native.libsqlites() if library.state == "ready"]
randomness = ctypes.c_void_p.in_dll(seams, "fence_randomness")
at = ctypes.cast(ctypes.CDLL(path).sqlite3_randomness, ctypes.c_void_p).value


def prepare():
    os.urandom(1)
    assert fence() == "down"
    randomness.value = at


def draw():
    if sys.argv[2] == "True":
        native.advance()
    else:
        os.urandom(1)
    assert asked.value == 1
    return os.urandom(16)


if sys.argv[2] == "True":
    source.bump = lambda *arguments: source.generation  # a restore that the file does not show
print(distinct(draw, prepare, count=10))
