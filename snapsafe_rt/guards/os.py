"""os.urandom and os.getrandom: guarded in place by the native core (cython/urandom.pxi)."""

from snapsafe_rt.core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

COVERS = ("os.urandom", "os.getrandom", "secrets", "random.SystemRandom")


def install(module: "ModuleType") -> None:
    """Nothing to add: activation guarded them."""


def remove() -> None:
    """Nothing to undo here."""


def protection() -> tuple[str, str]:
    missing = [name for name in ("urandom", "getrandom") if not native.guarded(name)]
    if missing:
        return "unprotected", f"os.{missing[0]} has an unknown calling convention"
    return "guarded", "kernel bytes, mixed with an independent stream while the kernel may still repeat itself"
