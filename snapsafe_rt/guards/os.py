"""os.urandom and os.getrandom: guarded in place by the native core (cython/urandom.pxi).

What `secrets` makes of them is Python code, and looked at too.
"""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards.guard import Guard, answers, is_executing, is_own, names_of, who

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FunctionType, ModuleType
    from typing import Any

    from snapsafe_rt.guards.guard import Site

_NAMES = ("urandom", "getrandom")
_SECRETS = ("randbelow", "token_bytes", "token_hex", "token_urlsafe")  # in the order in which they are defined
_METHODS = {"choice": "choice", "randbits": "getrandbits"}  # what `secrets` has of its one instance


class Os(Guard):
    """Kernel bytes, mixed with an independent stream while the kernel may still repeat itself."""

    name = "os"
    covers = ("os.urandom", "os.getrandom", "secrets", "random.SystemRandom")
    triggers = ("secrets",)

    def __init__(self) -> None:
        self._codes: dict[FunctionType, CodeType] = {}  # of the functions of `secrets`, when they were first seen

    def install(self, module: "ModuleType") -> None:
        """Nothing: the core has guarded it. The table looks again."""

    def remove(self) -> None:
        self._codes.clear()

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
        loaded = sys.modules.get("secrets")
        names = names_of(loaded)
        if "_sysrand" not in names and not self._codes:
            return ""  # the program's own, of that name
        if loaded is None or (is_executing(loaded) and _SECRETS[-1] not in names):
            return ""
        for name, value in self._secrets_replaced(names):
            return f"secrets.{name} was replaced by {who(value)}"
        return answers("os", "posix", "secrets")

    def _secrets_replaced(self, names: "dict[str, Any]") -> "Iterator[tuple[str, object]]":
        """What is not stock's of `secrets`; of what its class does, the row of random tells."""
        for name in _SECRETS:
            value = names.get(name)
            code: Any = native.code_of(value)
            if not is_own(names, value):
                yield name, value
            elif self._codes.setdefault(value, code) is not code:  # type: ignore[arg-type]
                yield name, code
        one, cls = names.get("_sysrand"), names.get("SystemRandom")
        if not _is_system(cls):
            yield "SystemRandom", cls
        elif type(one) is not cls or vars(one).keys() - {"gauss_next"}:
            yield "_sysrand", one
        for name, method in _METHODS.items():
            value = names.get(name)
            if getattr(value, "__self__", None) is not one or getattr(value, "__name__", "") != method:
                yield name, value

    def sites(self) -> "list[Site]":
        found = [(what, words) for _, what, words in native.own_sites()]
        if not found:
            raise LookupError("os")
        found.append(("posix.", native.attribute_words(vars(sys.modules["posix"]), _NAMES)))
        found.append(("the module ", native.module_words(sys.modules, ("os", "posix", "secrets"))))
        if "secrets" in sys.modules:
            names = names_of(sys.modules["secrets"])
            drawn = (*_SECRETS, *_METHODS, "_sysrand", "SystemRandom")
            found.append(("secrets.", native.attribute_words(names, tuple(name for name in drawn if name in names))))
            found.append(("a function of secrets", native.code_words(self._codes)))
            if "_sysrand" in names:
                found.append(("secrets._sysrand.", native.used_words(vars(names["_sysrand"]))))
        return found

    def note(self) -> str:
        return "kernel bytes, mixed with an independent stream while the kernel may still repeat itself"


def _is_system(cls: "Any") -> bool:
    """Is it the SystemRandom of a copy of the standard library's `random`?"""
    methods = vars(cls).values() if isinstance(cls, type) else ()
    globals_of = [getattr(method, "__globals__", {}) for method in methods]
    return any(names.get("SystemRandom") is cls and "_urandom" in names for names in globals_of)


GUARD = Os()
