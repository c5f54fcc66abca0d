"""uuid: the functions that draw or remember something, exchanged for methods of the native core (cython/uuid.pxi)."""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards.exchange import Exchanged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FunctionType, ModuleType

COVERS = ("uuid4", "uuid7", "uuid1", "uuid6", "uuid8", "getnode")

_FUNCTIONS = ("uuid1", "uuid4", "uuid6", "uuid7", "uuid8", "getnode")

# By module: a program may import uuid again, as another object, or reload it.
_installed: "list[tuple[ModuleType, dict[str, Exchanged], native.Uuid]]" = []


def install(module: "ModuleType") -> None:
    own = _own_functions(module)
    known = [exchanged.function for _, functions, _ in _installed for exchanged in functions.values()]
    own = {name: function for name, function in own.items() if function not in known}
    if not own:
        return
    functions = {name: Exchanged(function) for name, function in own.items()}
    room = native.Uuid(module, {name: exchanged.original for name, exchanged in functions.items()})
    for name, exchanged in functions.items():
        # uuid8 is put together from several draws of `random`, each of them guarded.
        exchanged.to(native.Rechecked(exchanged.original) if name == "uuid8" else getattr(room, name))
    _installed.append((module, functions, room))


def _own_functions(module: "ModuleType") -> "dict[str, FunctionType]":
    """Those that the module itself defines: what another library put in their place is not ours to exchange."""
    names = vars(module)
    return {
        name: names[name]
        for name in _FUNCTIONS
        if type(names.get(name)) is type(install) and names[name].__globals__ is names
    }


def remove() -> None:
    for _, functions, room in _installed:
        for exchanged in functions.values():
            exchanged.undo()
        room.leave()
    _installed.clear()
    native.discard_pool()


def protection() -> tuple[str, str]:
    module = sys.modules.get("uuid")
    if module is None:
        return "not loaded", "guarded as soon as it is imported"
    patched = next((functions for known, functions, _ in reversed(_installed) if known is module), {})
    replaced = [
        name for name in _FUNCTIONS if name in vars(module) and not _is_in_place(module, patched.get(name), name)
    ]
    if replaced:
        return "unprotected", f"not the standard library's, or exchanged by another library: {', '.join(replaced)}"
    pool = native.inspect_epoch().synchronous
    return (
        "guarded",
        "from kernel bytes drawn ahead" if pool else "each asks the kernel; no synchronous source to draw ahead",
    )


def _is_in_place(module: "ModuleType", exchanged: "Exchanged | None", name: str) -> bool:
    return exchanged is not None and exchanged.function is vars(module)[name] and exchanged.in_place()
