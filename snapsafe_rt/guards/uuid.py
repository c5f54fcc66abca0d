"""uuid: the functions that draw or remember something, exchanged for methods of the native core (cython/uuid.pxi)."""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards.exchange import Exchanged
from snapsafe_rt.guards.guard import Guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FunctionType, ModuleType

_FUNCTIONS = ("uuid1", "uuid4", "uuid6", "uuid7", "uuid8", "getnode")


class Uuid(Guard):
    """Each function that draws or remembers something is exchanged for a native one that looks at the epoch."""

    name = "uuid"
    covers = ("uuid4", "uuid7", "uuid1", "uuid6", "uuid8", "getnode")
    triggers = ("uuid",)
    files = ("_uuid.",)

    def __init__(self) -> None:
        # By module: a program may import uuid again, as another object, or reload it.
        self._installed: list[tuple[ModuleType, dict[str, Exchanged], native.Uuid]] = []

    def install(self, module: "ModuleType") -> None:
        own = _own_functions(module)
        known = [exchanged.function for _, functions, _ in self._installed for exchanged in functions.values()]
        own = {name: function for name, function in own.items() if function not in known}
        if not own:
            return
        functions = {name: Exchanged(function) for name, function in own.items()}
        methods = native.Uuid(module, {name: exchanged.original for name, exchanged in functions.items()})
        for name, exchanged in functions.items():
            # uuid8 is put together from several draws of `random`, each of them guarded.
            exchanged.to(native.Rechecked(exchanged.original) if name == "uuid8" else getattr(methods, name))
        self._installed.append((module, functions, methods))

    def remove(self) -> None:
        for _, functions, methods in self._installed:
            for exchanged in functions.values():
                exchanged.undo()
            methods.leave()
        self._installed.clear()
        native.discard_pool()

    def displaced(self) -> str:
        module = sys.modules["uuid"]
        patched = next((functions for known, functions, _ in reversed(self._installed) if known is module), {})
        replaced = [
            name for name in _FUNCTIONS if name in vars(module) and not _is_in_place(module, patched.get(name), name)
        ]
        return f"not the standard library's, or exchanged by another library: {', '.join(replaced)}" if replaced else ""

    def note(self) -> str:
        pool = native.inspect_epoch().synchronous
        return "from kernel bytes drawn ahead" if pool else "each asks the kernel; no synchronous source to draw ahead"


def _own_functions(module: "ModuleType") -> "dict[str, FunctionType]":
    """Those that the module itself defines: what another library put in their place is not ours to exchange."""
    names = vars(module)
    return {
        name: names[name]
        for name in _FUNCTIONS
        if type(names.get(name)) is type(_own_functions) and names[name].__globals__ is names
    }


def _is_in_place(module: "ModuleType", exchanged: "Exchanged | None", name: str) -> bool:
    return exchanged is not None and exchanged.function is vars(module)[name] and exchanged.in_place()


GUARD = Uuid()
