"""Unchanged Python programs that never repeat themselves in a clone of a virtual machine or container.

A snapshot that is restored many times wakes every copy with the same memory: the same random state, OpenSSL DRBG, UUID
clock sequence. Activated, this package looks at a counter that the hypervisor (or whoever restores) changes, before and
after every draw, and renews what the copies would share.

Nothing is patched by importing it: activate() does that, or the folder that `snapsafe run` puts on PYTHONPATH.

PYTEST_DONT_REWRITE: pytest, whose plugin is in here, would warn where this was imported before it began.
"""

import sys

from snapsafe_rt.activation import activate, deactivate
from snapsafe_rt.core import importing, native
from snapsafe_rt.restore.generation import entropy, epoch, notify_restored, per_generation
from snapsafe_rt.settings import VERSION as __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snapsafe_rt.report.status import Status
    from snapsafe_rt.restore.asynchronous import acheck
    from snapsafe_rt.restore.events import cause, check
    from snapsafe_rt.restore.registration import register_after_restore, unregister
    from snapsafe_rt.snapshot.registration import register_at_snapshot, register_before_snapshot


__all__ = [
    "__version__",
    "acheck",
    "activate",
    "cause",
    "check",
    "deactivate",
    "entropy",
    "epoch",
    "notify_restored",
    "per_generation",
    "register_after_restore",
    "register_at_snapshot",
    "register_before_snapshot",
    "status",
    "unregister",
]


_LATER = {
    "acheck": "restore.asynchronous",
    "cause": "restore.events",
    "check": "restore.events",
    "register_after_restore": "restore.registration",
    "register_at_snapshot": "snapshot.registration",
    "register_before_snapshot": "snapshot.registration",
    "unregister": "restore.registration",
}


def __getattr__(name: str) -> object:
    """What only programs with callbacks pay for is imported when it is first asked for (PEP 562)."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    importing(_load_all)
    module = f"{__name__}.{_LATER[name]}"
    importing(lambda: __import__(module))
    value: object = getattr(sys.modules[module], name)
    globals()[name] = value
    return value


def _load_all() -> "type[Status]":
    """All at once: privileges may fall, and the files be barred."""
    from snapsafe_rt import errors  # noqa: F401
    from snapsafe_rt.guards import table
    from snapsafe_rt.report.status import Status
    from snapsafe_rt.restore import registration  # noqa: F401

    if native is not None:
        table.preload()
    return Status


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def status() -> "Status":
    """What is true of this process now: source, epoch, fence, and the protection of each subsystem.

    Returns a snapsafe_rt.report.status.Status; `.as_dict()` is what `snapsafe status --json` prints. Looks for a
    better source first, and draws one byte from each libcrypto to see its guard run. Any thread; raises nothing of its
    own.
    """
    return importing(_load_all).now()
