"""Libraries that C code opens, past every door of Python: looked for at check() and at the restore event."""

from snapsafe_rt.core import native
from snapsafe_rt.state import state

_seen = 0  # how often libraries had come or gone when they were last judged


def look() -> None:
    """Hook what came since. Under SNAPSAFE_STRICT=1 the process ends where an OpenSSL cannot be hooked."""
    global _seen
    count = native.find_libraries()
    if state.settings.strict and state.active and count != _seen:
        _seen = count
        from snapsafe_rt.guards import unexamined

        unexamined.refuse_libcryptos()
