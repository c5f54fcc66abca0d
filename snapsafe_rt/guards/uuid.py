"""uuid: the functions that draw or remember something, exchanged for methods of the native core (cython/uuid.pxi)."""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards.guard import Guard, answers, is_executing, is_own, names_of, who

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FunctionType, ModuleType
    from typing import Any

    from snapsafe_rt.guards.guard import Site

_FUNCTIONS = ("uuid1", "uuid4", "uuid6", "uuid7", "uuid8", "getnode")


class Uuid(Guard):
    """Each function that draws or remembers something is exchanged for a native one that looks at the epoch."""

    name = "uuid"
    covers = ("uuid4", "uuid7", "uuid1", "uuid6", "uuid8", "getnode")
    triggers = ("uuid",)
    files = ("_uuid.",)

    def __init__(self) -> None:
        # By module: a program may import uuid again, as another object, or reload it.
        self._installed: list[tuple[ModuleType, dict[str, native.Exchanged], native.Uuid]] = []

    def install(self, module: "ModuleType") -> None:
        if not _is_uuid(vars(module)) and module.__name__ != "uuid":
            return  # another module whose file has that name
        own = _own_functions(module)
        known = [exchanged.function for _, functions, _ in self._installed for exchanged in functions.values()]
        own = {name: function for name, function in own.items() if function not in known}
        if not own:
            return
        functions = {name: native.Exchanged(function) for name, function in own.items()}
        methods = native.Uuid(module, {name: exchanged.original for name, exchanged in functions.items()})
        for name, exchanged in functions.items():
            # uuid8 is put together from several draws of `random`, each of them guarded.
            target = native.Rechecked(exchanged.original) if name == "uuid8" else getattr(methods, name)
            exchanged.to(native.audit_wrap(name, target))
        self._installed.append((module, functions, methods))

    def remove(self) -> None:
        for _, functions, methods in self._installed:
            for exchanged in functions.values():
                exchanged.undo()
            methods.leave()
        self._installed.clear()
        native.discard_pool()

    def displaced(self) -> str:
        self._find()
        for module, functions, _ in self._installed:
            for name, exchanged in functions.items():
                if not exchanged.in_place():
                    return f"{module.__name__}.{name} was exchanged by another library"
        module = sys.modules["uuid"]
        names = names_of(module)
        of_it = [functions for known, functions, _ in self._installed if vars(known) is names]
        patched = of_it[-1] if of_it else {}  # reloaded, it has new functions
        for name in _FUNCTIONS if patched or not is_executing(module) else ():
            value = names.get(name)
            if name in names and not (name in patched and patched[name].function is value):
                return f"uuid.{name} was replaced by {who(value)}"
        return "" if is_executing(module) else self._replaced(module)

    def _replaced(self, module: "ModuleType") -> str:
        """What it is that the module's own functions would draw by, or the module itself, where it is not stock's."""
        of_it = [methods for known, _, methods in self._installed if vars(known) is names_of(module)]
        if self._installed and not of_it:
            return f"the module uuid was replaced by {who(module)}"
        name, value = (of_it[-1].replaced() if of_it else None) or ("", None)
        return f"uuid.{name} was replaced by {who(value)}" if name else answers("uuid")

    def _find(self) -> None:
        """A copy that came by a door of its own."""
        for module in list(sys.modules.values()):
            names = names_of(module)
            known = any(vars(one) is names for one, *_ in self._installed)
            if not known and _is_uuid(names) and not is_executing(module):
                self.install(module)

    def sites(self) -> "list[Site]":
        found = []
        for module, functions, _ in self._installed:
            found += [(f"{module.__name__}.{name}", one.words()) for name, one in functions.items()]
        names = names_of(sys.modules["uuid"])
        drawn = (*_FUNCTIONS, "os", "UUID")
        found.append(("uuid.", native.attribute_words(names, tuple(name for name in drawn if name in names))))
        found.append(("the module ", native.module_words(sys.modules, ("uuid",))))
        found.append(("uuid.UUID.", native.attribute_words(names["UUID"], ("__init__", "int", "is_safe"))))
        return found

    def note(self) -> str:
        if not native.has_pool():
            return "each asks the kernel"
        pool = native.inspect_epoch().synchronous
        return "from kernel bytes drawn ahead" if pool else "each asks the kernel; no synchronous source to draw ahead"


def _is_uuid(names: "dict[str, Any]") -> bool:
    """Is it the standard library's module, under whatever name? Others have its SafeUUID from there."""
    return "SafeUUID" in names and getattr(names["SafeUUID"], "__module__", None) == names.get("__name__")


def _own_functions(module: "ModuleType") -> "dict[str, FunctionType]":
    """Those that the module itself defines: what another library put in their place is not ours to exchange."""
    names = vars(module)
    return {name: names[name] for name in _FUNCTIONS if name in names and is_own(names, names[name])}


GUARD = Uuid()
