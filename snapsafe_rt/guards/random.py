"""random: every instance of _random.Random (cython/random.pxi guards the C methods), and gauss, which is Python."""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards.exchange import Exchanged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

COVERS = (
    "random.random",
    "randint",
    "shuffle",
    "sample",
    "gauss",
    "own Random() instances",
    "tempfile names",
    "email ids",
)

_METHODS = ("random", "getrandbits", "seed", "getstate", "setstate")

_types: list[type] = []
_functions: list[Exchanged] = []


def install(module: "ModuleType") -> None:
    """`module` is _random, or a `random` on top of it; each may be imported again, as another object."""
    if module.__name__ == "_random":
        if module.Random not in _types and native.hook_init(module.Random, True):
            _types.append(module.Random)
    elif all(exchanged.function is not module.Random.gauss for exchanged in _functions):
        exchanged = Exchanged(module.Random.gauss)
        exchanged.to(native.Gauss(exchanged.original, module.Random.__base__))
        _functions.append(exchanged)


def remove() -> None:
    for exchanged in _functions:
        exchanged.undo()
    for cls in _types:
        native.hook_init(cls, False)
    _functions.clear()
    _types.clear()


def protection() -> tuple[str, str]:
    if "_random" not in sys.modules:
        return "not loaded", "guarded as soon as it is imported"
    if not all(map(native.guarded, _METHODS)):
        return "unprotected", "this build's _random.Random has an unknown layout or calling convention"
    renewed, kept = native.random_counters()
    return "guarded", f"{renewed} times an instance renewed, {kept} times one kept that the program had seeded"
