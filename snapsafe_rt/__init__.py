"""Unchanged Python programs that never repeat themselves in a clone of a virtual machine or container.

A snapshot that is restored many times wakes every copy with the same memory: the same random state, OpenSSL DRBG, UUID
clock sequence. Activated, this package looks at a counter that the hypervisor (or whoever restores) changes, before and
after every draw, and renews what the copies would share.

Nothing is patched by importing it: activate() does that, or the folder that `snapsafe run` puts on PYTHONPATH.
"""

from snapsafe_rt.activation import activate, deactivate
from snapsafe_rt.generation import entropy, epoch, notify_restored, per_generation
from snapsafe_rt.settings import VERSION as __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snapsafe_rt.report import Status

__all__ = [
    "__version__",
    "activate",
    "deactivate",
    "entropy",
    "epoch",
    "notify_restored",
    "per_generation",
    "status",
]


def status() -> "Status":
    """What is true of this process now: source, epoch, fence, and the protection of each subsystem.

    Returns a snapsafe_rt.report.Status; `.as_dict()` is what `snapsafe status --json` prints. Looks for a better source
    first, and draws one byte from each libcrypto to see its guard run. Any thread; raises nothing of its own.
    """
    from snapsafe_rt.report import Status

    return Status.now()
