"""ddtrace: ids of spans and traces, by a generator of Rust's in each thread, or (before 3) by one of the process;
and the runtime id, which is made once.
"""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards.calls import Reseeded
from snapsafe_rt.guards.guard import names_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

_NATIVE, _RAND = "ddtrace.internal.native._native", "ddtrace.internal._rand"
_DRAWS = ("rand64bits", "rand128bits", "generate_128bit_trace_id")
_RUNTIMES = ("ddtrace.internal._runtime_id", "ddtrace.internal.runtime")


class _Random:
    """What seeds its generator, in the place of the module `random`: the program's own generator stays as it is."""

    asked = False

    def seed(self) -> None:
        pass

    def getrandbits(self, bits: int) -> int:
        self.asked = True
        return int.from_bytes(native.entropy(bits // 8), "little")


class Ddtrace(Reseeded):
    """Its generator is seeded anew before it draws; the restore event makes a new runtime id, and tells who asked for
    that."""

    name = "ddtrace"
    covers = ("trace and span ids", "runtime id")
    triggers = (_NATIVE, _RAND)
    files = ("/ddtrace/internal/_rand.", "/ddtrace/internal/native/_native.")
    level = "refreshed"

    def __init__(self) -> None:
        super().__init__()
        self._stock: Any = None  # the module `random` that it draws its seed from
        self._ours = _Random()  # one for all threads

    def is_loaded(self) -> bool:
        return any(trigger in sys.modules for trigger in self.triggers)

    def install(self, module: "ModuleType") -> None:
        names = vars(module)
        if "rand64bits" not in names:
            if _RAND not in sys.modules:
                raise LookupError("this version draws its ids somewhere else")
            return
        draws = [name for name in _DRAWS if name in names]
        if module.__name__ == _RAND:
            self.guard(module, draws, lambda: self._seed_rand(names), each_thread=False)
            self._seed_rand(names)
        else:
            self.reseed_by(module, draws, names["seed"])

    def _seed_rand(self, names: "dict[str, Any]") -> None:
        if type(names["random"]) is not _Random:  # else another thread is at it
            self._stock = names["random"]
        names["random"] = self._ours
        try:
            names["seed"]()
        finally:
            names["random"] = self._stock
        if not self._ours.asked:
            self._wrong = "this version seeds its generator in another way"

    def displaced(self) -> str:
        names = _runtime()
        if names and type(names.get("_RUNTIME_ID")) is not str:
            return "this version keeps its runtime id somewhere else"
        return super().displaced()

    def note(self) -> str:
        return "ids are guarded; the runtime id is made anew after a restore"

    def refresh(self) -> None:
        names = _runtime()
        if "refresh_identity" in names:
            names["refresh_identity"]()  # by uuid4(), which is guarded
        elif names:
            names["_RUNTIME_ID"] = native.entropy(16).hex()
            for told in list(names.get("_ON_RUNTIME_ID_CHANGE", ())):
                told(names["_RUNTIME_ID"])


def _runtime() -> "dict[str, Any]":
    """The globals of the module that keeps it; {} where nobody imported that."""
    return next((names_of(sys.modules[name]) for name in _RUNTIMES if name in sys.modules), {})


GUARD = Ddtrace()
