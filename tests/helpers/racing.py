"""For scripts: threads that draw while the generation moves, by the library of tests/native/race.c."""

import ctypes
import mmap
import os
import threading

# Nanoseconds between changes. Under ThreadSanitizer a renewal takes longer than 20 microseconds, and would be
# overtaken as often as it is repeated.
PAUSE = 2_000_000 if "TSAN_OPTIONS" in os.environ else 20_000

_ARGUMENTS = {
    "race_bitgen": 1,
    "race_exchange": 2,
    "race_start": 2,
    "race_stop": 0,
    "race_hammer": 3,
    "race_values": 2,
}


class Race:
    def __init__(self, library, path):
        self.library = ctypes.PyDLL(library)
        for name, count in _ARGUMENTS.items():
            function = getattr(self.library, name)
            function.restype, function.argtypes = ctypes.py_object, [ctypes.py_object] * count
        with open(path, "r+b") as file:
            self._page = mmap.mmap(file.fileno(), 4096)

    def stale(self, work):
        """How many values were of a generation that was over when they were drawn, in a thread for each of `work`."""
        self.library.race_start(ctypes.addressof(ctypes.c_char.from_buffer(self._page)), PAUSE)
        stale = []
        threads = [threading.Thread(target=lambda one=one: stale.append(one())) for one in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        changes = self.library.race_stop()
        assert changes > 10, changes
        return sum(stale)
