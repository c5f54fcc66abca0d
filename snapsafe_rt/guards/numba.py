"""numba: the generators of compiled functions, of which each thread has its own."""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards.guard import Guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from snapsafe_rt.guards.guard import Site

_MODULE = "numba._helperlib"
_NAMES = ("get_py_random_state", "get_np_random_state", "get_internal_random_state", "rnd_init")


class Numba(Guard):
    """Each thread's generator is seeded anew when a compiled function begins to draw; one that the program seeded is
    kept. A function that runs across a restore goes on with the old state."""

    name = "numba"
    covers = ("random and numpy.random in compiled functions",)
    triggers = (_MODULE,)
    files = ("/numba/_helperlib.",)
    level = "refreshed"

    def __init__(self) -> None:
        self._stock: dict[str, int] = {}
        self._ours: dict[str, int] = {}

    def install(self, module: "ModuleType") -> None:
        """Compiled functions are linked with what the dict says when the first of them is compiled."""
        self.remove()
        helpers: dict[str, int] = vars(module)["c_helpers"]
        stock = {name: helpers[name] for name in _NAMES}
        ours = native.numba_exchange(list(stock.values()), vars(module)["rnd_seed"])
        self._stock, self._ours = stock, dict(zip(_NAMES, ours, strict=True))
        helpers.update(self._ours)

    def remove(self) -> None:
        native.numba_exchange(None)
        helpers = _helpers()
        for name, address in self._stock.items():
            if helpers.get(name) == self._ours[name]:
                helpers[name] = address
        self._stock, self._ours = {}, {}

    def displaced(self) -> str:
        helpers = _helpers()
        if not self._ours or any(helpers.get(name) != address for name, address in self._ours.items()):
            return "it came in a way that was not seen, or another library has its functions"
        linked = getattr(sys.modules.get("llvmlite.binding"), "address_of_symbol", None)
        if linked is not None and any(linked(f"numba_{name}") not in (None, self._ours[name]) for name in _NAMES):
            return "it compiled functions before activation, and those draw past us: activate first"
        return ""

    def sites(self) -> "list[Site]":
        return [("numba._helperlib.c_helpers: ", native.attribute_words(_helpers(), _NAMES))]

    def note(self) -> str:
        return "each thread's generator is seeded anew when a compiled function begins to draw; a chosen seed is kept"


def _helpers() -> "dict[str, Any]":
    found: dict[str, Any] = getattr(sys.modules.get(_MODULE), "c_helpers", {})
    return found


GUARD = Numba()
