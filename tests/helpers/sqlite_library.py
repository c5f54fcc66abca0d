"""For scripts, by *: sqlite_stage, and the library below it, by ctypes."""

# ruff: noqa: F401, F403
import ctypes
import os

import libcrypto
from sqlite_stage import *

import snapsafe_rt
from snapsafe_rt import _core

# struct sqlite3_vfs, 64-bit: three ints, then pointers; zName is the second, xRandomness the 12th.
VFS_SIZE, NAME, RANDOMNESS = 168, 24, 104
SIZE = ctypes.sizeof(ctypes.c_void_p)


def states():
    return {os.path.basename(found.path): found for found in _core.libsqlites()}


def library(path=None):
    found = ctypes.CDLL(path or libcrypto.path_of("libsqlite3"))
    found.sqlite3_vfs_find.restype = ctypes.c_void_p
    return found


def randomness(sqlite):
    buffer = ctypes.create_string_buffer(16)
    sqlite.sqlite3_randomness(16, buffer)
    return buffer.raw


def at(address):
    return ctypes.c_void_p.from_address(address).value


def resets():
    return sum(found.resets for found in _core.libsqlites())
