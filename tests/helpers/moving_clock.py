"""For scripts under LD_PRELOAD of tests/native/clock.c: time passes when the test says so."""

import ctypes

_seam = ctypes.CDLL(None)


def move(seconds):
    """Each wait of another thread that would be over by then is over now."""
    _seam.clock_move(ctypes.c_long(round(1000 * seconds)))


def waits():
    """How many threads but this one are in a wait that has an end."""
    return _seam.clock_waits()
