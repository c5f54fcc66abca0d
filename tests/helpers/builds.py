"""What the CPython that runs the tests was built as."""

import sys

FREE_THREADED: bool = not getattr(sys, "_is_gil_enabled", lambda: True)()
