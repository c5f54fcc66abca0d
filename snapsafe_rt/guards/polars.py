"""polars: one generator, from which Series.sample, DataFrame.sample and shuffles without a seed draw theirs."""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards.guard import Guard
from snapsafe_rt.state import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from snapsafe_rt.guards.guard import Site, Verdict

_MODULE = "polars"
_FUNCTION = "set_random_seed"


class Polars(Guard):
    """Its generator is seeded anew by the restore event; one that the program seeded is kept."""

    name = "polars"
    covers = ("Series.sample", "DataFrame.sample", "shuffle")
    triggers = (_MODULE,)
    files = ("_polars_runtime.",)
    level = "refreshed"

    def __init__(self) -> None:
        self._exchanged: native.Exchanged | None = None
        self._chosen = False

    def install(self, module: "ModuleType") -> None:
        if module.__name__ != _MODULE:
            return  # an extension module of its own, in versions before 1.30
        function: Any = vars(module).get(_FUNCTION)
        if native.code_of(function) is None:
            raise LookupError("this version is seeded in another way")
        self.remove()
        self._chosen = False
        exchanged = native.Exchanged(function)
        exchanged.to(self._seeded)
        self._exchanged = exchanged

    def remove(self) -> None:
        if self._exchanged is not None:
            self._exchanged.undo()
        self._exchanged = None

    def _seeded(self, seed: "Any") -> None:
        """polars.set_random_seed(seed), by the program."""
        assert self._exchanged is not None
        self._exchanged.original(seed)
        self._chosen = not native.is_of_system(seed)

    def protection(self) -> "Verdict":
        level, note = super().protection()
        if level == self.level and self._kept():
            return "kept", "the program chose its seed by polars.set_random_seed()"
        return level, note

    def _kept(self) -> bool:
        return self._chosen and not state.settings.reseed_kept

    def displaced(self) -> str:
        one = self._exchanged
        if one is None or vars(sys.modules[_MODULE]).get(_FUNCTION) is not one.function or not one.in_place():
            return "polars.set_random_seed was exchanged by another library"
        return ""

    def sites(self) -> "list[Site]":
        assert self._exchanged is not None
        names = native.attribute_words(vars(sys.modules[_MODULE]), (_FUNCTION,))
        return [(f"polars.{_FUNCTION}", self._exchanged.words()), ("polars.", names)]

    def note(self) -> str:
        return "its generator is seeded anew after a restore"

    def refresh(self) -> None:
        if self._exchanged is not None and not self._kept():
            self._exchanged.original(int.from_bytes(native.entropy(8), "little"))


GUARD = Polars()
