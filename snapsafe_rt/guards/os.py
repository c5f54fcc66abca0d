"""os.urandom and os.getrandom: guarded in place by the native core (cython/urandom.pxi)."""

from snapsafe_rt.core import native
from snapsafe_rt.guards.guard import Guard


class Os(Guard):
    """Kernel bytes, mixed with an independent stream while the kernel may still repeat itself."""

    name = "os"
    covers = ("os.urandom", "os.getrandom", "secrets", "random.SystemRandom")

    def displaced(self) -> str:
        missing = [name for name in ("urandom", "getrandom") if not native.guarded(f"posix.{name}")]
        return f"os.{missing[0]} has an unknown calling convention" if missing else ""

    def note(self) -> str:
        return "kernel bytes, mixed with an independent stream while the kernel may still repeat itself"


GUARD = Os()
