"""os.urandom and os.getrandom: guarded in place by the native core (cython/urandom.pxi).

What `secrets` makes of them is Python code, and looked at too.
"""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards.guard import Guard, is_own, who

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from snapsafe_rt.guards.guard import Site

_NAMES = ("urandom", "getrandom")
_SECRETS = ("token_bytes", "token_hex", "token_urlsafe", "randbelow")


class Os(Guard):
    """Kernel bytes, mixed with an independent stream while the kernel may still repeat itself."""

    name = "os"
    covers = ("os.urandom", "os.getrandom", "secrets", "random.SystemRandom")
    triggers = ("secrets",)

    def install(self, module: "ModuleType") -> None:
        """Nothing: the core has guarded it. The table looks again."""

    def is_loaded(self) -> bool:
        return True

    def displaced(self) -> str:
        for name in _NAMES:
            if not native.guarded(f"posix.{name}"):
                by = native.displaced_by(f"posix.{name}")
                return f"os.{name} was made to call {by}" if by else f"os.{name} has an unknown calling convention"
            for module in ("os", "posix"):
                value = vars(sys.modules[module]).get(name)
                if not native.guards(value):
                    return f"{module}.{name} was replaced by {who(value)}"
        names = vars(sys.modules["secrets"]) if "secrets" in sys.modules else {}
        for name in _SECRETS:
            if name in names and not is_own(names, names[name]):
                return f"secrets.{name} was replaced by {who(names[name])}"
        return ""

    def sites(self) -> "list[Site]":
        found = [(what, words) for _, what, words in native.own_sites()]
        if not found:
            raise LookupError("os")
        found.append(("posix.", native.attribute_words(vars(sys.modules["posix"]), _NAMES)))
        if "secrets" in sys.modules:
            names = vars(sys.modules["secrets"])
            found.append(("secrets.", native.attribute_words(names, tuple(name for name in _SECRETS if name in names))))
        return found

    def note(self) -> str:
        return "kernel bytes, mixed with an independent stream while the kernel may still repeat itself"


GUARD = Os()
