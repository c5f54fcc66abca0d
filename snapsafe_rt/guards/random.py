"""random: every instance of _random.Random (cython/random.pxi guards the C methods), and gauss, which is Python."""

from snapsafe_rt.core import native
from snapsafe_rt.guards.exchange import Exchanged
from snapsafe_rt.guards.guard import Guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


class Random(Guard):
    """Each instance is checked at each draw, and seeded anew after a restore; one with a chosen seed is kept."""

    name = "random"
    covers = (
        "random.random",
        "randint",
        "shuffle",
        "sample",
        "gauss",
        "own Random() instances",
        "tempfile names",
        "email ids",
    )
    triggers = ("_random", "random")
    files = ("_random.",)

    def __init__(self) -> None:
        self._types: list[type] = []
        self._functions: list[Exchanged] = []

    def install(self, module: "ModuleType") -> None:
        """`module` is _random, or a `random` on top of it; each may be imported again, as another object."""
        if module.__name__ == "_random":
            if module.Random not in self._types and native.hook_init(module.Random, True):
                self._types.append(module.Random)
        elif all(exchanged.function is not module.Random.gauss for exchanged in self._functions):
            exchanged = Exchanged(module.Random.gauss)
            exchanged.to(native.Gauss(exchanged.original, module.Random.__base__))
            self._functions.append(exchanged)

    def remove(self) -> None:
        for exchanged in self._functions:
            exchanged.undo()
        for cls in self._types:
            native.hook_init(cls, False)
        self._functions.clear()
        self._types.clear()

    def displaced(self) -> str:
        return (
            ""
            if native.guarded("_random.Random")
            else "this build's _random.Random has an unknown layout or calling convention"
        )

    def note(self) -> str:
        renewed, kept = native.random_counters()
        return f"{renewed} times an instance renewed, {kept} times one kept that the program had seeded"


GUARD = Random()
